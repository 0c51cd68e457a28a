//! Which framework speaks over which stream.
//!
//! Invariant: a framework stands here from before its SUBSCRIBED is sent until its
//! stream ends; a newer stream takes the place of an older one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesos_master::shell::SchedulerCaller;
use model::{FrameworkId, FrameworkInfo};

use crate::reply::Refusal;

/// All of them. As many as the master has frameworks.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<FrameworkId, Session>>);

#[derive(Clone)]
pub(crate) struct Session {
    pub stream_id: Arc<str>,
    pub caller: SchedulerCaller,
    info: Arc<Mutex<Arc<FrameworkInfo>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub fn new(stream_id: Arc<str>, caller: SchedulerCaller, info: Arc<FrameworkInfo>) -> Self {
        Self { stream_id, caller, info: Arc::new(Mutex::new(info)) }
    }

    /// As the framework last described itself.
    pub fn info(&self) -> Arc<FrameworkInfo> {
        lock(&self.info).clone()
    }

    pub fn set_info(&self, info: FrameworkInfo) {
        *lock(&self.info) = Arc::new(info);
    }
}

impl Sessions {
    pub fn get(&self, id: &FrameworkId) -> Option<Session> {
        lock(&self.0).get(id).cloned()
    }

    pub fn open(&self, id: FrameworkId, session: Session) {
        lock(&self.0).insert(id, session);
    }

    /// Unless a newer stream has taken its place.
    pub fn close(&self, id: &FrameworkId, stream_id: &str) {
        let mut sessions = lock(&self.0);
        if sessions.get(id).is_some_and(|session| *session.stream_id == *stream_id) {
            sessions.remove(id);
        }
    }
}

/// A random UUID (version 4).
pub(super) fn new_stream_id() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        return Err(Refusal::internal("The system has no random numbers for a stream id.\n".to_owned()));
    }
    let [.., six, _, eight, _, _, _, _, _, _, _] = &mut bytes;
    *six = *six & 0x0f | 0x40;
    *eight = *eight & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    Ok(model::UpdateId(number).to_string())
}
