//! Marathon in the simulated world: its disk, its orders, its judgement.

use std::collections::BTreeMap;
use std::sync::Arc;

use marathon::state::{Deployment, Instance, TaskFailure};
use marathon::{ApiCall, AppDefinition, AppUpdate, Effect, Input, Marathon, PathId, Record, Write};
use mesos_master::ConnId;
use model::{FrameworkId, Rng, TaskId, Time};

use crate::sim::World;

/// What a store would hold for Marathon.
#[derive(Debug, Default)]
pub(crate) struct MarathonDisk {
    framework_id: Option<FrameworkId>,
    apps: BTreeMap<PathId, Arc<AppDefinition>>,
    versions: BTreeMap<(PathId, Time), Arc<AppDefinition>>,
    instances: BTreeMap<TaskId, Arc<Instance>>,
    deployments: BTreeMap<String, Arc<Deployment>>,
    failures: BTreeMap<PathId, Arc<TaskFailure>>,
}

impl MarathonDisk {
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::PutFrameworkId(id) => self.framework_id = Some(id),
            Write::PutApp(app) => {
                self.apps.insert(app.id.clone(), app);
            }
            Write::DeleteApp(id) => {
                self.apps.remove(&id);
            }
            Write::PutVersion(app) => {
                self.versions.insert((app.id.clone(), app.version), app);
            }
            Write::DeleteVersion { app, version } => {
                self.versions.remove(&(app, version));
            }
            Write::PutInstance(instance) => {
                self.instances.insert(instance.task_id.clone(), instance);
            }
            Write::DeleteInstance(id) => {
                self.instances.remove(&id);
            }
            Write::PutDeployment(deployment) => {
                self.deployments.insert(deployment.id.clone(), deployment);
            }
            Write::DeleteDeployment(id) => {
                self.deployments.remove(&id);
            }
            Write::PutTaskFailure(failure) => {
                self.failures.insert(failure.app.clone(), failure);
            }
            Write::DeleteTaskFailure(app) => {
                self.failures.remove(&app);
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> =
            self.framework_id.clone().map(Record::FrameworkId).into_iter().collect();
        records.extend(self.apps.values().map(|app| Record::App((**app).clone())));
        records.extend(self.versions.values().map(|app| Record::Version((**app).clone())));
        records.extend(self.instances.values().map(|instance| Record::Instance((**instance).clone())));
        records
            .extend(self.deployments.values().map(|deployment| Record::Deployment((**deployment).clone())));
        records.extend(self.failures.values().map(|failure| Record::TaskFailure((**failure).clone())));
        records
    }
}

impl World {
    pub(crate) fn start_marathon(&mut self) -> Result<(), String> {
        self.marathon_life += 1;
        self.reset_marathon_wakeup();
        let rng = Rng::new(self.rng.next_u64());
        let records = self.marathon_disk.records();
        let config = marathon::Config::default();
        let brain =
            Marathon::load(config, rng, records, self.now).map_err(|error| format!("marathon: {error}"))?;
        self.marathon = Some(brain);
        self.scheduler_conn = self.number();
        self.step_marathon(Input::Connected)
    }

    pub(crate) fn marathon_commit(&mut self, life: u64) -> Result<(), String> {
        if life != self.marathon_life {
            return Ok(());
        }
        for output in self.marathon_pipeline.finish() {
            for write in output.writes {
                self.marathon_disk.apply(write);
            }
            for effect in output.effects {
                match effect {
                    Effect::Call(call) => self.call_master(call),
                    Effect::Reply { request, result } => self.orders.answered(request, result.is_ok()),
                    Effect::Event(_) => {}
                    Effect::Fatal { message } => return Err(format!("marathon gives up: {message}")),
                }
            }
        }
        self.start_marathon_commit();
        Ok(())
    }

    /// Creates, scales, restarts or deletes an app.
    pub(crate) fn send_order(&mut self, app: String) -> Result<(), String> {
        let request = self.number();
        let id = PathId::parse(&app).map_err(|error| error.to_string())?;
        let exists = self
            .marathon
            .as_mut()
            .map(Marathon::view)
            .and_then(|view| view.app(&id).map(|(_, definition)| u64::from(definition.instances)));
        let force = self.rng.chance(900);
        let (call, size) = match exists {
            None => {
                let size = self.rng.below(self.plan.instances_max + 1);
                (ApiCall::CreateApp { app: Box::new(self.definition(&app, size)), force }, Some(size))
            }
            Some(size) => match self.rng.below(10) {
                0 => (ApiCall::DeleteApp { id, force }, None),
                1 => (ApiCall::RestartApp { id, force }, Some(size)),
                2 => {
                    let update = AppUpdate { cmd: Some(format!("sleep {request}")), ..AppUpdate::default() };
                    let update = Box::new(update);
                    (ApiCall::UpdateApp { id, update, partial: true, create: false, force }, Some(size))
                }
                _ => {
                    let size = self.rng.below(self.plan.instances_max + 1);
                    let instances = u32::try_from(size).ok();
                    let update = Box::new(AppUpdate { instances, ..AppUpdate::default() });
                    (ApiCall::UpdateApp { id, update, partial: true, create: false, force }, Some(size))
                }
            },
        };
        self.orders.sent(request, &app, size);
        self.remark(format!("order {request}: {app} to {size:?} by {call:?}"));
        self.step_marathon(Input::Api { request, call })
    }

    fn definition(&mut self, app: &str, size: u64) -> AppUpdate {
        AppUpdate {
            id: Some(app.to_owned()),
            cmd: Some("sleep 1000".to_owned()),
            instances: u32::try_from(size).ok(),
            cpus: Some(0.02),
            mem: Some(32.0),
            disk: Some(0.0),
            backoff_seconds: Some(1),
            launch_delay_max_seconds: Some(20),
            ..AppUpdate::default()
        }
    }

    /// The sizes Marathon believes in, by app.
    pub(crate) fn marathon_sizes(&mut self) -> Result<BTreeMap<String, u64>, String> {
        let Some(marathon) = &mut self.marathon else { return Err("marathon is down".to_owned()) };
        let view = marathon.view();
        Ok(view.existing().map(|(_, app)| (app.id.as_str().to_owned(), u64::from(app.instances))).collect())
    }

    pub(crate) fn marathon_at_rest(&mut self) -> Result<(), String> {
        let Some(marathon) = &mut self.marathon else { return Err("marathon is down".to_owned()) };
        let view = marathon.view();
        if let Some(deployment) = view.deployments.values().next() {
            let apps: Vec<String> = deployment
                .target
                .keys()
                .filter_map(|id| view.apps.get(id))
                .map(|app| {
                    let known = app.instances.iter().map(|one| {
                        (
                            one.task_id.as_str(),
                            one.state,
                            one.config,
                            one.sentenced,
                            one.unreachable_since,
                            one.started,
                        )
                    });
                    let known: Vec<_> = known.collect();
                    let wanted = app.definition.as_ref().map(|app| (app.instances, app.last_config_change));
                    let queue = app.queue.as_ref().map(|queue| (queue.count, queue.delayed_until));
                    format!("\n    wanted {wanted:?}, queue {queue:?}, known {known:?}")
                })
                .collect();
            let (id, steps) = (&deployment.id, &deployment.steps);
            return Err(format!("deployment {id} is still under way: {steps:?}{}", apps.concat()));
        }
        for (id, app) in view.apps.iter() {
            if let Some(queue) = &app.queue {
                return Err(format!("{id}: {} instances are still to be launched", queue.count));
            }
            let wanted = app.definition.as_ref().map_or(0, |definition| u64::from(definition.instances));
            if app.counts.running != wanted || app.instances.len() as u64 != wanted {
                let (running, known) = (app.counts.running, app.instances.len());
                return Err(format!(
                    "{id}: Marathon sees {running} running of {known} instances, {wanted} are wanted"
                ));
            }
        }
        Ok(())
    }

    /// Marathon died with its process, or alone: the master sees its stream close.
    pub(crate) fn scheduler_died(&mut self) -> Result<(), String> {
        let conn = ConnId(self.scheduler_conn);
        self.step_master(mesos_master::Input::SchedulerClosed { conn })
    }
}
