//! The brain against a master in memory: what it launches, kills and remembers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Behaviour, World, app, path};
use marathon::definition::AppUpdate;
use marathon::definition::app::{ConstraintText, KillSelection, UnreachableStrategy, UpgradeStrategy};
use marathon::{ApiCall, ApiError, ApiReply, MarathonEvent, TaskSelector};
use model::scheduler_api::SchedulerEvent;
use model::{TaskId, TaskState};

fn ids(world: &mut World, id: &str) -> BTreeSet<TaskId> {
    world.instances(id).iter().map(|instance| instance.task_id.clone()).collect()
}

fn scaled(instances: u32) -> AppUpdate {
    AppUpdate { instances: Some(instances), ..AppUpdate::default() }
}

fn env(value: &str) -> AppUpdate {
    let value = marathon::definition::app::EnvValue::Text(value.to_owned());
    AppUpdate { env: Some([("A".to_owned(), value)].into()), ..AppUpdate::default() }
}

#[test]
fn an_app_comes_up_and_its_deployment_ends() {
    let mut world = World::new(2);
    let reply = world.create(app("/x", 3)).unwrap();
    assert!(matches!(reply, ApiReply::Created { .. }));
    assert_eq!(world.deployments(), 1);
    world.run();
    assert_eq!(world.running("/x"), 3);
    assert_eq!(world.deployments(), 0);
    assert_eq!(world.acknowledged, world.updates_sent);
    assert!(world.suppressed, "nothing more is wanted");
    assert!(world.store.keys().all(|key| !key.starts_with("marathon/deployments/")));
    assert_eq!(world.create(app("/x", 3)), Err(ApiError::AppExists(path("/x"))));
}

#[test]
fn scaling_keeps_the_first_tasks_and_ends_the_youngest_or_oldest() {
    let mut world = World::new(2);
    world.create(app("/x", 1)).unwrap();
    world.run();
    let first = ids(&mut world, "/x");
    world.advance(1);
    world.put("/x", scaled(3)).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 3);
    assert!(ids(&mut world, "/x").is_superset(&first));
    world.put("/x", scaled(1)).unwrap();
    world.run();
    assert_eq!(ids(&mut world, "/x"), first, "the youngest ended");

    world.advance(1);
    world.put("/x", scaled(2)).unwrap();
    world.run();
    let oldest = AppUpdate { kill_selection: Some(KillSelection::OldestFirst), ..AppUpdate::default() };
    world.put("/x", oldest).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    world.advance(1);
    world.put("/x", scaled(3)).unwrap();
    world.run();
    world.put("/x", scaled(1)).unwrap();
    world.run();
    assert!(ids(&mut world, "/x").is_disjoint(&before), "the oldest ended");
    world.put("/x", scaled(0)).unwrap();
    world.run();
    assert_eq!(world.instances("/x").len(), 0);
    assert!(world.brain.view().app(&path("/x")).is_some());
}

#[test]
fn the_identical_definition_changes_nothing() {
    let mut world = World::new(1);
    world.create(app("/x", 2)).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    let version = world.brain.view().app(&path("/x")).unwrap().1.version;
    world.advance(5);
    world.put("/x", app("/x", 2)).unwrap();
    assert_eq!(world.deployments(), 0);
    world.run();
    assert_eq!(ids(&mut world, "/x"), before);
    assert_eq!(world.brain.view().app(&path("/x")).unwrap().1.version, version);
}

#[test]
fn a_label_change_replaces_every_task_and_an_instances_change_none() {
    let mut world = World::new(1);
    world.create(app("/x", 2)).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    world.advance(1);
    let labels = [("a".to_owned(), "b".to_owned())].into();
    world.put("/x", AppUpdate { labels: Some(labels), ..AppUpdate::default() }).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 2);
    assert!(ids(&mut world, "/x").is_disjoint(&before));
    let view = world.brain.view();
    let definition = view.app(&path("/x")).unwrap().1;
    assert_eq!(definition.version, definition.last_config_change);
    assert_eq!(view.apps[&path("/x")].versions.len(), 2);
}

#[test]
fn restart_arithmetic_of_the_contract() {
    // instances, minimum health, over capacity; at once killed, at once started.
    for (n, health, over, killed, started) in [
        (4, 1.0, 1.0, 0, 4),
        (4, 1.0, 0.0, 0, 1),
        (4, 0.5, 0.0, 2, 2),
        (4, 0.0, 0.0, 4, 4),
        (1, 1.0, 0.0, 0, 1),
        (3, 0.5, 0.5, 1, 2),
    ] {
        let mut world = World::new(4);
        let upgrade = Some(UpgradeStrategy { health_min: health, over_max: over });
        world.create(AppUpdate { upgrade, ..app("/x", n) }).unwrap();
        world.run();
        let before = ids(&mut world, "/x");
        world.behaviour.insert("x".to_owned(), Behaviour::Hang);
        world.kills.clear();
        world.launches.clear();
        world.put("/x", env("1")).unwrap();
        world.run();
        let label = format!("{n} instances {health}/{over}");
        assert_eq!(world.kills.len(), killed, "killed: {label}");
        assert_eq!(world.launches.len(), started, "started: {label}");
        // The new ones come up: all is replaced in the end.
        world.behaviour.clear();
        for _ in 0..n {
            let staged: Vec<TaskId> = world
                .instances("/x")
                .iter()
                .filter(|instance| instance.state == TaskState::Staging)
                .map(|instance| instance.task_id.clone())
                .collect();
            for task in staged {
                let index = world.agents.iter().position(|agent| agent.tasks.contains_key(&task)).unwrap();
                world.agents[index].tasks.get_mut(&task).unwrap().1 = TaskState::Running;
                world.status(index, &task, TaskState::Running, None);
            }
            world.run();
        }
        assert_eq!(world.running("/x"), n as usize, "{label}");
        assert!(ids(&mut world, "/x").is_disjoint(&before), "{label}");
        assert_eq!(world.deployments(), 0, "{label}");
    }
}

#[test]
fn a_restart_makes_new_tasks_of_the_same_configuration() {
    let mut world = World::new(1);
    world.create(app("/x", 2)).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    world.advance(1);
    world.api(ApiCall::RestartApp { id: path("/x"), force: false }).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 2);
    assert!(ids(&mut world, "/x").is_disjoint(&before));
    let view = world.brain.view();
    let definition = view.app(&path("/x")).unwrap().1;
    assert!(definition.last_config_change < definition.version);
    let unknown = world.api(ApiCall::RestartApp { id: path("/y"), force: false });
    assert_eq!(unknown, Err(ApiError::AppNotFound(path("/y"))));
}

#[test]
fn a_second_update_is_locked_out_and_force_cancels() {
    let mut world = World::new(1);
    world.create(AppUpdate { cpus: Some(1000.0), ..app("/x", 1) }).unwrap();
    world.run();
    let Err(ApiError::Locked { deployments }) = world.put("/x", scaled(2)) else { panic!("locked") };
    assert_eq!(deployments.len(), 1);
    let view = world.brain.view();
    let queue = view.apps[&path("/x")].queue.as_ref().unwrap();
    assert_eq!(queue.count, 1);
    let rows = queue.tally.last_offers_funnel().0;
    assert_eq!((rows[4].reason.name(), rows[4].declined), ("InsufficientCpus", 1));
    let update = AppUpdate { cpus: Some(0.1), ..AppUpdate::default() };
    let call = ApiCall::UpdateApp {
        id: path("/x"),
        update: Box::new(update),
        partial: true,
        create: true,
        force: true,
    };
    world.api(call).unwrap();
    let failed = |event: &MarathonEvent| matches!(event, MarathonEvent::DeploymentFailed { plan, .. } if plan.id == deployments[0]);
    assert!(world.told.iter().any(failed));
    world.run();
    assert_eq!(world.running("/x"), 1);
    assert_eq!(world.deployments(), 0);
}

#[test]
fn deleting_a_deployment_reverts_or_leaves() {
    let mut world = World::new(1);
    world.create(AppUpdate { cpus: Some(1000.0), ..app("/new", 1) }).unwrap();
    world.run();
    let id = world.brain.view().deployments.keys().next().unwrap().clone();
    let reply = world.api(ApiCall::DeleteDeployment { id: id.clone(), force: false }).unwrap();
    assert!(matches!(reply, ApiReply::Deployment { .. }));
    world.run();
    assert!(world.brain.view().app(&path("/new")).is_none(), "a new app is gone again");
    assert_eq!(world.deployments(), 0);
    assert!(world.store.keys().all(|key| key == "marathon/framework-id"), "{:?}", world.store.keys());

    // An update that cannot come up: the old tasks are still there and stay.
    world.create(app("/x", 2)).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    world.put("/x", AppUpdate { cpus: Some(1000.0), ..AppUpdate::default() }).unwrap();
    world.run();
    let id = world.brain.view().deployments.keys().next().unwrap().clone();
    world.api(ApiCall::DeleteDeployment { id, force: false }).unwrap();
    world.run();
    assert_eq!(ids(&mut world, "/x"), before);
    assert_eq!(world.deployments(), 0);
    assert_eq!(world.brain.view().app(&path("/x")).unwrap().1.cpus, 0.1);

    world.put("/x", AppUpdate { cpus: Some(1000.0), ..AppUpdate::default() }).unwrap();
    world.run();
    let id = world.brain.view().deployments.keys().next().unwrap().clone();
    let reply = world.api(ApiCall::DeleteDeployment { id: id.clone(), force: true }).unwrap();
    assert_eq!(reply, ApiReply::Done);
    assert_eq!(world.brain.view().app(&path("/x")).unwrap().1.cpus, 1000.0);
    let again = world.api(ApiCall::DeleteDeployment { id: id.clone(), force: true });
    assert_eq!(again, Err(ApiError::DeploymentNotFound(id)));
}

#[test]
fn deleting_an_app_ends_its_tasks_and_leaves_no_record() {
    let mut world = World::new(1);
    world.create(app("/x", 2)).unwrap();
    world.run();
    world.api(ApiCall::DeleteApp { id: path("/x"), force: false }).unwrap();
    assert!(world.brain.view().app(&path("/x")).is_none());
    world.run();
    assert!(world.tasks_of("/x").is_empty());
    assert_eq!(world.store.keys().collect::<Vec<_>>(), ["marathon/framework-id"]);
    assert!(world.brain.view().apps.is_empty());
    let again = world.api(ApiCall::DeleteApp { id: path("/x"), force: true });
    assert_eq!(again, Err(ApiError::AppNotFound(path("/x"))));
}

#[test]
fn a_killed_task_is_replaced_and_scale_lowers_the_count() {
    let mut world = World::new(1);
    world.create(app("/x", 2)).unwrap();
    world.run();
    let task = world.tasks_of("/x")[0].clone();
    let selector = TaskSelector::Task { app: path("/x"), task: task.clone() };
    let kill = |scale, selector| ApiCall::KillTasks { selector, scale, wipe: false, force: false };
    world.api(kill(false, selector)).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 2);
    assert!(!world.tasks_of("/x").contains(&task));
    let (doomed, kept) = (world.tasks_of("/x")[0].clone(), world.tasks_of("/x")[1].clone());
    world.api(kill(true, TaskSelector::Ids(vec![doomed.clone(), "gone.1".into()]))).unwrap();
    world.run();
    assert_eq!(world.tasks_of("/x"), [kept]);
    assert_eq!(world.brain.view().app(&path("/x")).unwrap().1.instances, 1);
    let both =
        ApiCall::KillTasks { selector: TaskSelector::Ids(Vec::new()), scale: true, wipe: true, force: false };
    assert!(matches!(world.api(both), Err(ApiError::BadRequest(_))));
    let selector = TaskSelector::Task { app: path("/x"), task: doomed.clone() };
    assert_eq!(world.api(kill(false, selector)), Err(ApiError::TaskNotFound(doomed)));
}

#[test]
fn failing_tasks_back_off_and_the_delay_can_be_reset() {
    let mut world = World::new(1);
    world.behaviour.insert("x".to_owned(), Behaviour::Fail);
    world.create(app("/x", 1)).unwrap();
    world.run();
    assert_eq!(world.launches.len(), 1, "the second waits");
    for _ in 0..3 {
        world.advance(2);
    }
    let times: Vec<_> = world.launches.iter().map(|(time, _)| *time).collect();
    let gaps: Vec<u64> =
        times.windows(2).map(|pair| u64::try_from(pair[1].since(pair[0]).as_millis()).unwrap()).collect();
    assert_eq!(gaps[..3], [1000, 1150, 1322]);
    let count = world.launches.len();
    world.api(ApiCall::ResetDelay { id: path("/x") }).unwrap();
    world.run();
    assert_eq!(world.launches.len(), count + 1);
    assert_eq!(world.brain.view().apps[&path("/x")].last_failure.as_ref().unwrap().state, TaskState::Failed);
    // A new configuration starts without the old delay; scaling does not.
    world.behaviour.clear();
    let force = |update| ApiCall::UpdateApp {
        id: path("/x"),
        update: Box::new(update),
        partial: true,
        create: true,
        force: true,
    };
    let count = world.launches.len();
    world.api(force(scaled(2))).unwrap();
    world.run();
    assert_eq!(world.launches.len(), count);
    world.api(force(env("1"))).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 2);
    assert_eq!(world.api(ApiCall::ResetDelay { id: path("/x") }), Err(ApiError::NotQueued(path("/x"))));
}

#[test]
fn an_unreachable_instance_is_replaced_and_its_return_ended() {
    let mut world = World::new(2);
    world.create(app("/x", 3)).unwrap();
    world.run();
    let lost = if world.agents[0].tasks.is_empty() { 1 } else { 0 };
    let doomed: Vec<TaskId> = world.agents[lost].tasks.keys().cloned().collect();
    assert!(!doomed.is_empty());
    world.lose_agent(lost);
    assert_eq!(world.running("/x"), 3);
    assert!(doomed.iter().all(|task| !world.store.contains_key(&format!("marathon/instances/{task}"))));
    world.return_agent(lost);
    assert_eq!(world.tasks_of("/x").len(), 3);
    assert!(doomed.iter().all(|task| !world.tasks_of("/x").contains(task)));
    assert!(world.told.iter().any(|event| matches!(event, MarathonEvent::UnknownInstanceTerminated { .. })));
}

#[test]
fn unreachable_timers_and_disabled() {
    let strategy = UnreachableStrategy::After { inactive_seconds: 60, expunge_seconds: 600 };
    let mut world = World::new(1);
    world.create(AppUpdate { unreachable: Some(strategy), ..app("/x", 1) }).unwrap();
    world.create(AppUpdate { unreachable: Some(UnreachableStrategy::Disabled), ..app("/d", 1) }).unwrap();
    world.run();
    world.add_agent("b", "cpus:4;mem:4096;ports:[31000-31100]");
    world.lose_agent(0);
    assert_eq!(world.launches.len(), 2);
    world.advance(61);
    assert_eq!(world.running("/x"), 1, "replaced after 60 s");
    assert_eq!(world.instances("/x").len(), 2);
    world.return_agent(0);
    assert_eq!(world.running("/x"), 1, "the surplus is ended");
    assert_eq!(world.tasks_of("/x").len(), 1);
    assert_eq!(world.running("/d"), 1);
    assert_eq!(world.launches.len(), 3, "disabled waits for ever");

    world.lose_agent(0);
    world.advance(700);
    assert_eq!(world.instances("/d")[0].state, TaskState::Unreachable);
}

#[test]
fn every_crash_point_of_a_deployment_ends_the_same_way() {
    // The brain is thrown away after each step in turn.
    for crash_after in 0..40 {
        let mut world = World::new(2);
        world.create(app("/x", 3)).unwrap();
        world.run();
        world.put("/x", env("1")).unwrap();
        for _ in 0..crash_after {
            match world.events.pop_front() {
                Some(event) => world.step(marathon::Input::Event(event)),
                None => break,
            }
        }
        world.crash();
        world.advance(700);
        assert_eq!(world.running("/x"), 3, "crash after {crash_after}");
        assert_eq!(world.tasks_of("/x").len(), 3, "crash after {crash_after}");
        assert_eq!(world.deployments(), 0, "crash after {crash_after}");
        let environment = world.launches.last().unwrap().1.command.environment.clone();
        assert!(environment.contains(&("A".to_owned(), "1".to_owned())));
    }
}

#[test]
fn a_crash_relaunches_nothing() {
    let mut world = World::new(2);
    world.create(app("/x", 5)).unwrap();
    world.run();
    let before = ids(&mut world, "/x");
    let launches = world.launches.len();
    world.crash();
    world.advance(700);
    assert_eq!(ids(&mut world, "/x"), before);
    assert_eq!(world.launches.len(), launches);
}

#[test]
fn a_lost_launch_is_noticed_at_reconciliation() {
    let mut world = World::new(1);
    world.create(app("/x", 1)).unwrap();
    world.run();
    // As if the ACCEPT had never arrived.
    world.agents[0].tasks.clear();
    world.step(marathon::Input::Disconnected);
    world.step(marathon::Input::Connected);
    world.run();
    assert_eq!(world.running("/x"), 1);
    assert_eq!(world.launches.len(), 2);
}

#[test]
fn unknown_tasks_are_killed_and_acknowledged() {
    let mut world = World::new(1);
    world.create(app("/x", 1)).unwrap();
    world.run();
    let (id, (info, _)) =
        world.agents[0].tasks.first_key_value().map(|(k, v)| (k.clone(), v.clone())).unwrap();
    let stray: TaskId = "other.1".into();
    world.agents[0].tasks.insert(stray.clone(), (info, TaskState::Running));
    world.advance(700);
    assert_eq!(world.agents[0].tasks.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(world.acknowledged, world.updates_sent);
}

#[test]
fn kills_are_repeated_until_the_task_ends() {
    let mut world = World::new(1);
    world.create(app("/x", 1)).unwrap();
    world.run();
    world.lose_kills = true;
    world.put("/x", scaled(0)).unwrap();
    world.advance(65);
    assert_eq!(world.kills.len(), 3, "at once, after 30 s and after 60 s");
    assert_eq!(world.deployments(), 1);
    world.lose_kills = false;
    world.advance(30);
    assert!(world.tasks_of("/x").is_empty());
    assert_eq!(world.deployments(), 0);
}

#[test]
fn constraints_and_roles_hold() {
    let mut world = World::new(2);
    let unique = ConstraintText(vec!["hostname".to_owned(), "UNIQUE".to_owned()]);
    world.create(AppUpdate { constraints: Some(vec![unique]), ..app("/u", 3) }).unwrap();
    world.run();
    assert_eq!(world.running("/u"), 2);
    let view = world.brain.view();
    let queue = view.apps[&path("/u")].queue.as_ref().unwrap();
    assert_eq!(queue.count, 1);
    assert_eq!(queue.tally.last_offers_funnel().0[1].declined, 2);
    world.add_agent("p", "cpus(slave_public):4;mem(slave_public):4096;ports(slave_public):[1-21]");
    let public = AppUpdate { accepted_roles: Some(vec!["slave_public".to_owned()]), ..app("/p", 1) };
    world.create(public).unwrap();
    world.run();
    assert_eq!(world.agents[2].tasks.len(), 1);
    assert_eq!(world.running("/p"), 1);
    assert_eq!(world.running("/u"), 2, "an unreserved app stays off public agents");
}

#[test]
fn dependencies_come_first() {
    let mut world = World::new(1);
    let on = |id: &str| Some(BTreeSet::from([id.to_owned()]));
    let updates = vec![
        AppUpdate { dependencies: on("/s/service"), ..app("/s/frontend", 1) },
        AppUpdate { dependencies: on("db"), ..app("/s/service", 1) },
        app("/s/db", 1),
    ];
    world.api(ApiCall::UpdateApps { updates, partial: true, create: true, force: false }).unwrap();
    let view = world.brain.view();
    assert_eq!(view.deployments.values().next().unwrap().steps.len(), 4);
    world.run();
    let order: Vec<&str> = world.launches.iter().map(|(_, task)| task.name.as_str()).collect();
    assert_eq!(order, ["db.s", "service.s", "frontend.s"]);
    let cyclic = AppUpdate { dependencies: on("/s/frontend"), ..AppUpdate::default() };
    assert!(matches!(world.put("/s/db", cyclic), Err(ApiError::Invalid(_))));
    let update = app("/s", 1);
    assert!(matches!(world.create(update), Err(ApiError::Invalid(_))), "a group is in the place");
    assert!(matches!(world.create(app("/s/db/x", 1)), Err(ApiError::Invalid(_))), "an app is in the place");
}

#[test]
fn service_ports_are_kept_and_the_lowest_free_is_next() {
    let mut world = World::new(1);
    world.create(app("/a", 1)).unwrap();
    world.create(app("/b", 1)).unwrap();
    world.run();
    let ports = |world: &mut World, id: &str| world.brain.view().app(&path(id)).unwrap().1.service_ports();
    assert_eq!(ports(&mut world, "/a"), [10_000]);
    assert_eq!(ports(&mut world, "/b"), [10_001]);
    world.api(ApiCall::DeleteApp { id: path("/a"), force: true }).unwrap();
    world.run();
    let update = AppUpdate { ports: Some(vec![0, 0, 0]), ..AppUpdate::default() };
    world.put("/b", update).unwrap();
    assert_eq!(ports(&mut world, "/b"), [10_001, 10_000, 10_002]);
    world.run();
    let (_, task) = world.launches.last().unwrap();
    let get = |name: &str| task.command.environment.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let port0 = get("PORT0").unwrap();
    assert_eq!(get("PORT"), Some(port0.clone()));
    assert_eq!(get("PORT_10001"), Some(port0));
    assert_eq!(get("HOST"), Some("a0".to_owned()));
    assert_eq!(get("PORTS").unwrap().split(',').count(), 3);
    assert_eq!(get("MESOS_TASK_ID").unwrap(), task.id.as_str());
}

#[test]
fn a_rollback_by_version_brings_all_back() {
    let mut world = World::new(1);
    world.create(app("/x", 1)).unwrap();
    world.run();
    let version = world.brain.view().app(&path("/x")).unwrap().1.version;
    world.advance(1);
    world
        .put("/x", AppUpdate { cmd: Some("other".to_owned()), instances: Some(2), ..AppUpdate::default() })
        .unwrap();
    world.run();
    let back = AppUpdate { version: Some(version), ..AppUpdate::default() };
    world.put("/x", back.clone()).unwrap();
    world.run();
    let view = world.brain.view();
    let definition = view.app(&path("/x")).unwrap().1;
    assert_eq!((definition.cmd.as_deref(), definition.instances), (Some("sleep 1000"), 1));
    assert_eq!(view.apps[&path("/x")].versions.len(), 3);
    let mixed = AppUpdate { instances: Some(2), ..back };
    assert!(matches!(world.put("/x", mixed), Err(ApiError::Invalid(_))));
    let never = AppUpdate { version: Some(model::Time::from_millis(1)), ..AppUpdate::default() };
    assert!(matches!(world.put("/x", never), Err(ApiError::VersionNotFound { .. })));
}

#[test]
fn a_single_instance_app_never_runs_twice() {
    let mut world = World::new(1);
    let labels = [("MARATHON_SINGLE_INSTANCE_APP".to_owned(), "true".to_owned())].into();
    let upgrade = Some(UpgradeStrategy { health_min: 0.0, over_max: 0.0 });
    world.create(AppUpdate { labels: Some(labels), upgrade, ..app("/x", 1) }).unwrap();
    world.behaviour.insert("x".to_owned(), Behaviour::Stubborn);
    world.run();
    world.put("/x", env("1")).unwrap();
    world.advance(5);
    assert_eq!(world.tasks_of("/x").len(), 1, "the old one has not ended yet");
    let old = world.tasks_of("/x")[0].clone();
    world.end(&old, TaskState::Killed);
    world.run();
    assert_eq!(world.running("/x"), 1);
    assert_eq!(world.deployments(), 0);
}

#[test]
fn a_torn_down_framework_stops_and_a_foreign_id_too() {
    let mut world = World::new(1);
    world.step(marathon::Input::Event(SchedulerEvent::Subscribed { framework_id: "other".into() }));
    assert!(world.fatal.take().unwrap().contains("never replaced silently"));
    world
        .step(marathon::Input::Event(SchedulerEvent::Error { message: "Framework has been removed".into() }));
    assert_eq!(world.fatal.as_deref(), Some("Framework has been removed"));
}

#[test]
fn instances_without_a_framework_id_refuse_to_start() {
    let mut world = World::new(1);
    world.create(app("/x", 1)).unwrap();
    world.run();
    world.store.remove("marathon/framework-id");
    let records = world.records();
    let loaded = marathon::Marathon::load(world.config.clone(), model::Rng::new(1), records, world.now);
    assert!(matches!(loaded, Err(marathon::LoadError::FrameworkIdMissing { instances: 1 })));
}

#[test]
fn at_most_one_hundred_deployments_run() {
    let mut world = World::new(1);
    for index in 0..100 {
        world.create(AppUpdate { cpus: Some(1000.0), ..app(&format!("/x{index}"), 1) }).unwrap();
    }
    let more = world.create(app("/y", 1));
    assert_eq!(more, Err(ApiError::TooManyDeployments { max: 100 }));
    let update = AppUpdate { cpus: Some(0.1), ..AppUpdate::default() };
    let call = ApiCall::UpdateApp {
        id: path("/x5"),
        update: Box::new(update),
        partial: true,
        create: true,
        force: true,
    };
    world.api(call).unwrap();
    world.run();
    assert_eq!(world.running("/x5"), 1);
}

#[test]
fn many_instances_of_one_app_come_up_over_many_agents() {
    let mut world = World::new(20);
    world.create(AppUpdate { cpus: Some(0.01), mem: Some(1.0), ..app("/x", 1000) }).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 1000);
    world.advance(Duration::from_secs(700).as_secs());
    assert_eq!(world.launches.len(), 1000);
}

#[test]
fn labels_and_names_reach_the_environment_and_discovery() {
    use marathon::definition::app::{EnvValue, Protocol};
    use marathon::definition::update::PortDefinitionUpdate;
    let mut world = World::new(1);
    let port = PortDefinitionUpdate {
        port: 0,
        protocol: Protocol::Both,
        name: Some("http".to_owned()),
        labels: [("VIP_0".to_owned(), "/web:80".to_owned())].into(),
    };
    let labels = [("my-label.x".to_owned(), "v".to_owned()), ("long".to_owned(), "x".repeat(512))].into();
    let env = [("HOST".to_owned(), EnvValue::Text("mine".to_owned()))].into();
    world
        .create(AppUpdate {
            port_definitions: Some(vec![port]),
            labels: Some(labels),
            env: Some(env),
            ..app("/a/b", 1)
        })
        .unwrap();
    world.run();
    let (_, task) = &world.launches[0];
    let get = |name: &str| task.command.environment.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(get("MARATHON_APP_LABELS"), Some("MY_LABEL_X"));
    assert_eq!(get("MARATHON_APP_LABEL_MY_LABEL_X"), Some("v"));
    assert_eq!(get("MARATHON_APP_LABEL_LONG"), None, "too long to be exported");
    assert_eq!(get("HOST"), Some("mine"), "the user's value wins");
    assert_eq!(get("PORT_HTTP"), get("PORT0"));
    assert_eq!(get("MARATHON_APP_ID"), Some("/a/b"));
    assert_eq!(
        (get("MARATHON_APP_RESOURCE_CPUS"), get("MARATHON_APP_RESOURCE_MEM")),
        (Some("0.1"), Some("32.0"))
    );
    assert_eq!(task.name, "b.a");
    let discovery = task.discovery.as_ref().unwrap();
    let protocols: Vec<&str> = discovery.ports.iter().map(|port| port.protocol.as_str()).collect();
    assert_eq!(protocols, ["udp", "tcp"]);
    assert_eq!(discovery.ports[0].labels["VIP_0"], "/web:80");
    assert_eq!(discovery.ports[0].labels["network-scope"], "host");
}

#[test]
#[ignore = "a measurement: run it alone, in release"]
fn ten_thousand_instances() {
    let mut world = World::new(200);
    world.checked = false;
    let start = std::time::Instant::now();
    world.create(AppUpdate { cpus: Some(0.01), mem: Some(1.0), ..app("/x", 10_000) }).unwrap();
    world.run();
    assert_eq!(world.running("/x"), 10_000);
    println!("10,000 instances up in {:?} with the test's own master", start.elapsed());
}
