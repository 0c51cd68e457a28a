//! From what the master orders to containers: admission, environment, directories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{
    CommandInfo, ContainerId, ContainerInfo, ExecutorInfo, FrameworkId, FrameworkInfo, Reason, Resources,
    Role, Source, TaskInfo, TaskState, Time, UpdateId,
};

use crate::brain::{Agent, Effect, Out};
use crate::state::{
    AgentExecutor, AgentTask, ContainerLaunch, ContainerResize, ExecutorPhase, LaunchCommand, Nested, Phase,
    TaskKey, Write,
};

/// Where a container of an image sees its sandbox.
pub const SANDBOX_IN_CONTAINER: &str = "/mnt/mesos/sandbox";

impl Agent {
    /// A task of its own, with a command: the agent is its executor.
    pub(crate) fn run_command(
        &mut self,
        now: Time,
        framework: FrameworkInfo,
        role: Role,
        info: TaskInfo,
        out: &mut Out,
    ) {
        let Some(framework_id) = self.admit(now, framework, std::slice::from_ref(&info), out) else { return };
        let container_id = ContainerId::new(self.rng.uuid().to_string());
        let mut task = AgentTask::new(framework_id, info, container_id, now);
        task.role = Some(role);
        let key = task.key();
        let fits = self.fit(&mut task.info);
        let launch = fits.and_then(|()| self.launch_of_task(&task));
        self.insert_task(task);
        self.start_task(now, &key, launch, out);
    }

    /// Tasks for an executor: started for the first of them.
    #[expect(clippy::too_many_arguments, reason = "the parts of the master's order, and the turn's own")]
    pub(crate) fn run_on(
        &mut self,
        now: Time,
        framework: FrameworkInfo,
        role: Role,
        executor: ExecutorInfo,
        tasks: Vec<TaskInfo>,
        grouped: bool,
        out: &mut Out,
    ) {
        let Some(framework_id) = self.admit(now, framework, &tasks, out) else { return };
        let known = self.runs.get(&(framework_id.clone(), executor.id.clone())).cloned();
        let terminating = known
            .as_ref()
            .and_then(|run| self.executors.get(run))
            .is_some_and(|executor| executor.phase == ExecutorPhase::Terminating);
        if terminating {
            self.refuse(now, &framework_id, &tasks, Reason::ExecutorTerminated, "Executor terminating", out);
            return;
        }
        let (executor_id, is_default) = (executor.id.clone(), executor.is_default());
        let (run, is_new) = match known {
            Some(run) => (run, false),
            None => (self.new_run(now, framework_id.clone(), executor, role.clone(), out), true),
        };
        let group = grouped.then(|| UpdateId(self.rng.next_u128()));
        let mut keys = Vec::with_capacity(tasks.len());
        for info in tasks {
            let container_id = if is_default { run.child(&self.rng.uuid().to_string()) } else { run.clone() };
            let mut task = AgentTask::new(framework_id.clone(), info, container_id, now);
            task.executor_id = Some(executor_id.clone());
            task.role = Some(role.clone());
            task.group = group;
            let fits = self.fit(&mut task.info);
            task.phase = if is_default { Phase::Launching } else { Phase::Queued };
            keys.push((task.key(), fits));
            self.insert_task(task);
        }
        let mut failed = false;
        for (key, fits) in keys {
            let Some(task) = self.tasks.get(&key).filter(|task| task.phase != Phase::Ended) else { continue };
            match fits {
                Ok(()) if is_default && task.kill.is_some() => {
                    // One of its group could not start.
                    let reason = Some(Reason::TaskKilledDuringLaunch);
                    let text = "Another task of its group could not be started".to_owned();
                    self.end(now, &key, TaskState::Killed, Source::Agent, reason, text, out);
                }
                Ok(()) if is_default => {
                    let launch = self.launch_of_task(&task.clone());
                    self.start_task(now, &key, launch, out);
                }
                Ok(()) => out.write(Write::PutTask(task.clone())),
                Err(message) => {
                    failed = true;
                    let reason = Some(Reason::ContainerLaunchFailed);
                    self.end(now, &key, TaskState::Failed, Source::Agent, reason, message, out);
                }
            }
        }
        if is_default {
            return;
        }
        if failed && let Some(group) = group {
            self.end_queued_group(now, &run, group, out);
        }
        if is_new {
            self.start_executor(now, &run, out);
        } else {
            self.resize(&run, out);
            self.deliver(&run, out);
        }
    }

    /// Whether these tasks may come in; those that may not are answered. None also
    /// when they are known already.
    fn admit(
        &mut self,
        now: Time,
        framework: FrameworkInfo,
        tasks: &[TaskInfo],
        out: &mut Out,
    ) -> Option<FrameworkId> {
        let framework_id = framework.id.clone()?;
        let known = |info: &TaskInfo| {
            let key = (framework_id.clone(), info.id.clone());
            self.tasks.contains_key(&key) || self.strangers.contains_key(&key)
        };
        if tasks.iter().any(known) || tasks.is_empty() {
            return None;
        }
        if self.ending.is_some() || self.drain.is_some() {
            let text = "The agent is draining and takes no tasks until it is reactivated";
            self.refuse(now, &framework_id, tasks, Reason::AgentDraining, text, out);
            return None;
        }
        self.know_framework(framework, out);
        let most = self.config.limits.tasks_max;
        if self.tasks.len() + tasks.len() > most {
            let text =
                format!("the agent already has {} tasks, its limit tasks_max is {most}", self.tasks.len());
            self.refuse(now, &framework_id, tasks, Reason::ContainerLaunchFailed, &text, out);
            self.forget_framework_if_idle(&framework_id, out);
            return None;
        }
        Some(framework_id)
    }

    fn refuse(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        tasks: &[TaskInfo],
        reason: Reason,
        text: &str,
        out: &mut Out,
    ) {
        for info in tasks {
            self.report_stranger(now, (framework_id.clone(), info.id.clone()), reason, text, out);
        }
    }

    /// A record must fit the checkpoint: what is too large is cut from it.
    fn fit(&self, info: &mut TaskInfo) -> Result<(), String> {
        let (bytes, limit) = (bytes_of(info), self.config.limits.task_bytes_max);
        if bytes <= limit {
            return Ok(());
        }
        info.command = CommandInfo::default();
        info.labels.clear();
        info.raw = None;
        if let Some(executor) = &mut info.executor {
            executor.command = None;
            executor.raw = None;
        }
        Err(format!(
            "The task's command, arguments, environment and labels have {bytes} bytes; at most {limit} are taken"
        ))
    }

    fn insert_task(&mut self, mut task: AgentTask) {
        task.order = self.next_order;
        self.next_order += 1;
        let key = task.key();
        if task.has_container() {
            self.by_container.insert(task.container_id.clone(), key.clone());
        }
        self.by_run.entry(task.run()).or_default().insert(key.clone());
        self.tasks.insert(key, Arc::new(task));
    }

    fn start_task(
        &mut self,
        now: Time,
        key: &TaskKey,
        launch: Result<ContainerLaunch, String>,
        out: &mut Out,
    ) {
        match launch {
            Ok(launch) => {
                self.report(now, key, TaskState::Starting, Source::Executor, None, None, out);
                out.effect(Effect::Launch(Box::new(launch)));
            }
            Err(message) => {
                let reason = Some(Reason::ContainerLaunchFailed);
                self.end(now, key, TaskState::Failed, Source::Agent, reason, message, out);
            }
        }
    }

    fn new_run(
        &mut self,
        now: Time,
        framework_id: FrameworkId,
        info: ExecutorInfo,
        role: Role,
        out: &mut Out,
    ) -> ContainerId {
        let run = ContainerId::new(self.rng.uuid().to_string());
        let phase = if info.is_default() { ExecutorPhase::Running } else { ExecutorPhase::Registering };
        self.runs.insert((framework_id.clone(), info.id.clone()), run.clone());
        let executor = Arc::new(AgentExecutor {
            framework_id,
            info,
            role,
            container_id: run.clone(),
            phase,
            pid: None,
            received: now,
            ended: None,
            shutdown: None,
            verdict: None,
        });
        out.write(Write::PutExecutor(executor.clone()));
        self.executors.insert(run.clone(), executor);
        run
    }

    fn start_executor(&mut self, now: Time, run: &ContainerId, out: &mut Out) {
        let Some(executor) = self.executors.get(run).cloned() else { return };
        match self.launch_of_executor(&executor) {
            Ok(launch) => {
                let wait = self.config.limits.executor_registration_timeout_ms;
                self.deadlines.insert(run.clone(), now + Duration::from_millis(wait));
                out.effect(Effect::Launch(Box::new(launch)));
            }
            Err(message) => {
                self.executor_ended(now, run, crate::executors::ExecutorEnd::LaunchFailed(message), out);
            }
        }
    }

    // ---- containers

    fn launch_of_task(&self, task: &AgentTask) -> Result<ContainerLaunch, String> {
        let info = &task.info;
        let run_sandbox = self.run_directory(&task.framework_id, task.executor_name(), &task.run());
        let nested = (!task.is_command()).then(|| Nested { run_sandbox, task: info.id.as_str().to_owned() });
        let sandbox = self.directory_of(task);
        let what = Launch {
            framework_id: &task.framework_id,
            executor_id: task.executor_name(),
            role: task.role.as_ref(),
            container_id: &task.container_id,
            command: &info.command,
            container: info.container.as_ref(),
            sandbox: &sandbox,
        };
        self.launch_of(&what, &info.resources, nested, Vec::new())
    }

    fn launch_of_executor(&self, executor: &AgentExecutor) -> Result<ContainerLaunch, String> {
        let info = &executor.info;
        let sandbox = self.run_directory(&executor.framework_id, info.id.as_str(), &executor.container_id);
        let command = info.command.as_ref().ok_or_else(|| {
            "The executor has no command: a custom executor needs one in its ExecutorInfo".to_owned()
        })?;
        let what = Launch {
            framework_id: &executor.framework_id,
            executor_id: info.id.as_str(),
            role: Some(&executor.role),
            container_id: &executor.container_id,
            command,
            container: info.container.as_ref(),
            sandbox: &sandbox,
        };
        let agent = &self.config.info;
        let limits = &self.config.limits;
        let checkpoints =
            self.frameworks.get(&executor.framework_id).is_some_and(|framework| framework.checkpoint);
        let grace = info.shutdown_grace_ms.unwrap_or(limits.executor_shutdown_grace_ms);
        let mut env = vec![
            ("MESOS_DIRECTORY", sandbox.clone()),
            ("MESOS_AGENT_ENDPOINT", format!("{}:{}", agent.ip, agent.port)),
            ("MESOS_SLAVE_PID", format!("slave(1)@{}:{}", agent.ip, agent.port)),
            ("MESOS_CHECKPOINT", if checkpoints { "1" } else { "0" }.to_owned()),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", duration(grace)),
            ("MESOS_HTTP_COMMAND_EXECUTOR", "0".to_owned()),
        ];
        if checkpoints {
            env.push(("MESOS_RECOVERY_TIMEOUT", duration(limits.recovery_timeout_ms)));
            env.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", duration(limits.subscription_backoff_max_ms)));
        }
        self.launch_of(&what, &self.resources_of(executor), None, env)
    }

    /// An executor's own resources and those of its live tasks.
    pub(crate) fn resources_of(&self, executor: &AgentExecutor) -> Resources {
        let mut sum = executor.info.resources.clone();
        for key in self.by_run.get(&executor.container_id).into_iter().flatten() {
            if let Some(task) = self.tasks.get(key).filter(|task| task.phase != Phase::Ended) {
                sum.add(&task.info.resources);
            }
        }
        sum
    }

    fn launch_of(
        &self,
        what: &Launch<'_>,
        resources: &Resources,
        nested: Option<Nested>,
        more_env: Vec<(&'static str, String)>,
    ) -> Result<ContainerLaunch, String> {
        let image = what.container.and_then(|container| container.image.clone());
        let command = match (&what.command.value, what.command.shell, image.is_some()) {
            (Some(line), true, _) => LaunchCommand::Shell(line.clone()),
            (Some(program), false, _) => {
                let mut argv = vec![program.clone()];
                argv.extend(what.command.arguments.iter().skip(1).cloned());
                LaunchCommand::Argv(argv)
            }
            (None, _, true) => LaunchCommand::Image { args: what.command.arguments.clone() },
            (None, _, false) if !what.command.arguments.is_empty() => {
                LaunchCommand::Argv(what.command.arguments.clone())
            }
            (None, _, false) => {
                return Err(
                    "The task names neither a command nor an image: set cmd, args or an image".to_owned()
                );
            }
        };
        let mut env = what.command.environment.clone();
        let agent_id = self.id.as_ref().map(ToString::to_string).unwrap_or_default();
        let visible = if image.is_some() { SANDBOX_IN_CONTAINER } else { what.sandbox };
        let role = what.role.map(|role| ("MESOS_ALLOCATION_ROLE", role.to_string()));
        let own = [
            ("MESOS_SANDBOX", visible.to_owned()),
            ("MESOS_DIRECTORY", visible.to_owned()),
            ("MESOS_FRAMEWORK_ID", what.framework_id.to_string()),
            ("MESOS_EXECUTOR_ID", what.executor_id.to_owned()),
            ("MESOS_SLAVE_ID", agent_id.clone()),
            ("MESOS_AGENT_ID", agent_id),
            ("MESOS_CONTAINER_ID", what.container_id.to_string()),
            ("MESOS_CONTAINER_IP", self.config.info.ip.clone()),
            ("LIBPROCESS_IP", self.config.info.ip.clone()),
        ];
        for (name, value) in own.into_iter().chain(role).chain(more_env) {
            env.retain(|(existing, _)| existing != name);
            env.push((name.to_owned(), value));
        }
        let default_user = || {
            let framework = self.frameworks.get(what.framework_id).filter(|_| self.config.switch_user);
            framework.map(|framework| framework.user.clone()).filter(|user| !user.is_empty())
        };
        let user = what.command.user.clone().or_else(default_user);
        let (cpus_milli, mem_mib) = self.limits_of(resources);
        Ok(ContainerLaunch {
            id: what.container_id.clone(),
            sandbox: what.sandbox.to_owned(),
            nested,
            command,
            env,
            user,
            image,
            force_pull: what.container.is_some_and(|container| container.force_pull),
            cpus_milli,
            mem_mib,
            pids: self.config.limits.task_pids_max,
            volumes: self.mounts(resources),
        })
    }

    /// Thousandths of processors, MiB of memory.
    fn limits_of(&self, resources: &Resources) -> (u64, u64) {
        let whole = |milli: i64| u64::try_from(milli).unwrap_or(0);
        let mem_mib = (whole(resources.mem().milli()) / 1000).max(self.config.limits.task_mem_min_mib);
        (whole(resources.cpus().milli()), mem_mib)
    }

    /// Tasks of a custom executor came or went.
    pub(crate) fn resize(&mut self, run: &ContainerId, out: &mut Out) {
        let Some(executor) = self.executors.get(run) else { return };
        if executor.is_default() || !executor.is_live() || executor.pid.is_none() {
            return;
        }
        let resources = self.resources_of(executor);
        let (cpus_milli, mem_mib) = self.limits_of(&resources);
        let volumes: BTreeSet<_> = self.mounts(&resources).into_iter().collect();
        out.effect(Effect::Resize(Box::new(ContainerResize {
            id: run.clone(),
            sandbox: self.run_directory(&executor.framework_id, executor.info.id.as_str(), run),
            cpus_milli,
            mem_mib,
            pids: self.config.limits.task_pids_max,
            volumes,
        })));
    }

    // ---- directories

    /// Sandbox of one run, below the work directory.
    pub(crate) fn run_directory(
        &self,
        framework_id: &FrameworkId,
        executor_id: &str,
        run: &ContainerId,
    ) -> String {
        let agent_id = self.id.as_ref().map_or("unregistered", |id| id.as_str());
        let work_dir = &self.config.work_dir;
        format!("{work_dir}/slaves/{agent_id}/frameworks/{framework_id}/executors/{executor_id}/runs/{run}")
    }

    /// Sandbox of a task.
    pub(crate) fn directory_of(&self, task: &AgentTask) -> String {
        let run = self.run_directory(&task.framework_id, task.executor_name(), &task.run());
        match task.container_id.parent() {
            Some(_) => format!("{run}/containers/{}", task.container_id.leaf()),
            None => run,
        }
    }
}

/// What a launch of a task and of an executor have in common.
struct Launch<'a> {
    framework_id: &'a FrameworkId,
    executor_id: &'a str,
    role: Option<&'a Role>,
    container_id: &'a ContainerId,
    command: &'a CommandInfo,
    container: Option<&'a ContainerInfo>,
    sandbox: &'a str,
}

/// What of a task may grow without bound.
fn bytes_of(info: &TaskInfo) -> usize {
    let of_command = |command: &CommandInfo| -> usize {
        let words = command.value.iter().chain(&command.arguments).map(String::len);
        let pairs = command.environment.iter().map(|(name, value)| name.len() + value.len());
        words.chain(pairs).sum()
    };
    let labels: usize = info.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let raw = |raw: &Option<model::Opaque>| raw.as_ref().map_or(0, |raw| raw.len());
    let executor = info
        .executor
        .as_ref()
        .map_or(0, |executor| executor.command.as_ref().map_or(0, of_command) + raw(&executor.raw));
    of_command(&info.command) + labels + raw(&info.raw) + executor
}

/// As Mesos prints durations: `5secs`, `15mins`, `250ms`.
fn duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(604_800_000, "weeks"), (86_400_000, "days"), (3_600_000, "hrs"), (60_000, "mins"), (1_000, "secs")];
    for (unit, name) in UNITS {
        if ms >= unit && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_mesos_prints_them() {
        let all = [(5_000, "5secs"), (900_000, "15mins"), (250, "250ms"), (0, "0ms"), (86_400_000, "1days")];
        for (ms, text) in all {
            assert_eq!(duration(ms), text);
        }
    }
}
