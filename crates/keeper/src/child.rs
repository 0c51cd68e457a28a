//! The side of a launch that runs between `clone` and `execve`.
//!
//! It shares the keeper's memory while the keeper stands still, so it makes
//! system calls only: no allocation, no locks, no formatting, no panic. It
//! walks the prepared steps and reports the first that fails as eight bytes on
//! the launch's socket.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::ops::{Action, OnError, Op};

/// First byte of a report: the launch failed at this step.
pub const REPORT_FAILED: u8 = b'E';
/// The step failed and was left out.
pub const REPORT_WARNING: u8 = b'W';
/// The command itself could not be executed; written by the init program.
pub const REPORT_COMMAND: u8 = b'X';
pub const REPORT_BYTES: usize = 8;

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAPABILITY_MAX: u64 = 63;

/// Everything the child needs; must not move or change while it runs.
pub struct Plan {
    pub ops: Vec<Op>,
    /// Null-terminated.
    pub argv: Vec<*const c_char>,
    pub envp: Vec<*const c_char>,
    /// Where reports go.
    pub sync: RawFd,
    /// Whom [`Action::Fork`] made; written while the memory is still shared.
    pub forked: AtomicI32,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Entry point for `clone`; `argument` is a `*const Plan`.
pub extern "C" fn enter(argument: *mut c_void) -> c_int {
    // SAFETY: the keeper passes a live Plan and is suspended until this process
    // executes the init program or ends.
    let plan = unsafe { &*argument.cast::<Plan>() };
    for (index, op) in plan.ops.iter().enumerate() {
        let result = run(plan, &op.action);
        if result >= 0 {
            continue;
        }
        match op.on_error {
            OnError::Ignore => {}
            OnError::Warn => report(plan, REPORT_WARNING, index, -result),
            OnError::Fail => {
                report(plan, REPORT_FAILED, index, -result);
                break;
            }
        }
    }
    // SAFETY: ends this process at once, without the keeper's exit handlers.
    unsafe { libc::_exit(125) }
}

fn report(plan: &Plan, kind: u8, index: usize, errno: c_int) {
    let [low, high] = (index as u16).to_le_bytes();
    let [a, b, c, d] = errno.to_ne_bytes();
    let bytes: [u8; REPORT_BYTES] = [kind, 0, low, high, a, b, c, d];
    // SAFETY: a live buffer; nothing can be done about a failure.
    unsafe { libc::write(plan.sync, bytes.as_ptr().cast(), bytes.len()) };
}

/// Turns a system call's result into itself or minus the error number.
fn check(result: c_long) -> c_int {
    if result == -1 {
        // SAFETY: the address of this thread's errno.
        -unsafe { *libc::__errno_location() }
    } else {
        0
    }
}

fn text(value: &Option<CString>) -> *const c_char {
    value.as_ref().map_or(ptr::null(), |value| value.as_ptr())
}

fn run(plan: &Plan, action: &Action) -> c_int {
    match action {
        Action::JoinCgroup { descriptor } => {
            // SAFETY: a constant buffer.
            check(unsafe { libc::write(*descriptor, c"0".as_ptr().cast(), 1) } as c_long)
        }
        // SAFETY: takes numbers.
        Action::EnterNamespace { descriptor, .. } => check(unsafe { libc::setns(*descriptor, 0) }.into()),
        Action::Fork => fork(plan),
        // SAFETY: takes numbers.
        Action::Protect => check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()),
        Action::ResetSignals => reset_signals(),
        // SAFETY: no arguments.
        Action::NewSession => check(unsafe { libc::syscall(libc::SYS_setsid) }),
        // SAFETY: takes a number.
        Action::Umask(mask) => check(unsafe { libc::syscall(libc::SYS_umask, c_long::from(*mask)) }),
        Action::Mount { source, target, kind, flags, data } => {
            mount(source, target, text(kind), *flags, text(data))
        }
        Action::MountEither { source, target, kind, flags, data, fallback } => {
            match mount(source, target, kind.as_ptr(), *flags, data.as_ptr()) {
                result if result == -libc::EINVAL => {
                    mount(source, target, kind.as_ptr(), *flags, fallback.as_ptr())
                }
                result => result,
            }
        }
        Action::OpenPath { path, slot } => open_path(path, *slot),
        // SAFETY: a C string.
        Action::Chdir(path) => check(unsafe { libc::chdir(path.as_ptr()) }.into()),
        Action::PivotRoot => {
            // SAFETY: constant C strings.
            check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
        }
        Action::DetachOldRoot => detach_old_root(),
        Action::Mkdir { path, mode } => {
            // SAFETY: a C string.
            let result = check(unsafe { libc::mkdir(path.as_ptr(), *mode) }.into());
            if result == -libc::EEXIST { 0 } else { result }
        }
        Action::Touch(path) => touch(path),
        Action::Device { path, major, minor } => {
            let device = libc::makedev(*major, *minor);
            // SAFETY: a C string.
            check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, device) }.into())
        }
        // SAFETY: C strings.
        Action::Symlink { to, path } => check(unsafe { libc::symlink(to.as_ptr(), path.as_ptr()) }.into()),
        Action::SetRlimit(limit) => {
            let value = [limit.soft, limit.hard];
            // SAFETY: the kernel reads two u64 from a live array.
            check(unsafe {
                libc::syscall(libc::SYS_prlimit64, 0, limit.resource, value.as_ptr(), ptr::null::<u64>())
            })
        }
        Action::LimitCapabilities { keep } => limit_capabilities(*keep),
        // The raw calls: libc's would synchronise threads that are not there.
        Action::SetGroups(groups) => {
            // SAFETY: a live slice and its length.
            check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
        }
        // SAFETY: take numbers.
        Action::SetGid(gid) => check(unsafe { libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) }),
        // SAFETY: take numbers.
        Action::SetUid(uid) => check(unsafe { libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) }),
        Action::SetCapabilities { mask } => set_capabilities(*mask),
        Action::NoNewPrivileges => {
            // SAFETY: takes numbers.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
        }
        // SAFETY: takes numbers.
        Action::Dup { from, to } => check(unsafe { libc::syscall(libc::SYS_dup3, *from, *to, 0) }),
        Action::ExecInit { descriptor } => {
            // SAFETY: null-terminated arrays of C strings that outlive the call.
            check(unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    *descriptor,
                    c"".as_ptr(),
                    plan.argv.as_ptr(),
                    plan.envp.as_ptr(),
                    libc::AT_EMPTY_PATH,
                )
            })
        }
    }
}

/// The raw call: libc's would run handlers and take locks.
fn fork(plan: &Plan) -> c_int {
    let flags = c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: no memory is shared with the new process, which goes on with a
    // copy of this stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid > 0 {
        plan.forked.store(pid as c_int, Ordering::Relaxed);
        // SAFETY: ends this process at once; the new one carries on.
        unsafe { libc::_exit(0) };
    }
    check(pid)
}

fn mount(source: &CStr, target: &CStr, kind: *const c_char, flags: u64, data: *const c_char) -> c_int {
    // SAFETY: C strings or null where the call accepts null.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, data.cast()) }.into())
}

fn reset_signals() -> c_int {
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: sets a default; numbers libc keeps for itself are refused harmlessly.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    let none = 0u64;
    // SAFETY: the kernel reads eight bytes of a live variable.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, ptr::null::<u64>(), 8)
    })
}

fn open_path(path: &CStr, slot: RawFd) -> c_int {
    // SAFETY: a C string and flags.
    let opened = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    if opened < 0 {
        return check(-1);
    }
    // SAFETY: descriptors of this process only: the table is not shared.
    let result = check(unsafe { libc::syscall(libc::SYS_dup3, opened, slot, libc::O_CLOEXEC) });
    // SAFETY: as above.
    unsafe { libc::close(opened) };
    result
}

fn detach_old_root() -> c_int {
    // SAFETY: constant strings; the slot holds the old root since OpenPath.
    unsafe {
        let entered = check(libc::fchdir(crate::ops::SLOT_FIRST).into());
        if entered < 0 {
            return entered;
        }
        let detached = check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into());
        if detached < 0 {
            return detached;
        }
        check(libc::chdir(c"/".as_ptr()).into())
    }
}

fn touch(path: &CStr) -> c_int {
    let flags = libc::O_CREAT | libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    for attempt in 0..2 {
        // SAFETY: C string and flags; a link that leads nowhere is replaced once.
        unsafe {
            let opened = libc::open(path.as_ptr(), flags, 0o644);
            if opened >= 0 {
                libc::close(opened);
                return 0;
            }
            if attempt == 0 && libc::unlink(path.as_ptr()) == 0 {
                continue;
            }
        }
    }
    check(-1)
}

fn limit_capabilities(keep: u64) -> c_int {
    for capability in 0..=CAPABILITY_MAX {
        if keep & (1 << capability) == 0 {
            // SAFETY: takes numbers.
            let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into());
            if result == -libc::EINVAL {
                break;
            }
            if result < 0 {
                return result;
            }
        }
    }
    // SAFETY: takes numbers; kernels before 4.3 have no ambient set to clear.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    0
}

fn set_capabilities(mask: u64) -> c_int {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| {
        let bits = (mask >> shift) as u32;
        CapabilityData { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [half(0), half(32)];
    // SAFETY: the structures of capability version 3, both live.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}
