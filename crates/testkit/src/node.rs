//! Simulated processes and disks: what survives a crash and what does not.

use std::collections::{BTreeMap, VecDeque};

use mesos_agent::{Agent, ContainerExit, ExitStatus, RecoveredContainer, RecoveredState};
use model::{AgentId, ContainerId, FrameworkId, FrameworkInfo, Output, TaskId};

/// Steps whose writes are not durable yet; a crash drops them, effects and all.
#[derive(Debug)]
pub struct Pipeline<W, E> {
    pending: VecDeque<Output<W, E>>,
    /// What the commit under way will make durable.
    in_flight: Vec<Output<W, E>>,
}

impl<W, E> Default for Pipeline<W, E> {
    fn default() -> Self {
        Self { pending: VecDeque::new(), in_flight: Vec::new() }
    }
}

impl<W, E> Pipeline<W, E> {
    pub fn push(&mut self, output: Output<W, E>) {
        self.pending.push_back(output);
    }

    /// Starts a group commit of all that waits; false when there is nothing to
    /// do or one is under way.
    pub fn start(&mut self) -> bool {
        if !self.in_flight.is_empty() || self.pending.is_empty() {
            return false;
        }
        self.in_flight = self.pending.drain(..).collect();
        true
    }

    /// The commit under way is durable: its steps, in order.
    pub fn finish(&mut self) -> Vec<Output<W, E>> {
        std::mem::take(&mut self.in_flight)
    }

    /// A crash: what waits is lost; what was under way is returned, for the
    /// disk may have got it.
    pub fn crash(&mut self) -> Vec<Output<W, E>> {
        self.pending.clear();
        std::mem::take(&mut self.in_flight)
    }
}

/// The agent's checkpoint.
#[derive(Debug, Default, Clone)]
pub struct AgentDisk {
    pub id: Option<AgentId>,
    pub frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    pub tasks: BTreeMap<(FrameworkId, TaskId), mesos_agent::state::AgentTask>,
    pub executors: BTreeMap<ContainerId, mesos_agent::state::AgentExecutor>,
    pub operations: BTreeMap<model::UpdateId, model::OperationRecord>,
    pub resources: Option<mesos_agent::state::OfferedResources>,
    pub drain: Option<mesos_agent::state::Drain>,
    pub info: Option<model::AgentInfo>,
    pub boot_id: Option<String>,
}

impl AgentDisk {
    pub fn apply(&mut self, write: mesos_agent::Write) {
        use mesos_agent::Write;
        match write {
            Write::PutAgentId(id) => self.id = Some(id),
            Write::DeleteAgentId => self.id = None,
            Write::PutBootId(id) => self.boot_id = Some(id),
            Write::PutInfo(info) => self.info = Some(*info),
            Write::PutResources(resources) => self.resources = Some(*resources),
            Write::PutDrain(drain) => self.drain = drain,
            Write::PutExecutor(executor) => {
                self.executors.insert(executor.container_id.clone(), (*executor).clone());
            }
            Write::DeleteExecutor(id) => {
                self.executors.remove(&id);
            }
            Write::PutOperation(operation) => {
                self.operations.insert(operation.uuid, (*operation).clone());
            }
            Write::DeleteOperation(uuid) => {
                self.operations.remove(&uuid);
            }
            Write::PutFramework(info) => {
                if let Some(id) = info.id.clone() {
                    self.frameworks.insert(id, (*info).clone());
                }
            }
            Write::DeleteFramework(id) => {
                self.frameworks.remove(&id);
            }
            Write::PutTask(task) => {
                self.tasks.insert(task.key(), (*task).clone());
            }
            Write::DeleteTask(key) => {
                self.tasks.remove(&key);
            }
        }
    }

    pub fn records(&self) -> Vec<mesos_agent::Record> {
        use mesos_agent::Record;
        let id = self.id.clone().map(Record::AgentId);
        let frameworks = self.frameworks.values().cloned().map(|info| Record::Framework(Box::new(info)));
        let tasks = self.tasks.values().cloned().map(|task| Record::Task(std::sync::Arc::new(task)));
        let executors =
            self.executors.values().cloned().map(|executor| Record::Executor(std::sync::Arc::new(executor)));
        let operations = self
            .operations
            .values()
            .cloned()
            .map(|operation| Record::Operation(std::sync::Arc::new(operation)));
        let boot_id = self.boot_id.clone().map(Record::BootId);
        let info = self.info.clone().map(|info| Record::Info(Box::new(info)));
        let resources = self.resources.clone().map(|resources| Record::Resources(Box::new(resources)));
        let drain = self.drain.map(Record::Drain);
        id.into_iter()
            .chain(boot_id)
            .chain(info)
            .chain(frameworks)
            .chain(executors)
            .chain(tasks)
            .chain(resources)
            .chain(operations)
            .chain(drain)
            .collect()
    }
}

/// A container, which lives on when its agent's process does not.
#[derive(Debug, Clone)]
pub struct SimContainer {
    pub task: String,
    pub state: SimState,
    pub cpus_milli: u64,
    pub mem_mib: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimState {
    /// Ordered; starts when its event fires.
    Starting,
    Running {
        pid: u32,
    },
    Exited(ContainerExit),
}

/// One agent machine.
#[derive(Debug)]
pub struct AgentNode {
    pub process: Option<Agent>,
    /// Counts process starts: events of an older life are void.
    pub life: u64,
    pub powered: bool,
    pub partitioned: bool,
    pub disk: AgentDisk,
    pub pipeline: Pipeline<mesos_agent::Write, mesos_agent::Effect>,
    pub containers: BTreeMap<ContainerId, SimContainer>,
    pub conn: Option<u64>,
    pub wakeup: Option<model::Time>,
    pub cpus_milli: u64,
    pub mem_mib: u64,
}

impl AgentNode {
    pub fn new(cpus_milli: u64, mem_mib: u64) -> Self {
        Self {
            process: None,
            life: 0,
            powered: true,
            partitioned: false,
            disk: AgentDisk::default(),
            pipeline: Pipeline::default(),
            containers: BTreeMap::new(),
            conn: None,
            wakeup: None,
            cpus_milli,
            mem_mib,
        }
    }

    /// What the runtime would find after a restart of the agent's process.
    pub fn recovered(&self) -> Vec<RecoveredContainer> {
        let known = |(id, container): (&ContainerId, &SimContainer)| {
            let state = match &container.state {
                SimState::Starting => return None,
                SimState::Running { pid } => RecoveredState::Running { pid: *pid },
                SimState::Exited(exit) => RecoveredState::Exited(exit.clone()),
            };
            Some(RecoveredContainer { id: id.clone(), state })
        };
        self.containers.iter().filter_map(known).collect()
    }

    /// The machine loses power: nothing but the disk is left.
    pub fn power_off(&mut self, disk_got_it: bool) {
        self.crash(disk_got_it);
        self.powered = false;
        self.containers.clear();
    }

    /// The agent's process is killed; with `disk_got_it` the commit under way
    /// became durable although its effects did not happen.
    pub fn crash(&mut self, disk_got_it: bool) {
        self.process = None;
        self.life += 1;
        self.wakeup = None;
        for output in self.pipeline.crash() {
            if disk_got_it {
                for write in output.writes {
                    self.disk.apply(write);
                }
            }
        }
        // The order to start died with the process that would have carried it out.
        self.containers.retain(|_, container| container.state != SimState::Starting);
    }

    pub fn running(&self) -> impl Iterator<Item = &SimContainer> {
        self.containers.values().filter(|container| matches!(container.state, SimState::Running { .. }))
    }

    /// Running containers hold no more than the machine has.
    pub fn check_capacity(&self) -> Result<(), String> {
        let cpus: u64 = self.running().map(|container| container.cpus_milli).sum();
        let mem: u64 = self.running().map(|container| container.mem_mib).sum();
        if cpus > self.cpus_milli || mem > self.mem_mib {
            return Err(format!(
                "{cpus} milli-cpus and {mem} MiB run on a machine of {} and {}",
                self.cpus_milli, self.mem_mib
            ));
        }
        Ok(())
    }
}

/// An end by the given code.
pub fn exit_code(code: i32) -> ContainerExit {
    ContainerExit { status: ExitStatus::Code(code), memory: None }
}

/// An end by the given signal.
pub fn exit_signal(signal: i32) -> ContainerExit {
    ContainerExit { status: ExitStatus::Signal(signal), memory: None }
}
