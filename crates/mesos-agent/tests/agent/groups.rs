//! Groups of tasks on the built-in default executor.

use mesos_agent::RecoveredState;
use model::agent_api::MasterToAgent;
use model::{ExecutorId, ExecutorKind, FrameworkId};

use crate::support::{Bench, code, executor, framework, is, signal};

fn running() -> Bench {
    let mut bench = Bench::registered();
    is(
        bench.group(&framework(&[]), executor(ExecutorKind::Default), &["a", "b"]),
        "update a STARTING u1 | launch c1.c2 | update b STARTING u2 | launch c1.c3",
    );
    bench.acknowledge("a");
    bench.acknowledge("b");
    is(bench.started("c1.c2", 11), "update a RUNNING u3");
    is(bench.started("c1.c3", 12), "update b RUNNING u4");
    bench.acknowledge("a");
    bench.acknowledge("b");
    bench
}

#[test]
fn each_task_has_a_container_within_the_executors() {
    let bench = running();
    let sandbox = &bench.launches[0].sandbox;
    let (run, leaf) = sandbox.rsplit_once("/containers/").unwrap();
    assert!(run.starts_with("/w/slaves/S1/frameworks/F/executors/E/runs/"), "{run}");
    assert!(bench.launches[0].id.as_str().ends_with(leaf));
    let nested = bench.launches[0].nested.as_ref().unwrap();
    assert_eq!((nested.run_sandbox.as_str(), nested.task.as_str()), (run, "a"));
    assert_eq!(bench.env(0, "MESOS_CONTAINER_IP"), Some("10.0.0.7"));
    assert_eq!(bench.env(0, "MESOS_ALLOCATION_ROLE"), Some("eng"));
    assert_eq!(bench.env(0, "MESOS_EXECUTOR_ID"), Some("E"));
    let status = bench.sent.last().unwrap();
    let container = &status.container.as_ref().unwrap().container_id;
    assert!(container.parent().is_some(), "{container}");
    let view = bench.agent.view(bench.now);
    assert_eq!(view.executors.len(), 1);
    assert!(view.executors[0].connected);
    assert_eq!(view.tasks[0].directory, *sandbox);
}

#[test]
fn sea_52_one_fails_the_others_are_killed() {
    let mut bench = running();
    is(bench.exited("c1.c2", code(1)), "update a FAILED u5 | terminate c1.c3");
    is(bench.pass(3_000), "destroy c1.c3");
    is(bench.exited("c1.c3", signal(9)), "update b KILLED u6 | executor E exited Some(0)");
    is(bench.acknowledge("a"), "forget c1.c2");
    is(bench.acknowledge("b"), "forget c1.c3");
    assert!(bench.agent.view(bench.now).executors.is_empty());
}

#[test]
fn sea_52_one_is_killed_and_the_others_with_it() {
    let mut bench = running();
    is(bench.kill("a", Some(60_000)), "terminate c1.c2");
    is(bench.exited("c1.c2", signal(15)), "update a KILLED u5 | terminate c1.c3");
}

#[test]
fn sea_52_one_finishes_the_others_stay() {
    let mut bench = running();
    is(bench.exited("c1.c2", code(0)), "update a FINISHED u5");
    // Another group on the same executor is another fate.
    is(
        bench.group(&framework(&[]), executor(ExecutorKind::Default), &["x"]),
        "update x STARTING u6 | launch c1.c4",
    );
    bench.started("c1.c4", 13);
    is(bench.exited("c1.c4", code(2)), "");
    is(bench.exited("c1.c3", code(0)), "update b FINISHED u7 | executor E exited Some(0)");
}

#[test]
fn sea_33_a_kill_during_launch_ends_the_whole_group() {
    let mut bench = Bench::registered();
    bench.group(&framework(&[]), executor(ExecutorKind::Default), &["a", "b"]);
    bench.acknowledge("a");
    bench.acknowledge("b");
    is(bench.kill("a", None), "destroy c1.c2");
    is(bench.failed("c1.c2", "cancelled"), "update a KILLED TASK_KILLED_DURING_LAUNCH u3 | destroy c1.c3");
    is(
        bench.failed("c1.c3", "cancelled"),
        "update b KILLED TASK_KILLED_DURING_LAUNCH u4 | executor E exited Some(0)",
    );
}

#[test]
fn one_that_cannot_start_keeps_the_others_from_starting() {
    let mut bench = Bench::registered();
    let mut tasks = vec![crate::support::task("a"), crate::support::task("b"), crate::support::task("c")];
    tasks[1].command = model::CommandInfo::default();
    let lines = bench.master(MasterToAgent::RunGroup {
        framework: Box::new(framework(&[])),
        role: crate::support::role("eng"),
        executor: Box::new(executor(ExecutorKind::Default)),
        tasks,
    });
    assert!(lines.contains(&"launch c1.c2".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"launch c1.c4".to_owned()), "{lines:?}");
    let launched = lines.iter().filter(|line| line.starts_with("launch")).count();
    assert_eq!(launched, 1, "{lines:?}");
    is(bench.failed("c1.c2", "cancelled"), "executor E exited Some(0)");
}

#[test]
fn a_shutdown_ends_all_tasks() {
    let mut bench = running();
    let lines = bench.master(MasterToAgent::ShutdownExecutor {
        framework_id: FrameworkId::new("F"),
        executor_id: ExecutorId::new("E"),
    });
    is(lines, "terminate c1.c2 | terminate c1.c3");
    is(bench.exited("c1.c2", signal(15)), "update a KILLED u5");
    is(bench.exited("c1.c3", signal(15)), "update b KILLED u6 | executor E exited Some(0)");
}

#[test]
fn sea_45_a_group_survives_a_restart_of_the_agent() {
    let mut bench = running();
    bench.restart();
    is(
        bench.recovered(&[
            ("c1.c2", RecoveredState::Running { pid: 11 }),
            ("c1.c3", RecoveredState::Exited(code(0))),
        ]),
        "",
    );
    is(bench.connect(), "register | update b FINISHED u5");
    let registration = bench.registration.clone().unwrap();
    assert_eq!(registration.executors.len(), 1);
    assert_eq!(registration.tasks.len(), 2);
    is(bench.exited("c1.c2", code(0)), "update a FINISHED u6 | executor E exited Some(0)");
}

#[test]
fn a_group_whose_framework_is_gone() {
    let mut bench = running();
    let gone = MasterToAgent::ShutdownFramework { framework_id: FrameworkId::new("F") };
    is(bench.master(gone), "terminate c1.c2 | terminate c1.c3");
    is(bench.exited("c1.c2", signal(15)), "forget c1.c2");
    is(bench.exited("c1.c3", signal(15)), "forget c1.c3");
    let view = bench.agent.view(bench.now);
    assert!(view.frameworks.is_empty() && view.executors.is_empty());
}
