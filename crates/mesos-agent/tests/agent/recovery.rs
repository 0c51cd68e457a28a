//! Starts: after a crash, a reboot, with another description, for the last time.

use mesos_agent::config::Recover;
use mesos_agent::{Input, RecoveredState};
use model::agent_api::MasterToAgent;
use model::{Attribute, AttributeValue, Capability, TaskState};

use crate::support::{Bench, config, framework, is, on_executor, resources, status, task};

const RUNNING: RecoveredState = RecoveredState::Running { pid: 100 };

/// t1 runs on an executor and has told so; t2 was handed over and said nothing yet.
fn with_executor(checkpoint: bool) -> Bench {
    let mut bench = Bench::registered();
    let framework = model::FrameworkInfo { checkpoint, ..framework(&[Capability::PartitionAware]) };
    bench.run(&framework, on_executor("t1"));
    bench.started("c1", 100);
    bench.subscribe(1, &[], Vec::new());
    bench.update(2, status("t1", TaskState::Running, 7));
    bench.run(&framework, on_executor("t2"));
    bench.restart();
    bench
}

#[test]
fn sea_45_49_an_executor_comes_back() {
    let mut bench = with_executor(true);
    is(bench.recovered(&[("c1", RUNNING)]), "");
    // The master hears of the agent when its executors had their time.
    is(bench.step(Input::MasterConnected { conn: crate::support::MASTER }), "");
    is(bench.update(1, status("t1", TaskState::Running, 8)), "reply 1 Agent has not finished recovery");
    is(
        bench.subscribe(
            2,
            &["t2"],
            vec![status("t1", TaskState::Running, 7), status("t2", TaskState::Running, 9)],
        ),
        "reply 2 ok | executor 2 subscribed E c1 | executor 2 acknowledged t1 7 | executor 2 acknowledged t2 9 | register",
    );
    let registered = MasterToAgent::Registered { agent_id: "S1".into() };
    is(bench.master(registered), "update t1 RUNNING u1 | update t2 RUNNING u2");
    is(bench.acknowledge("t1"), "");
    let registration = bench.registration.as_ref().unwrap();
    assert_eq!((registration.executors.len(), registration.tasks.len()), (1, 2));
}

#[test]
fn sea_50_a_task_the_executor_never_saw() {
    let mut bench = with_executor(true);
    bench.recovered(&[("c1", RUNNING)]);
    bench.step(Input::MasterConnected { conn: crate::support::MASTER });
    let lines = bench.subscribe(2, &[], Vec::new());
    is(lines, "reply 2 ok | executor 2 subscribed E c1 | resize c1 1500 96 | register");
    let registered = MasterToAgent::Registered { agent_id: "S1".into() };
    is(bench.master(registered), "update t1 RUNNING u1 | update t2 DROPPED AGENT_RESTARTED u2");
    // Who does not know partitions hears that it is lost.
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t1"));
    bench.started("c1", 100);
    bench.subscribe(1, &[], Vec::new());
    bench.restart();
    bench.recovered(&[("c1", RUNNING)]);
    bench.step(Input::MasterConnected { conn: crate::support::MASTER });
    bench.subscribe(2, &[], Vec::new());
    let registered = MasterToAgent::Registered { agent_id: "S1".into() };
    is(bench.master(registered), "update t1 LOST AGENT_RESTARTED u1");
}

#[test]
fn an_executor_that_does_not_come_back() {
    let mut bench = with_executor(true);
    bench.recovered(&[("c1", RUNNING)]);
    is(bench.step(Input::MasterConnected { conn: crate::support::MASTER }), "");
    is(bench.pass(9_999), "");
    is(bench.pass(1), "destroy c1 | register");
    bench.master(MasterToAgent::Registered { agent_id: "S1".into() });
    is(
        bench.exited("c1", crate::support::signal(9)),
        "update t2 GONE EXECUTOR_REREGISTRATION_TIMEOUT u2 | executor E exited Some(9)",
    );
    is(bench.acknowledge("t1"), "update t1 GONE EXECUTOR_REREGISTRATION_TIMEOUT u3");
}

#[test]
fn sea_46_without_checkpointing_executors_and_tasks_end() {
    let mut bench = with_executor(false);
    is(bench.recovered(&[("c1", RUNNING)]), "destroy c1");
    is(
        bench.connect(),
        "register | update t1 RUNNING u1 (latest TASK_GONE) | update t2 GONE AGENT_RESTARTED u2 | executor E exited None",
    );
    is(bench.acknowledge("t1"), "update t1 GONE AGENT_RESTARTED u3");
    let mut bench = Bench::registered();
    let framework = model::FrameworkInfo { checkpoint: false, ..framework(&[]) };
    bench.run(&framework, task("t1"));
    bench.started("c1", 11);
    bench.restart();
    is(bench.recovered(&[("c1", RUNNING)]), "destroy c1");
    bench.connect();
    bench.acknowledge("t1");
    is(bench.acknowledge("t1"), "update t1 LOST AGENT_RESTARTED u3");
}

#[test]
fn an_executor_that_was_never_started() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[Capability::PartitionAware]), on_executor("t1"));
    bench.restart();
    is(bench.recovered(&[]), "");
    is(bench.connect(), "register | update t1 DROPPED AGENT_RESTARTED u1 | executor E exited None");
    is(bench.acknowledge("t1"), "forget c1");
}

#[test]
fn ks_39_63_a_restart_keeps_the_id_and_ends_what_nobody_knows() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), task("t1"));
    bench.started("c1", 11);
    bench.restart();
    is(bench.recovered(&[("c1", RUNNING), ("stray", RUNNING)]), "destroy c2");
    bench.connect();
    let registration = bench.registration.as_ref().unwrap();
    assert_eq!(registration.info.id, Some("S1".into()));
    assert_eq!(registration.tasks[0].state, TaskState::Running);
}

#[test]
fn ks_40_a_reboot_ends_all_tasks_and_keeps_the_id() {
    let mut bench = with_executor(true);
    bench.config.boot_id = Some("boot-2".into());
    bench.restart();
    is(bench.recovered(&[("c1", RUNNING)]), "destroy c1");
    is(
        bench.connect(),
        "register | update t1 RUNNING u1 (latest TASK_FAILED) | update t2 FAILED EXECUTOR_TERMINATED u2 | executor E exited None",
    );
    assert_eq!(bench.registration.as_ref().unwrap().info.id, Some("S1".into()));
}

#[test]
fn ks_40_a_reboot_with_another_description_makes_a_new_agent() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), task("t1"));
    bench.started("c1", 11);
    bench.config.boot_id = Some("boot-2".into());
    bench.config.info.resources = resources("cpus:1;mem:64");
    bench.restart();
    bench.recovered(&[]);
    bench.step(Input::MasterConnected { conn: crate::support::MASTER });
    let registration = bench.registration.as_ref().unwrap();
    assert_eq!(registration.info.id, None);
    assert!(registration.tasks.is_empty());
    assert_eq!(bench.records().count(), 2, "boot id and description");
}

#[test]
fn cleanup_ends_everything_and_stops() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), task("t1"));
    bench.started("c1", 11);
    bench.config.recover = Recover::Cleanup;
    bench.restart();
    is(bench.recovered(&[("c1", RUNNING)]), "terminate c1");
    is(bench.step(Input::MasterConnected { conn: crate::support::MASTER }), "");
    is(
        bench.exited("c1", crate::support::signal(15)),
        "forget c1 | stop: what ran here is ended; its next start joins as a new agent",
    );
    assert!(bench.records().all(|record| !matches!(record, mesos_agent::Record::AgentId(_))));
}

#[test]
fn unregistering_ends_everything_and_stops() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), task("t1"));
    bench.started("c1", 11);
    is(bench.step(Input::Unregister), "unregister | terminate c1");
    is(bench.run(&framework(&[]), task("t2")), "update t2 LOST AGENT_DRAINING u2");
    let lines = bench.exited("c1", crate::support::signal(15));
    assert_eq!(lines.first().map(String::as_str), Some("forget c1"));
    assert!(lines.last().unwrap().starts_with("stop: "), "{lines:?}");
}

#[test]
fn ks_38_reconfiguration() {
    use mesos_agent::config::ReconfigurationPolicy::{Additive, Equal};
    let old = config().info;
    let attribute = Attribute { name: "rack".into(), value: AttributeValue::Text("r1".into()) };
    let with = model::AgentInfo { attributes: vec![attribute], ..old.clone() };
    let more = model::AgentInfo {
        resources: resources("cpus:9;mem:8192;disk:10000;ports:[31000-32000];gpus:1"),
        ..old.clone()
    };
    let less = model::AgentInfo {
        resources: resources("cpus:7;mem:8192;disk:10000;ports:[31000-32000]"),
        ..old.clone()
    };
    let host = model::AgentInfo { hostname: "other".into(), ..old.clone() };
    let check = |policy, old: &model::AgentInfo, new: &model::AgentInfo| {
        let config = mesos_agent::AgentConfig { reconfiguration: policy, info: new.clone(), ..config() };
        mesos_agent::check_start(&config, &[mesos_agent::Record::Info(Box::new(old.clone()))])
    };
    assert!(check(Equal, &old, &old).is_ok());
    assert!(check(Equal, &old, &with).is_err());
    assert!(check(Equal, &old, &more).is_err());
    assert!(check(Additive, &old, &with).is_ok());
    assert!(check(Additive, &with, &old).is_err(), "an attribute is not taken away");
    assert!(check(Additive, &old, &more).is_ok());
    assert!(check(Additive, &old, &less).unwrap_err().contains("cpus"));
    assert!(check(Additive, &old, &host).unwrap_err().contains("hostname"));
}
