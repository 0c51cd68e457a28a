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

use crate::child::{self, Plan, REPORT_BYTES, REPORT_COMMAND, REPORT_FAILED, REPORT_WARNING};
use crate::ops::{self, Descriptors, Op};
use crate::process;
use crate::record::{Identity, Record};
use crate::spec::{Invalid, Isolation, Spec};

/// The containers' first process, built by `build.rs`.
const INIT_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dcos-init"));
const STACK_BYTES: usize = 64 << 10;
/// Descriptors for the child are moved above this, out of the way of 0–4.
const DESCRIPTOR_FIRST: RawFd = 32;

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
    command: String,
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
        let files = Files::open(record, &spec, theirs, &self.init)?;
        let ops = ops::plan(&spec, &files.descriptors, self.capabilities)
            .map_err(|_| Invalid::Nul { what: "a path" })?;
        let strings = Strings::of(&spec)?;
        let plan = Plan {
            ops,
            argv: pointers(&strings.argv),
            envp: pointers(&strings.env),
            sync: files.descriptors.sync,
        };
        let pid = self
            .stack
            .clone_with(&plan, namespaces(&spec.isolation))
            .map_err(|source| cannot_clone(&spec, source))?;
        drop(files);
        let ops = plan.ops;
        // The child has said all it will say about its steps by now.
        let warnings = early_reports(&ours, &spec, &ops)?;
        let Some(start_time) = process::start_time(pid) else {
            return Err(Error::Died(spec.container.clone()));
        };
        let identity = Identity { pid, start_time };
        record.write_identity(identity).map_err(recording)?;
        rustix::io::write(&ours, &[1]).map_err(|errno| recording(errno.into()))?;
        let command = spec.argv.first().cloned().unwrap_or_default();
        Ok(Starting { container: spec.container, identity, sync: ours, warnings, command })
    }
}

impl Starting {
    /// Reads the init program's report; call when the socket is readable.
    pub fn progress(&mut self) -> io::Result<Option<Progress>> {
        let mut report = [0; REPORT_BYTES];
        match rustix::net::recv(&self.sync, &mut report, rustix::net::RecvFlags::DONTWAIT) {
            Ok((_, REPORT_BYTES)) if report[0] == REPORT_COMMAND => {
                let [.., a, b, c, d] = report;
                let errno = i32::from_ne_bytes([a, b, c, d]);
                Ok(Some(Progress::Failed(cannot_run(&self.command, errno))))
            }
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Ok(Some(Progress::Running)),
            Ok(_) => Ok(Some(Progress::Failed(Error::Died(self.container.clone())))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

enum Report {
    Warning(String),
    Failure(Error),
}

/// What the child said during its steps: the reason if it ended, else warnings.
fn early_reports(sync: &OwnedFd, spec: &Spec, ops: &[Op]) -> Result<Vec<String>, Error> {
    let mut report = [0; REPORT_BYTES];
    let mut warnings = Vec::new();
    loop {
        match rustix::net::recv(sync, &mut report, rustix::net::RecvFlags::DONTWAIT) {
            Ok((_, REPORT_BYTES)) => match interpret(report, spec, ops) {
                Report::Warning(text) => warnings.push(text),
                Report::Failure(error) => return Err(error),
            },
            Err(rustix::io::Errno::AGAIN) => return Ok(warnings),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return Err(Error::Died(spec.container.clone())),
        }
    }
}

fn interpret(report: [u8; REPORT_BYTES], spec: &Spec, ops: &[Op]) -> Report {
    let [kind, _, low, high, a, b, c, d] = report;
    let errno = i32::from_ne_bytes([a, b, c, d]);
    let source = io::Error::from_raw_os_error(errno);
    let op = ops.get(usize::from(u16::from_le_bytes([low, high])));
    match (kind, op) {
        (REPORT_WARNING, Some(op)) => {
            Report::Warning(format!("{} failed: {source}; left out", op.describe(spec)))
        }
        (REPORT_FAILED, Some(op)) => {
            Report::Failure(Error::Step { step: op.describe(spec), source, advice: op.advice(errno) })
        }
        _ => Report::Failure(Error::Died(spec.container.clone())),
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
        Isolation::Session => 0,
        Isolation::Host | Isolation::Image(_) => {
            libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC
        }
    }
}

/// Files of one launch, open until the child has its own copies.
struct Files {
    descriptors: Descriptors,
    _open: Vec<OwnedFd>,
}

impl Files {
    fn open(record: &Record, spec: &Spec, sync: OwnedFd, init: &OwnedFd) -> Result<Self, Error> {
        let mut open = Vec::with_capacity(8 + spec.cgroup_procs.len());
        let stdin = keep(&mut open, spec, Path::new("/dev/null"), File::open("/dev/null"))?;
        let stdout = keep(&mut open, spec, &spec.stdout, open_output(spec, &spec.stdout))?;
        let stderr = keep(&mut open, spec, &spec.stderr, open_output(spec, &spec.stderr))?;
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
        let descriptors = Descriptors { stdin, stdout, stderr, sync, status, init, cgroup_procs };
        Ok(Self { descriptors, _open: open })
    }
}

fn keep(open: &mut Vec<OwnedFd>, spec: &Spec, path: &Path, file: io::Result<File>) -> Result<RawFd, Error> {
    let cannot =
        |source| Error::Open { container: spec.container.clone(), path: path.display().to_string(), source };
    let moved = high(file.map_err(cannot)?.as_fd()).map_err(cannot)?;
    let descriptor = moved.as_raw_fd();
    open.push(moved);
    Ok(descriptor)
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
    if let Some(credentials) = &spec.credentials {
        std::os::unix::fs::fchown(&file, Some(credentials.uid), Some(credentials.gid))?;
    }
    Ok(file)
}

struct Strings {
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Strings {
    fn of(spec: &Spec) -> Result<Self, Error> {
        let nul = |what| move |_| Error::Invalid(Invalid::Nul { what });
        let mut argv = Vec::with_capacity(spec.argv.len() + 1);
        argv.push(c"dcos-init".to_owned());
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
