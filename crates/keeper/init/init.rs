//! The first process of every container: starts the command, passes signals on, reaps, reports.
//!
//! Built by `build.rs` into a static program of a few pages that the keeper
//! carries inside itself, so that a container costs kilobytes and not a copy of
//! the daemon. It uses system calls only: no runtime, no allocation, no libc.
//! Invariants: the command is not started before the keeper said "go" (its pid
//! is on disk by then); the command's wait status is in the status file before
//! this process ends, whoever its parent is by that time.
//!
//! Descriptors at start: 0–2 the task's, 3 the keeper's socket, 4 the status
//! file. Arguments: own name, then the command's. Named `dcos-init-terminal`, it
//! makes descriptor 0 the command's terminal.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SYNC: usize = 3;
const STATUS: usize = 4;
const CANDIDATE_MAX: usize = 4096;
const CHILDREN_MAX: usize = 4096;
/// Rounds of ending what the command left behind.
const END_ROUNDS_MAX: usize = 1000;
/// Length of the name without a terminal.
const NAME_LENGTH: usize = 9;
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0";

const EINTR: isize = -4;
const ENOENT: isize = -2;
const EACCES: isize = -13;
const ENOTDIR: isize = -20;
const ENAMETOOLONG: isize = -36;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
const F_SETFD: usize = 2;
const FD_CLOEXEC: usize = 1;
const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const SIGKILL: usize = 9;
const PR_SET_NAME: usize = 15;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const WNOHANG: usize = 1;
const TIOCSCTTY: usize = 0x540e;
const AT_FDCWD: usize = -100isize as usize;
const O_CLOEXEC: usize = 0o2000000;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const CHDIR: usize = 80;
    pub const SETSID: usize = 112;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod nr {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const SIGPROCMASK: usize = 135;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const FCNTL: usize = 25;
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const CHDIR: usize = 49;
    pub const SETSID: usize = 157;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".global _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {main}", main = sym main);

#[cfg(target_arch = "aarch64")]
global_asm!(".global _start", "_start:", "mov x0, sp", "bl {main}", main = sym main);

#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the caller passes arguments that the named call accepts; the
    // kernel changes rcx, r11 and memory, which is declared.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") 0usize, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: as above; the kernel keeps all registers but x0.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") 0usize, options(nostack));
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes a number, does not return.
        unsafe { syscall(nr::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// # Safety
/// `stack` is the process's initial stack as the kernel laid it out.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc, then the argv array with a null, then the
    // environment array with a null on the initial stack.
    let (argv, envp, has_terminal) = unsafe {
        let argc = *stack;
        if argc < 2 {
            exit(125);
        }
        let argv = stack.add(1) as *const *const u8;
        (argv.add(1), argv.add(argc + 1), is_longer(*argv, NAME_LENGTH))
    };
    let all: u64 = !0;
    // SAFETY: plain descriptors and flags; the mask outlives the calls.
    unsafe {
        syscall(nr::SIGPROCMASK, SIG_BLOCK, &raw const all as usize, 0, 8);
        syscall(nr::FCNTL, SYNC, F_SETFD, FD_CLOEXEC, 0);
        syscall(nr::FCNTL, STATUS, F_SETFD, FD_CLOEXEC, 0);
        // Same-user processes of the container must not read or trace this one.
        syscall(nr::PRCTL, PR_SET_DUMPABLE, 0, 0, 0);
        syscall(nr::PRCTL, PR_SET_CHILD_SUBREAPER, 1, 0, 0);
        syscall(nr::PRCTL, PR_SET_NAME, c"dcos-init".as_ptr() as usize, 0, 0);
    }
    wait_for_go();
    // SAFETY: a plain fork: no shared memory, no new stack.
    let child = unsafe { syscall(nr::CLONE, SIGCHLD, 0, 0, 0) };
    if child == 0 {
        // SAFETY: argv and envp are the arrays found above.
        unsafe { command(argv, envp, has_terminal) }
    }
    if child < 0 {
        fail(child);
    }
    // SAFETY: plain descriptors and a constant path.
    unsafe {
        for descriptor in 0..=SYNC {
            syscall(nr::CLOSE, descriptor, 0, 0, 0);
        }
        syscall(nr::CHDIR, c"/".as_ptr() as usize, 0, 0, 0);
    }
    serve(child)
}

/// Ends the process if the keeper is gone: then nobody knows about this container.
fn wait_for_go() {
    let mut byte = 0u8;
    loop {
        // SAFETY: one byte into a live variable.
        match unsafe { syscall(nr::READ, SYNC, &raw mut byte as usize, 1, 0) } {
            1 => return,
            EINTR => {}
            _ => exit(125),
        }
    }
}

/// Tells the keeper that the command could not be started.
fn fail(errno: isize) -> ! {
    let report = [u32::from_ne_bytes([b'X', 0, 0, 0]), (-errno) as u32];
    // SAFETY: eight bytes from a live array.
    unsafe { syscall(nr::WRITE, SYNC, report.as_ptr() as usize, 8, 0) };
    exit(127)
}

/// # Safety
/// Both are null-terminated arrays of C strings.
unsafe fn command(argv: *const *const u8, envp: *const *const u8, has_terminal: bool) -> ! {
    let none: u64 = 0;
    // SAFETY: as the caller promises; every candidate is a C string.
    unsafe {
        syscall(nr::SETSID, 0, 0, 0, 0);
        if has_terminal {
            let taken = syscall(nr::IOCTL, 0, TIOCSCTTY, 0, 0);
            if taken < 0 {
                fail(taken);
            }
        }
        // Without a pid namespace nothing else ends the command with its init.
        syscall(nr::PRCTL, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
        syscall(nr::SIGPROCMASK, SIG_SETMASK, &raw const none as usize, 0, 8);
        let name = *argv;
        if contains_slash(name) {
            fail(syscall(nr::EXECVE, name as usize, argv as usize, envp as usize, 0));
        }
        fail(search(name, argv, envp))
    }
}

/// Tries the command in every directory of PATH, as execvp does.
///
/// # Safety
/// `name` is a C string, the others null-terminated arrays of C strings.
unsafe fn search(name: *const u8, argv: *const *const u8, envp: *const *const u8) -> isize {
    let mut candidate = core::mem::MaybeUninit::<[u8; CANDIDATE_MAX]>::uninit();
    let buffer = candidate.as_mut_ptr() as *mut u8;
    let mut result = ENOENT;
    // SAFETY: reads stay inside C strings; writes stay below CANDIDATE_MAX.
    unsafe {
        let mut path = find_path(envp);
        loop {
            let mut length = 0;
            while *path != 0 && *path != b':' && length < CANDIDATE_MAX - 2 {
                *buffer.add(length) = *path;
                length += 1;
                path = path.add(1);
            }
            if length == 0 {
                *buffer = b'.';
                length = 1;
            }
            *buffer.add(length) = b'/';
            length += 1;
            let mut source = name;
            while *source != 0 && length < CANDIDATE_MAX - 1 {
                *buffer.add(length) = *source;
                length += 1;
                source = source.add(1);
            }
            *buffer.add(length) = 0;
            if *source == 0 {
                match syscall(nr::EXECVE, buffer as usize, argv as usize, envp as usize, 0) {
                    ENOENT | ENOTDIR => {}
                    EACCES => result = EACCES,
                    other => return other,
                }
            } else {
                result = ENAMETOOLONG;
            }
            while *path != 0 && *path != b':' {
                path = path.add(1);
            }
            if *path == 0 {
                return result;
            }
            path = path.add(1);
        }
    }
}

/// # Safety
/// `envp` is a null-terminated array of C strings.
unsafe fn find_path(envp: *const *const u8) -> *const u8 {
    let mut entry = envp;
    // SAFETY: reads stop at the array's null and at each string's end.
    unsafe {
        while !(*entry).is_null() {
            let text = *entry;
            if *text == b'P' && *text.add(1) == b'A' && *text.add(2) == b'T' && *text.add(3) == b'H' && *text.add(4) == b'=' {
                return text.add(5);
            }
            entry = entry.add(1);
        }
    }
    DEFAULT_PATH.as_ptr()
}

/// # Safety
/// `text` is a C string.
unsafe fn is_longer(text: *const u8, length: usize) -> bool {
    // SAFETY: stops at the terminating null.
    unsafe { (0..=length).all(|at| *text.add(at) != 0) }
}

/// # Safety
/// `text` is a C string.
unsafe fn contains_slash(text: *const u8) -> bool {
    let mut at = text;
    // SAFETY: stops at the terminating null.
    unsafe {
        while *at != 0 {
            if *at == b'/' {
                return true;
            }
            at = at.add(1);
        }
    }
    false
}

/// Passes signals to the command and reaps until the command ends.
fn serve(command: isize) -> ! {
    let all: u64 = !0;
    loop {
        // SAFETY: the mask outlives the call.
        let signal = unsafe { syscall(nr::SIGTIMEDWAIT, &raw const all as usize, 0, 0, 8) };
        if signal == SIGCHLD as isize {
            reap(command);
        } else if signal > 0 {
            // SAFETY: plain numbers.
            unsafe { syscall(nr::KILL, command as usize, signal as usize, 0, 0) };
        }
    }
}

fn reap(command: isize) {
    loop {
        let mut status = 0i32;
        // SAFETY: the kernel writes one i32.
        let child = unsafe { syscall(nr::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, 0) };
        if child <= 0 {
            return;
        }
        if child == command {
            record(status as u32);
            // Without a pid namespace nothing else ends what it left behind.
            // SAFETY: plain numbers.
            unsafe { syscall(nr::KILL, child.wrapping_neg() as usize, SIGKILL, 0, 0) };
            // SAFETY: takes nothing.
            if unsafe { syscall(nr::GETPID, 0, 0, 0, 0) } != 1 {
                end_children();
            }
            let signal = status & 0x7f;
            exit(if signal == 0 { ((status >> 8) & 0xff) as usize } else { (128 + signal) as usize });
        }
    }
}

/// Ends everything below this process: orphans become its children.
fn end_children() {
    for _ in 0..END_ROUNDS_MAX {
        kill_children();
        // SAFETY: nobody wants the status.
        let child = unsafe { syscall(nr::WAIT4, usize::MAX, 0, 0, 0) };
        if child <= 0 && child != EINTR {
            return;
        }
    }
}

fn kill_children() {
    let mut text = core::mem::MaybeUninit::<[u8; CHILDREN_MAX]>::uninit();
    let buffer = text.as_mut_ptr() as *mut u8;
    // SAFETY: a constant path; the kernel fills at most the buffer, and only
    // what it filled is read.
    unsafe {
        let path = c"/proc/thread-self/children".as_ptr() as usize;
        let file = syscall(nr::OPENAT, AT_FDCWD, path, O_CLOEXEC, 0);
        if file < 0 {
            return;
        }
        let length = syscall(nr::READ, file as usize, buffer as usize, CHILDREN_MAX, 0);
        syscall(nr::CLOSE, file as usize, 0, 0, 0);
        let mut number = 0usize;
        for at in 0..length.max(0) as usize {
            let byte = *buffer.add(at);
            if byte.is_ascii_digit() {
                number = number.wrapping_mul(10).wrapping_add((byte - b'0') as usize);
            } else {
                // A number that the buffer cut off is left for the next look.
                if number > 1 {
                    syscall(nr::KILL, number, SIGKILL, 0, 0);
                }
                number = 0;
            }
        }
    }
}

/// Writes the raw wait status as decimal text over the blanks of the status file.
fn record(status: u32) {
    let mut digits = core::mem::MaybeUninit::<[u8; 12]>::uninit();
    let buffer = digits.as_mut_ptr() as *mut u8;
    let mut at = 11;
    let mut rest = status;
    // SAFETY: a u32 has at most ten digits, so `at` stays above zero; the bytes
    // from `at` to the end are initialised when they are written out.
    unsafe {
        *buffer.add(11) = b'\n';
        loop {
            at -= 1;
            *buffer.add(at) = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        syscall(nr::WRITE, STATUS, buffer.add(at) as usize, 12 - at, 0);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}
