//! The simulated container runtime: starts, ends, kills, and what it must never be asked.

use mesos_agent::{ContainerExit, ContainerLaunch, Effect, Input};
use model::ContainerId;

use crate::node::{SimContainer, SimState, exit_signal};
use crate::sim::{Event, World};

impl World {
    pub(crate) fn agent_effect(&mut self, index: usize, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::ToMaster { conn, message } => self.send_to_master(conn.0, message),
            Effect::Launch(launch) => self.launch(index, *launch)?,
            Effect::Terminate { id } => {
                let running = self.agents[index]
                    .containers
                    .get(&id)
                    .is_some_and(|c| matches!(c.state, SimState::Running { .. }));
                // One in ten ignores SIGTERM.
                if running && !self.rng.chance(100) {
                    let delay = 1 + self.rng.below(2_000);
                    self.at(delay, Event::ContainerEnd { agent: index, id, exit: exit_signal(15) });
                }
            }
            Effect::Destroy { id } => self.destroy(index, id)?,
            Effect::Forget { id } => {
                if let Some(container) = self.agents[index].containers.get(&id)
                    && matches!(container.state, SimState::Running { .. })
                {
                    return Err(format!("agent {index}: running container {id} is forgotten"));
                }
                self.agents[index].containers.remove(&id);
            }
            Effect::Volume(work) => {
                self.at(
                    1,
                    Event::VolumeDone { agent: index, life: self.agents[index].life, uuid: work.uuid },
                );
            }
            Effect::Look(look) => {
                return Err(format!(
                    "agent {index}: {} is looked at, and no task has a check",
                    look.container
                ));
            }
            // The simulated machine has no limits to change and remembers no volumes.
            Effect::Resize(_) | Effect::VolumeSettled { .. } => {}
            Effect::ExecutorReply { .. } | Effect::ToExecutor { .. } | Effect::CloseExecutor { .. } => {
                return Err(format!("agent {index}: no executor has called"));
            }
            Effect::Stop { message } => return Err(format!("agent {index} stopped: {message}")),
            Effect::Halt { message } => return Err(format!("agent {index} was sent away: {message}")),
        }
        Ok(())
    }

    fn launch(&mut self, index: usize, launch: ContainerLaunch) -> Result<(), String> {
        self.report.launches += 1;
        if self.agents[index].containers.contains_key(&launch.id) {
            return Err(format!("agent {index}: container {} is launched twice", launch.id));
        }
        // A command task's executor has the task's id.
        let named = launch.env.iter().find(|(name, _)| name == "MESOS_EXECUTOR_ID");
        let Some((_, task)) = named.cloned() else {
            return Err(format!("container {} has no MESOS_EXECUTOR_ID", launch.id));
        };
        for node in &self.agents {
            if node.containers.values().any(|container| container.task == task) {
                return Err(format!("task {task} has two containers"));
            }
        }
        let container = SimContainer {
            task,
            state: SimState::Starting,
            cpus_milli: launch.cpus_milli,
            mem_mib: launch.mem_mib,
        };
        self.agents[index].containers.insert(launch.id.clone(), container);
        let delay = 2 + self.rng.below(if self.rng.clone().chance(50) { 20_000 } else { 40 });
        let life = self.agents[index].life;
        self.at(delay, Event::ContainerStart { agent: index, life, id: launch.id });
        Ok(())
    }

    pub(crate) fn container_start(&mut self, index: usize, life: u64, id: ContainerId) -> Result<(), String> {
        if self.agents[index].life != life {
            return Ok(());
        }
        let fails = !self.storm_over && self.rng.chance(self.plan.launch_failures_per_mille);
        let pid = 1_000 + u32::try_from(self.rng.below(30_000)).unwrap_or(0);
        let Some(container) = self.agents[index].containers.get_mut(&id) else { return Ok(()) };
        if container.state != SimState::Starting {
            return Ok(());
        }
        if fails {
            self.agents[index].containers.remove(&id);
            return self.step_agent(index, Input::LaunchFailed { id, message: "no such image".to_owned() });
        }
        container.state = SimState::Running { pid };
        self.agents[index].check_capacity().map_err(|what| format!("agent {index}: {what}"))?;
        self.step_agent(index, Input::Started { id, pid })
    }

    pub(crate) fn container_end(
        &mut self,
        index: usize,
        id: ContainerId,
        exit: ContainerExit,
    ) -> Result<(), String> {
        let Some(container) = self.agents[index].containers.get_mut(&id) else { return Ok(()) };
        if !matches!(container.state, SimState::Running { .. }) {
            return Ok(());
        }
        container.state = SimState::Exited(exit.clone());
        self.step_agent(index, Input::Exited { id, exit })
    }

    fn destroy(&mut self, index: usize, id: ContainerId) -> Result<(), String> {
        match self.agents[index].containers.get(&id).map(|container| container.state.clone()) {
            Some(SimState::Starting) => {
                self.agents[index].containers.remove(&id);
                self.step_agent(index, Input::LaunchFailed { id, message: "launch cancelled".to_owned() })?;
            }
            Some(SimState::Running { .. }) => {
                let delay = 1 + self.rng.below(20);
                self.at(delay, Event::ContainerEnd { agent: index, id, exit: exit_signal(9) });
            }
            Some(SimState::Exited(_)) | None => {}
        }
        Ok(())
    }
}
