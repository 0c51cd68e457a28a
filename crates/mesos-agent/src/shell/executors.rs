//! Executors as the shell sees them: calls with answers, and streams of events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::executor_api::{ExecutorCall, ExecutorEvent};
use model::{ExecutorId, FrameworkId};
use tokio::sync::{mpsc, oneshot};

use super::Handle;
use crate::brain::{ExecutorConn, ExecutorRefusal, Input};

/// Events of one executor that wait for its connection; beyond that it is cut off
/// and finds its state anew when it subscribes again.
pub const EVENTS_MAX: usize = 4_096;

type Answer = oneshot::Sender<Result<(), ExecutorRefusal>>;

#[derive(Default)]
struct Open {
    last: u64,
    answers: HashMap<ExecutorConn, Answer>,
    events: HashMap<ExecutorConn, mpsc::Sender<ExecutorEvent>>,
}

#[derive(Default)]
pub(super) struct Executors(Mutex<Open>);

impl Executors {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn reply(&self, conn: ExecutorConn, result: Result<(), ExecutorRefusal>) {
        let mut open = self.lock();
        if result.is_err() {
            open.events.remove(&conn);
        }
        if let Some(answer) = open.answers.remove(&conn) {
            // Whoever asked may have gone; then nobody needs it.
            let _ = answer.send(result);
        }
    }

    /// False when the executor's queue is full or its stream is gone.
    pub fn send(&self, conn: ExecutorConn, event: ExecutorEvent) -> bool {
        let mut open = self.lock();
        let sent = open.events.get(&conn).is_some_and(|sender| sender.try_send(event).is_ok());
        if !sent {
            open.events.remove(&conn);
        }
        sent
    }

    /// The stream ends after what was sent on it.
    pub fn close(&self, conn: ExecutorConn) {
        self.lock().events.remove(&conn);
    }
}

/// The events of one subscription. It ends when the agent closes it; when it is
/// dropped, the agent takes the executor for disconnected.
#[derive(Debug)]
pub struct ExecutorEvents {
    receiver: mpsc::Receiver<ExecutorEvent>,
    _closing: Closing,
}

impl ExecutorEvents {
    /// `None`: the agent closed the stream.
    pub async fn recv(&mut self) -> Option<ExecutorEvent> {
        self.receiver.recv().await
    }
}

#[derive(Debug)]
struct Closing {
    conn: ExecutorConn,
    inputs: mpsc::Sender<Input>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let closed = Input::ExecutorClosed { conn: self.conn };
        if let Err(mpsc::error::TrySendError::Full(closed)) = self.inputs.try_send(closed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let inputs = self.inputs.clone();
            runtime.spawn(async move {
                // Fails only when the agent's loop has ended.
                let _ = inputs.send(closed).await;
            });
        }
    }
}

impl Handle {
    /// SUBSCRIBE: its events, the first of which is `Subscribed` or `Shutdown`.
    pub async fn subscribe_executor(
        &self,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: ExecutorCall,
    ) -> Result<ExecutorEvents, ExecutorRefusal> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let (conn, answer) = self.open_executor(Some(sender));
        let events = ExecutorEvents { receiver, _closing: Closing { conn, inputs: self.inputs.clone() } };
        self.send(Input::Executor { conn, framework_id, executor_id, call }).await;
        answer.await.unwrap_or(Err(ExecutorRefusal::Stopping))?;
        Ok(events)
    }

    /// UPDATE and MESSAGE: answered once it is durable.
    pub async fn executor_call(
        &self,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: ExecutorCall,
    ) -> Result<(), ExecutorRefusal> {
        let (conn, answer) = self.open_executor(None);
        self.send(Input::Executor { conn, framework_id, executor_id, call }).await;
        answer.await.unwrap_or(Err(ExecutorRefusal::Stopping))
    }

    fn open_executor(
        &self,
        events: Option<mpsc::Sender<ExecutorEvent>>,
    ) -> (ExecutorConn, oneshot::Receiver<Result<(), ExecutorRefusal>>) {
        let (sender, answer) = oneshot::channel();
        let mut open = self.executors.lock();
        open.last += 1;
        let conn = ExecutorConn(open.last);
        open.answers.insert(conn, sender);
        if let Some(events) = events {
            open.events.insert(conn, events);
        }
        (conn, answer)
    }
}

/// Shared by the handle and the loop.
pub(super) type Shared = Arc<Executors>;
