//! Starts one container: opens what the child needs, clones, tells the result.
//!
//! The order is what makes a crash at any line harmless: record directory and
//! digest, first process (waiting), its pid on disk, and only then "go". If the
//! keeper dies before "go" the first process ends by itself.

use std::ffi::{CString, c_char};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::child::{self, Plan, REPORT_BYTES, REPORT_COMMAND, REPORT_FAILED, REPORT_WARNING};
use crate::ops::{self, Descriptors, Op};
use crate::process;
use crate::record::{Identity, Record};
use crate::spec::{Credentials, Invalid, Isolation, Join, Spec, Stdio};
use crate::terminal::{self, Terminal};

/// The containers' first process, built by `build.rs`.
const INIT_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dcos-init"));
const STACK_BYTES: usize = 64 << 10;
/// Descriptors for the child are moved above this, out of the way of 0–4.
const DESCRIPTOR_FIRST: RawFd = 32;
/// In the order they are entered: the one of processes before the one of files,
/// since the way to both is in `/proc`.
const NAMESPACES: [&str; 6] = ["ipc", "uts", "net", "cgroup", "pid", "mnt"];

/// What a keeper keeps ready for all launches.
pub struct Launcher {
    stack: Stack,
    init: OwnedFd,
    capabilities: u64,
}

/// A container whose first process waits or executes; the client is told when
/// its socket reports or closes.
///
/// Keeps names only: many launches at once must not make the keeper large.
pub struct Starting {
    pub container: String,
    pub identity: Identity,
    pub sync: OwnedFd,
    pub warnings: Vec<String>,
    pub terminal: Option<Terminal>,
    /// Whether it has heard "go", as far as is known.
    told: bool,
    command: String,
    /// Steps that the first process takes by itself, of a nested container.
    late: Vec<Op>,
}

/// What the socket of a starting container said.
pub enum Progress {
    /// The command runs.
    Running,
    Failed(Error),
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("cannot open {path} for container {container}: {source}")]
    Open { container: String, path: String, source: io::Error },
    #[error("cannot write the record of container {container}: {source}; check the runtime directory")]
    Record { container: String, source: io::Error },
    #[error("cannot create the process of container {container}: {source}{advice}")]
    Clone { container: String, source: io::Error, advice: &'static str },
    #[error("{step} failed: {source}{advice}")]
    Step { step: String, source: io::Error, advice: &'static str },
    #[error("cannot run {command:?}: {source}{advice}")]
    Command { command: String, source: io::Error, advice: &'static str },
    #[error("the first process of container {0} ended before its command was started")]
    Died(String),
    #[error("the container that {0} is to be nested in has ended: launch it anew first")]
    NoParent(String),
}

impl Launcher {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            stack: Stack::new(STACK_BYTES)?,
            init: sealed_program(INIT_PROGRAM)?,
            capabilities: crate::capability::available(),
        })
    }

    /// Starts the first process and lets it go on.
    pub fn start(&self, runtime: &Path, spec: Box<Spec>) -> Result<Starting, Error> {
        spec.check()?;
        let record = Record::of(runtime, &spec.container);
        let recording = |source| Error::Record { container: spec.container.clone(), source };
        record.create().and_then(|()| record.write_digest(&spec.digest)).map_err(recording)?;
        let started = self.clone_init(&record, spec);
        if started.is_err() {
            // Best effort: a record without a pid reads as "never started".
            let _ = record.remove();
        }
        started
    }

    fn clone_init(&self, record: &Record, spec: Box<Spec>) -> Result<Starting, Error> {
        let recording = |source| Error::Record { container: spec.container.clone(), source };
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| cannot_clone(&spec, errno.into()))?;
        let mut files = Files::open(record, &spec, theirs, &self.init)?;
        let ops = ops::plan(&spec, &files.descriptors, self.capabilities)
            .map_err(|_| Invalid::Nul { what: "a path" })?;
        let strings = Strings::of(&spec)?;
        let plan = Plan {
            ops,
            argv: pointers(&strings.argv),
            envp: pointers(&strings.env),
            sync: files.descriptors.sync,
            forked: AtomicI32::new(0),
        };
        let mut pid = self
            .stack
            .clone_with(&plan, namespaces(&spec.isolation))
            .map_err(|source| cannot_clone(&spec, source))?;
        let terminal = files.terminal.take();
        drop(files);
        let is_nested = matches!(spec.isolation, Isolation::Nested(_));
        if is_nested {
            reap(pid);
            pid = u32::try_from(plan.forked.load(Ordering::Relaxed)).unwrap_or_default();
        }
        let ops = plan.ops;
        // But for a nested one, the child has said all it will say about its steps.
        let warnings = early_reports(&ours, &spec.container, &ops)?;
        let Some(start_time) = process::start_time(pid) else {
            return Err(Error::Died(spec.container.clone()));
        };
        let identity = Identity { pid, start_time };
        record.write_identity(identity).map_err(recording)?;
        let told = match rustix::io::write(&ours, &[1]) {
            Ok(_) => true,
            // Its last words come next.
            Err(rustix::io::Errno::PIPE) if is_nested => false,
            Err(errno) => return Err(recording(errno.into())),
        };
        let command = spec.argv.first().cloned().unwrap_or_default();
        let late = if is_nested { ops } else { Vec::new() };
        let container = spec.container;
        Ok(Starting { container, identity, sync: ours, warnings, terminal, told, command, late })
    }
}

impl Starting {
    /// Reads the init program's report; call when the socket is readable.
    pub fn progress(&mut self) -> io::Result<Option<Progress>> {
        let mut report = [0; REPORT_BYTES];
        loop {
            match rustix::net::recv(&self.sync, &mut report, rustix::net::RecvFlags::DONTWAIT) {
                Ok((_, REPORT_BYTES)) if report[0] == REPORT_COMMAND => {
                    let [.., a, b, c, d] = report;
                    let errno = i32::from_ne_bytes([a, b, c, d]);
                    return Ok(Some(Progress::Failed(cannot_run(&self.command, errno))));
                }
                Ok((_, REPORT_BYTES)) => match interpret(report, &self.container, &self.late) {
                    Report::Warning(text) => self.warnings.push(text),
                    Report::Failure(error) => return Ok(Some(Progress::Failed(error))),
                },
                Ok((_, 0)) if self.told => return Ok(Some(Progress::Running)),
                // It ended before it read "go"; what it said is still there.
                Err(rustix::io::Errno::CONNRESET) => self.told = false,
                Ok(_) => return Ok(Some(Progress::Failed(Error::Died(self.container.clone())))),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

enum Report {
    Warning(String),
    Failure(Error),
}

/// What the child said during its steps: the reason if it ended, else warnings.
fn early_reports(sync: &OwnedFd, container: &str, ops: &[Op]) -> Result<Vec<String>, Error> {
    let mut report = [0; REPORT_BYTES];
    let mut warnings = Vec::new();
    loop {
        match rustix::net::recv(sync, &mut report, rustix::net::RecvFlags::DONTWAIT) {
            Ok((_, REPORT_BYTES)) => match interpret(report, container, ops) {
                Report::Warning(text) => warnings.push(text),
                Report::Failure(error) => return Err(error),
            },
            Err(rustix::io::Errno::AGAIN) => return Ok(warnings),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return Err(Error::Died(container.to_owned())),
        }
    }
}

fn interpret(report: [u8; REPORT_BYTES], container: &str, ops: &[Op]) -> Report {
    let [kind, _, low, high, a, b, c, d] = report;
    let errno = i32::from_ne_bytes([a, b, c, d]);
    let source = io::Error::from_raw_os_error(errno);
    let op = ops.get(usize::from(u16::from_le_bytes([low, high])));
    match (kind, op) {
        (REPORT_WARNING, Some(op)) => {
            Report::Warning(format!("{} failed: {source}; left out", op.describe(container)))
        }
        (REPORT_FAILED, Some(op)) => {
            Report::Failure(Error::Step { step: op.describe(container), source, advice: op.advice(errno) })
        }
        _ => Report::Failure(Error::Died(container.to_owned())),
    }
}

fn cannot_run(command: &str, errno: i32) -> Error {
    let advice = match errno {
        libc::ENOENT => {
            "; check the command's name and that it is in the image or on this node (for a script: its interpreter too)"
        }
        libc::EACCES => {
            "; check that the file is executable and its directories may be searched by the task's user"
        }
        libc::ENOEXEC => {
            "; the file is no program for this machine: check its format and processor, or its '#!' line"
        }
        libc::E2BIG => "; the arguments and environment together are too long",
        _ => "",
    };
    Error::Command { command: command.to_owned(), source: io::Error::from_raw_os_error(errno), advice }
}

fn cannot_clone(spec: &Spec, source: io::Error) -> Error {
    let advice = match source.raw_os_error() {
        Some(libc::EAGAIN) => "; the limit of processes is reached: raise pids limits or kernel.pid_max",
        Some(libc::EMFILE) => "; the keeper's limit of open files is reached",
        Some(libc::ENOSPC) => "; a limit of namespaces is reached: raise user.max_*_namespaces",
        Some(libc::EPERM) => "; namespaces need root",
        _ => "",
    };
    Error::Clone { container: spec.container.clone(), source, advice }
}

fn namespaces(isolation: &Isolation) -> libc::c_int {
    match isolation {
        Isolation::Session | Isolation::Nested(_) => 0,
        Isolation::Host | Isolation::Image(_) => {
            libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC
        }
    }
}

/// Files of one launch, open until the child has its own copies.
struct Files {
    descriptors: Descriptors,
    terminal: Option<Terminal>,
    _open: Vec<OwnedFd>,
}

impl Files {
    fn open(record: &Record, spec: &Spec, sync: OwnedFd, init: &OwnedFd) -> Result<Self, Error> {
        let mut open = Vec::with_capacity(8 + spec.cgroup_procs.len());
        let ([stdin, stdout, stderr], terminal) = streams(&mut open, spec)?;
        let status = keep(&mut open, spec, record.dir(), record.open_init_status())?;
        let mut cgroup_procs = Vec::with_capacity(spec.cgroup_procs.len());
        for path in &spec.cgroup_procs {
            let file = OpenOptions::new().write(true).open(path);
            cgroup_procs.push(keep(&mut open, spec, path, file)?);
        }
        let moved = high(sync.as_fd()).map_err(|source| cannot_clone(spec, source))?;
        let sync = moved.as_raw_fd();
        open.push(moved);
        let init = init.as_raw_fd();
        let namespaces = match &spec.isolation {
            Isolation::Nested(join) => open_namespaces(&mut open, spec, join)?,
            _ => Vec::new(),
        };
        let descriptors = Descriptors { stdin, stdout, stderr, sync, status, init, cgroup_procs, namespaces };
        Ok(Self { descriptors, terminal, _open: open })
    }
}

/// The command's three streams, and what the keeper holds of them.
fn streams(open: &mut Vec<OwnedFd>, spec: &Spec) -> Result<([RawFd; 3], Option<Terminal>), Error> {
    match &spec.stdio {
        Stdio::Files { stdout, stderr } => {
            let stdin = keep(open, spec, Path::new("/dev/null"), File::open("/dev/null"))?;
            let stdout = keep(open, spec, stdout, open_output(spec, stdout))?;
            let stderr = keep(open, spec, stderr, open_output(spec, stderr))?;
            Ok(([stdin, stdout, stderr], None))
        }
        Stdio::Opened { stdin, stdout, stderr, terminal } => {
            let (read, write) = if *terminal { (true, true) } else { (false, true) };
            let stdin = keep(open, spec, stdin, open_given(spec, stdin, true, read))?;
            let stdout = keep(open, spec, stdout, open_given(spec, stdout, read, write))?;
            let stderr = keep(open, spec, stderr, open_given(spec, stderr, read, write))?;
            Ok(([stdin, stdout, stderr], None))
        }
        Stdio::Terminal { output, size } => {
            let container = match &spec.isolation {
                Isolation::Nested(Join { pid, start_time, .. }) => {
                    Some(Identity { pid: *pid, start_time: *start_time })
                }
                _ => None,
            };
            let path = Path::new(terminal::PATH);
            let cannot = |source| cannot_open(spec, path, source);
            let (near, far) = terminal::open(container, *size).map_err(cannot)?;
            own(spec, far.as_fd()).map_err(cannot)?;
            let opened = match container {
                Some(_) => open_given(spec, output, false, true),
                None => open_output(spec, output),
            };
            let file = opened.map_err(|source| cannot_open(spec, output, source))?;
            let far = keep(open, spec, path, Ok(File::from(far)))?;
            let held = Terminal::new(near, file).map_err(cannot)?;
            Ok(([far; 3], Some(held)))
        }
    }
}

/// The namespaces of the other container that are not the keeper's too.
fn open_namespaces(
    open: &mut Vec<OwnedFd>,
    spec: &Spec,
    join: &Join,
) -> Result<Vec<(&'static str, RawFd)>, Error> {
    let gone = || Error::NoParent(spec.container.clone());
    let mut found = Vec::with_capacity(NAMESPACES.len());
    for name in NAMESPACES {
        let path = format!("/proc/{}/ns/{name}", join.pid);
        let path = Path::new(&path);
        // Without this kind of namespace there is nothing to enter.
        let Ok(own) = std::fs::read_link(format!("/proc/self/ns/{name}")) else { continue };
        match std::fs::read_link(path) {
            Ok(other) if other == own => {}
            Ok(_) => found.push((name, keep(open, spec, path, File::open(path))?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            // Only root makes namespaces, so there are none to enter.
            Err(_) if !rustix::process::geteuid().is_root() => {}
            Err(error) => return Err(cannot_open(spec, path, error)),
        }
    }
    // The pid was this process's all the while: what was opened is its own.
    let is_there = process::start_time(join.pid) == Some(join.start_time) && !process::is_zombie(join.pid);
    if is_there { Ok(found) } else { Err(gone()) }
}

fn keep(open: &mut Vec<OwnedFd>, spec: &Spec, path: &Path, file: io::Result<File>) -> Result<RawFd, Error> {
    let cannot = |source| cannot_open(spec, path, source);
    let moved = high(file.map_err(cannot)?.as_fd()).map_err(cannot)?;
    let descriptor = moved.as_raw_fd();
    open.push(moved);
    Ok(descriptor)
}

fn cannot_open(spec: &Spec, path: &Path, source: io::Error) -> Error {
    Error::Open { container: spec.container.clone(), path: path.display().to_string(), source }
}

/// A copy with a number the child can move down without overwriting another.
fn high(descriptor: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, DESCRIPTOR_FIRST)?)
}

/// Never through a link: the sandbox belongs to the task's user.
fn open_output(spec: &Spec, path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    // O_NONBLOCK was for a fifo in the place of the file only.
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::APPEND)?;
    own(spec, file.as_fd())?;
    Ok(file)
}

/// A pipe, a terminal or a file of the client's.
fn open_given(spec: &Spec, path: &Path, read: bool, write: bool) -> io::Result<File> {
    // Not to wait for anybody, nor to get a terminal for the keeper.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(read).write(write).custom_flags(flags).open(path)?;
    let is_file = file.metadata()?.is_file();
    let flags = if is_file { rustix::fs::OFlags::APPEND } else { rustix::fs::OFlags::empty() };
    rustix::fs::fcntl_setfl(&file, flags)?;
    own(spec, file.as_fd())?;
    Ok(file)
}

/// The task's user may open its own streams anew, by `/dev/stdout` and the like.
fn own(spec: &Spec, file: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    match &spec.credentials {
        Some(Credentials { uid, gid, .. }) => std::os::unix::fs::fchown(file, Some(*uid), Some(*gid)),
        None => Ok(()),
    }
}

/// Collects a child that has ended.
fn reap(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if pid.is_some() {
        let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
    }
}

struct Strings {
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Strings {
    fn of(spec: &Spec) -> Result<Self, Error> {
        let nul = |what| move |_| Error::Invalid(Invalid::Nul { what });
        let mut argv = Vec::with_capacity(spec.argv.len() + 1);
        // It takes its standard input for its terminal if its name says so.
        let name = if spec.stdio.has_terminal() { c"dcos-init-terminal" } else { c"dcos-init" };
        argv.push(name.to_owned());
        for argument in &spec.argv {
            argv.push(CString::new(argument.as_str()).map_err(nul("an argument"))?);
        }
        let env = spec.env.iter().map(|entry| CString::new(entry.as_str())).collect::<Result<_, _>>();
        Ok(Self { argv, env: env.map_err(nul("an environment entry"))? })
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// The init program in memory, unchangeable: a container's root cannot write to
/// it through `/proc/<pid>/exe`.
fn sealed_program(bytes: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC and always allow it.
    let file = rustix::fs::memfd_create("dcos-init", base | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("dcos-init", base))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = &rest[count..];
    }
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o555))?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    high(file.as_fd())
}

/// The child's stack, with a guard page below.
struct Stack {
    base: *mut libc::c_void,
    length: usize,
}

impl Stack {
    fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a fresh private mapping; the kernel chooses the address.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the lowest page of the mapping made above.
        if unsafe { libc::mprotect(base, 4096, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base, length })
    }

    /// Runs the plan in a new process that borrows this one's memory; returns
    /// when that process has executed another program or ended.
    fn clone_with(&self, plan: &Plan, namespaces: libc::c_int) -> io::Result<u32> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespaces;
        // SAFETY: the stack is ours and unused (one launch at a time, and vfork
        // ends the child's use before this call returns); the plan outlives the
        // call; the entry function makes system calls only.
        let pid = unsafe {
            let top = self.base.cast::<u8>().add(self.length).cast();
            libc::clone(child::enter, top, flags, (&raw const *plan).cast_mut().cast())
        };
        u32::try_from(pid).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, not used by anybody any more.
        unsafe { libc::munmap(self.base, self.length) };
    }
}
