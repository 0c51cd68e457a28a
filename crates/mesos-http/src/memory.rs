//! A container runtime without containers, for tests: it knows a few programs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use model::ContainerId;
use tokio::sync::{mpsc, watch};

use crate::Answer;
use crate::agent::ContainerStatistics;
use crate::runtime::{
    ContainerError, ContainerInput, ContainerListing, ContainerRuntime, Launched, NewContainer, Output,
    OutputStream, Termination, WindowSize,
};

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    containers: BTreeMap<ContainerId, Container>,
    images: Vec<String>,
    /// What of `images` is in use.
    running: Vec<String>,
}

struct Container {
    program: String,
    tty: Option<WindowSize>,
    output: mpsc::Sender<(OutputStream, Bytes)>,
    /// Kept until somebody attaches.
    unread: Option<Output>,
    ended: watch::Sender<Option<i32>>,
}

impl Memory {
    /// With the containers of tasks that a node's view has.
    pub fn with(ids: &[&str]) -> Self {
        let memory = Self::default();
        for id in ids {
            memory.start(ContainerId::new(id), "cat", None);
        }
        memory
    }

    pub fn state(&self) -> Vec<(String, Option<i32>)> {
        let state = self.lock();
        state.containers.iter().map(|(id, it)| (id.to_string(), *it.ended.borrow())).collect()
    }

    pub fn window(&self, id: &str) -> Option<WindowSize> {
        self.lock().containers.get(&ContainerId::new(id)).and_then(|it| it.tty)
    }

    pub fn set_images(&self, images: &[&str], running: &[&str]) {
        let mut state = self.lock();
        state.images = images.iter().map(|name| (*name).to_owned()).collect();
        state.running = running.iter().map(|name| (*name).to_owned()).collect();
    }

    pub fn images(&self) -> Vec<String> {
        self.lock().images.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn start(&self, id: ContainerId, program: &str, tty: Option<WindowSize>) {
        let (output, unread) = mpsc::channel(1000);
        let container = Container {
            program: program.to_owned(),
            tty,
            output,
            unread: Some(unread),
            ended: watch::Sender::new(None),
        };
        self.lock().containers.insert(id, container);
    }

    fn end(&self, id: &ContainerId, status: i32) {
        let mut state = self.lock();
        if let Some(container) = state.containers.get_mut(id)
            && container.ended.borrow().is_none()
        {
            container.ended.send_replace(Some(status));
            container.output = mpsc::channel(1).0;
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> Answer<'static, T> {
    Box::pin(async move { value })
}

impl ContainerRuntime for Memory {
    fn launch(&self, container: NewContainer) -> Answer<'_, Result<Launched, ContainerError>> {
        let id = container.id.clone();
        if let Some(parent) = id.parent()
            && !self.lock().containers.contains_key(&parent)
        {
            return ready(Err(ContainerError::NotFound(parent)));
        }
        if self.lock().containers.contains_key(&id) {
            return ready(Ok(Launched::Before));
        }
        let program = container.command.and_then(|command| command.value).unwrap_or_default();
        if program == "missing" {
            return ready(Err(ContainerError::Failed("Failed to execute 'missing': not found".into())));
        }
        let tty = container.tty.map(|size| size.unwrap_or(WindowSize { rows: 24, columns: 80 }));
        self.start(id.clone(), &program, tty);
        let say = |stream, text: &str| {
            let text = Bytes::from(text.to_owned());
            let output = self.lock().containers[&id].output.clone();
            let stream = if tty.is_some() { OutputStream::Stdout } else { stream };
            output.try_send((stream, text)).unwrap();
        };
        if program == "both" {
            say(OutputStream::Stdout, "out");
            say(OutputStream::Stderr, "err");
            self.end(&id, 0);
        } else if let Some(code) = program.strip_prefix("exit ") {
            self.end(&id, code.parse::<i32>().unwrap() << 8);
        }
        ready(Ok(Launched::Now))
    }

    fn wait(&self, id: ContainerId) -> Answer<'_, Result<Termination, ContainerError>> {
        let Some(mut ended) = self.lock().containers.get(&id).map(|it| it.ended.subscribe()) else {
            return ready(Err(ContainerError::NotFound(id)));
        };
        Box::pin(async move {
            let status = *ended.wait_for(Option::is_some).await.unwrap();
            Ok(Termination { status, ..Termination::default() })
        })
    }

    fn kill(&self, id: ContainerId, signal: i32) -> Answer<'_, Result<(), ContainerError>> {
        let runs = self.lock().containers.get(&id).is_some_and(|it| it.ended.borrow().is_none());
        if !runs {
            return ready(Err(ContainerError::NotFound(id)));
        }
        self.end(&id, signal);
        ready(Ok(()))
    }

    fn destroy(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        self.end(&id, 9);
        ready(Ok(()))
    }

    fn remove(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        let mut state = self.lock();
        let Some(container) = state.containers.get(&id) else {
            return ready(Err(ContainerError::NotFound(id)));
        };
        if container.ended.borrow().is_none() {
            return ready(Err(ContainerError::Failed(format!("Container {id} is running"))));
        }
        state.containers.remove(&id);
        ready(Ok(()))
    }

    fn attach_output(&self, id: ContainerId) -> Answer<'_, Result<Output, ContainerError>> {
        let mut state = self.lock();
        let Some(container) = state.containers.get_mut(&id) else {
            return ready(Err(ContainerError::NotFound(id)));
        };
        let output = match container.unread.take() {
            Some(unread) => unread,
            None => {
                let (output, again) = mpsc::channel(1000);
                container.output = output;
                again
            }
        };
        ready(Ok(output))
    }

    fn attach_input(&self, id: ContainerId) -> Answer<'_, Result<Box<dyn ContainerInput>, ContainerError>> {
        if !self.lock().containers.contains_key(&id) {
            return ready(Err(ContainerError::NotFound(id)));
        }
        ready(Ok(Box::new(Input { memory: self.clone(), id })))
    }

    fn list(&self) -> Answer<'_, Vec<ContainerListing>> {
        let state = self.lock();
        let live = state.containers.iter().filter(|(id, _)| id.parent().is_some() || id.as_str() == "alone");
        ready(live.map(|(id, _)| ContainerListing { id: id.clone(), pid: Some(4) }).collect())
    }

    fn statistics(&self, id: ContainerId) -> Answer<'_, Option<ContainerStatistics>> {
        ready((id.as_str() == "c-web-1").then(|| ContainerStatistics {
            timestamp: 200.0,
            cpus_user_time_secs: Some(1.25),
            mem_rss_bytes: Some(4096),
            ..ContainerStatistics::default()
        }))
    }

    fn prune_images(&self, excluded: Vec<String>) -> Answer<'_, Result<(), ContainerError>> {
        let mut state = self.lock();
        let State { images, running, .. } = &mut *state;
        images.retain(|image| excluded.contains(image) || running.contains(image));
        ready(Ok(()))
    }
}

struct Input {
    memory: Memory,
    id: ContainerId,
}

impl ContainerInput for Input {
    fn has_tty(&self) -> bool {
        self.memory.lock().containers.get(&self.id).is_some_and(|it| it.tty.is_some())
    }

    fn write(&mut self, data: Bytes) -> Answer<'_, Result<(), ContainerError>> {
        let state = self.memory.lock();
        let Some(container) = state.containers.get(&self.id).filter(|it| it.ended.borrow().is_none()) else {
            return ready(Err(ContainerError::Failed("Broken pipe".into())));
        };
        if container.program == "closed" {
            return ready(Err(ContainerError::Failed("Broken pipe".into())));
        }
        if container.program == "cat" {
            container.output.try_send((OutputStream::Stdout, data)).unwrap();
        }
        ready(Ok(()))
    }

    fn close(&mut self) -> Answer<'_, Result<(), ContainerError>> {
        self.memory.end(&self.id, 0);
        ready(Ok(()))
    }

    fn resize(&mut self, size: WindowSize) -> Answer<'_, Result<(), ContainerError>> {
        let mut state = self.memory.lock();
        match state.containers.get_mut(&self.id) {
            Some(Container { tty: Some(now), .. }) => {
                *now = size;
                ready(Ok(()))
            }
            _ => ready(Err(ContainerError::Failed("it has no terminal".into()))),
        }
    }
}
