//! Signals as events of a loop.
//!
//! Responsible for holding back the signals a supervisor waits for and for
//! waiting with a bound. Not for reactions. Invariant: [`hold`] is called before
//! any other thread starts, so that every thread holds them back.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use crate::error::{Result, system};

/// What a supervisor hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Child,
    Stop,
    Nothing,
}

fn watched() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set it is given; `sigaddset` then gets an initialised set
    // and valid signal numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Holds back the watched signals in this thread and in those it will start.
pub fn hold() -> Result<()> {
    let set = watched();
    // SAFETY: `set` is an initialised signal set and the old mask is not asked for.
    let outcome = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if outcome == 0 {
        return Ok(());
    }
    Err(system("holding back signals")(io::Error::from_raw_os_error(outcome)))
}

/// Lets every signal through again; for a child between fork and exec.
pub fn release() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set before it is used and the old mask is not asked for;
    // both calls are async-signal-safe.
    let outcome = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut())
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(outcome)) }
}

/// Waits for the next signal, at most `timeout`.
pub fn wait(timeout: Duration) -> Event {
    let set = watched();
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(i32::try_from(timeout.subsec_nanos()).unwrap_or(0)),
    };
    // SAFETY: the set and the limit are initialised and live through the call; no information is asked for.
    match unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const limit) } {
        libc::SIGCHLD => Event::Child,
        libc::SIGTERM | libc::SIGINT => Event::Stop,
        _ => Event::Nothing,
    }
}
