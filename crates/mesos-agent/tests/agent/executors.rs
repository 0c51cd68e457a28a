//! Executors of a framework's own.

use model::agent_api::MasterToAgent;
use model::executor_api::ExecutorCall;
use model::{Capability, ExecutorId, ExecutorKind, FrameworkId, Opaque, Source, TaskState};

use crate::support::{Bench, code, executor, framework, is, on_executor, resources, signal, status};

/// Started, subscribed, with task t1 handed over and running.
fn with_running_task() -> Bench {
    let mut bench = Bench::registered();
    is(bench.run(&framework(&[]), on_executor("t1")), "launch c1");
    bench.started("c1", 100);
    is(bench.subscribe(1, &[], Vec::new()), "reply 1 ok | executor 1 subscribed E c1 | executor 1 launch t1");
    is(
        bench.update(2, status("t1", TaskState::Running, 7)),
        "update t1 RUNNING u1 | executor 1 acknowledged t1 7 | reply 2 ok",
    );
    bench
}

fn shutdown() -> MasterToAgent {
    MasterToAgent::ShutdownExecutor { framework_id: FrameworkId::new("F"), executor_id: ExecutorId::new("E") }
}

#[test]
fn sea_8_2_tasks_wait_until_the_executor_subscribes() {
    let mut bench = Bench::registered();
    is(bench.run(&framework(&[]), on_executor("t2")), "launch c1");
    is(bench.run(&framework(&[]), on_executor("t1")), "");
    // What came while it was being started counts too.
    is(bench.started("c1", 100), "resize c1 2500 160");
    is(bench.call(1, ExecutorCall::Message(Opaque::new(b"x"))), "reply 1 Executor is not subscribed");
    is(
        bench.subscribe(2, &[], Vec::new()),
        "reply 2 ok | executor 2 subscribed E c1 | executor 2 launch t2 | executor 2 launch t1",
    );
    is(bench.run(&framework(&[]), on_executor("t3")), "resize c1 3500 224 | executor 2 launch t3");
}

#[test]
fn sea_8_3_the_environment_of_an_executor() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t1"));
    let sandbox = bench.launches[0].sandbox.clone();
    assert!(sandbox.starts_with("/w/slaves/S1/frameworks/F/executors/E/runs/"), "{sandbox}");
    for (name, value) in [
        ("MESOS_FRAMEWORK_ID", "F"),
        ("MESOS_EXECUTOR_ID", "E"),
        ("MESOS_DIRECTORY", &sandbox),
        ("MESOS_SANDBOX", &sandbox),
        ("MESOS_AGENT_ENDPOINT", "10.0.0.7:5051"),
        ("MESOS_SLAVE_PID", "slave(1)@10.0.0.7:5051"),
        ("MESOS_SLAVE_ID", "S1"),
        ("MESOS_CHECKPOINT", "1"),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs"),
        ("MESOS_RECOVERY_TIMEOUT", "1days"),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0"),
        ("MESOS_ALLOCATION_ROLE", "eng"),
        ("MESOS_CONTAINER_IP", "10.0.0.7"),
    ] {
        assert_eq!(bench.env(0, name), Some(value), "{name}");
    }
    assert_eq!((bench.launches[0].cpus_milli, bench.launches[0].mem_mib), (1500, 96));
    let mut bench = Bench::registered();
    let without = model::FrameworkInfo { checkpoint: false, ..framework(&[]) };
    bench.run(&without, on_executor("t1"));
    assert_eq!(bench.env(0, "MESOS_CHECKPOINT"), Some("0"));
    assert_eq!(bench.env(0, "MESOS_RECOVERY_TIMEOUT"), None);
}

#[test]
fn sea_6_3_an_executors_update_keeps_its_uuid_and_gets_the_container() {
    let mut bench = with_running_task();
    let sent = bench.sent.last().unwrap();
    assert_eq!(sent.uuid.unwrap().0, 7);
    assert_eq!(sent.executor_id, Some(ExecutorId::new("E")));
    let container = sent.container.as_ref().unwrap();
    assert_eq!((container.ip.as_str(), container.pid), ("10.0.0.7", Some(100)));
    // A duplicate is acknowledged to the executor and not sent again.
    is(bench.update(3, status("t1", TaskState::Running, 7)), "executor 1 acknowledged t1 7 | reply 3 ok");
    is(bench.acknowledge("t1"), "");
    is(bench.update(4, status("t1", TaskState::Running, 7)), "executor 1 acknowledged t1 7 | reply 4 ok");
    is(
        bench.update(5, status("t1", TaskState::Finished, 8)),
        "update t1 FINISHED u2 | resize c1 500 32 | executor 1 acknowledged t1 8 | reply 5 ok",
    );
    // After the terminal one, further ones are dropped.
    is(bench.update(6, status("t1", TaskState::Failed, 9)), "executor 1 acknowledged t1 9 | reply 6 ok");
    is(bench.acknowledge("t1"), "");
    is(bench.update(7, status("t1", TaskState::Failed, 10)), "executor 1 acknowledged t1 10 | reply 7 ok");
}

#[test]
fn sea_36_37_the_second_update_waits_and_the_latest_state_is_told() {
    let mut bench = with_running_task();
    is(
        bench.update(3, status("t1", TaskState::Finished, 8)),
        "resize c1 500 32 | executor 1 acknowledged t1 8 | reply 3 ok",
    );
    is(bench.pass(10_000), "update t1 RUNNING u1 (latest TASK_FINISHED)");
    is(bench.acknowledge("t1"), "update t1 FINISHED u2");
}

#[test]
fn sea_47_48_what_an_executor_must_not_send() {
    let mut bench = with_running_task();
    let mut wrong = status("t1", TaskState::Running, 8);
    wrong.source = Source::Agent;
    let refused = |lines: Vec<String>| {
        assert!(lines.len() == 1 && !lines[0].ends_with("ok"), "{lines:?}");
    };
    refused(bench.update(3, wrong));
    refused(bench.update(4, status("t1", TaskState::Staging, 8)));
    let mut wrong = status("t1", TaskState::Running, 8);
    wrong.uuid = None;
    refused(bench.update(5, wrong));
}

#[test]
fn sea_8_1_who_is_not_known() {
    let mut bench = Bench::new(crate::support::config());
    is(bench.subscribe(1, &[], Vec::new()), "reply 1 Agent has not finished recovery");
    bench.recovered(&[]);
    is(bench.subscribe(2, &[], Vec::new()), "reply 2 Framework cannot be found");
    bench.connect();
    bench.run(&framework(&[]), crate::support::task("t1"));
    is(bench.subscribe(3, &[], Vec::new()), "reply 3 Executor cannot be found");
}

#[test]
fn sea_60_messages_keep_their_bytes() {
    let mut bench = with_running_task();
    is(bench.call(3, ExecutorCall::Message(Opaque::new(b"up"))), "message from E up | reply 3 ok");
    let data = Opaque::new(&[0, 255, 10]);
    bench.master(MasterToAgent::Message {
        framework_id: FrameworkId::new("F"),
        executor_id: ExecutorId::new("E"),
        data: data.clone(),
    });
    assert_eq!(bench.events.last(), Some(&model::executor_api::ExecutorEvent::Message(data)));
}

#[test]
fn sea_51_not_subscribing_in_time() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t1"));
    bench.started("c1", 100);
    is(bench.pass(599_000), "");
    is(bench.pass(1_000), "destroy c1");
    is(
        bench.exited("c1", signal(9)),
        "update t1 FAILED EXECUTOR_REGISTRATION_TIMEOUT u1 | executor E exited Some(9)",
    );
    is(bench.acknowledge("t1"), "forget c1");
    assert_eq!(bench.agent.view(bench.now).frameworks.len(), 0, "nothing is left");
}

#[test]
fn sea_6_2_tasks_of_an_executor_that_ends() {
    let mut bench = with_running_task();
    is(bench.exited("c1", code(3)), "close 1 | executor E exited Some(768)");
    assert_eq!(bench.agent.view(bench.now).executors.len(), 1, "kept until its tasks are acknowledged");
    is(bench.acknowledge("t1"), "update t1 FAILED EXECUTOR_TERMINATED u2");
    assert_eq!(bench.sent.last().unwrap().message.as_deref(), Some("Executor terminated"));
    is(bench.acknowledge("t1"), "forget c1");
    let view = bench.agent.view(bench.now);
    assert_eq!((view.executors.len(), view.completed_executors.len(), view.completed.len()), (0, 1, 1));
    // The same executor id may run again, in another container.
    is(bench.run(&framework(&[]), on_executor("t2")), "launch c2");
}

#[test]
fn sea_57_an_executor_that_used_too_much_memory() {
    let mut bench = with_running_task();
    bench.acknowledge("t1");
    let exit = mesos_agent::ContainerExit { memory: Some("Memory limit exceeded".into()), ..signal(9) };
    is(
        bench.exited("c1", exit),
        "close 1 | update t1 FAILED CONTAINER_LIMITATION_MEMORY u2 | executor E exited Some(9)",
    );
    assert_eq!(bench.sent.last().unwrap().limitation, Some(resources("mem:96")));
}

#[test]
fn a_launch_that_fails_fails_its_tasks() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t1"));
    is(
        bench.failed("c1", "no such image"),
        "update t1 FAILED CONTAINER_LAUNCH_FAILED u1 | executor E exited None",
    );
}

#[test]
fn sea_33_a_kill_before_delivery() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t1"));
    bench.started("c1", 100);
    is(bench.kill("t1", None), "update t1 KILLED TASK_KILLED_DURING_LAUNCH u1 | resize c1 500 32");
    // All it was started for is gone.
    is(bench.subscribe(1, &[], Vec::new()), "reply 1 ok | executor 1 shutdown");
    is(bench.pass(5_000), "destroy c1");
}

#[test]
fn a_group_is_killed_whole_before_delivery() {
    let mut bench = Bench::registered();
    is(bench.group(&framework(&[]), executor(ExecutorKind::Custom), &["t1", "t2"]), "launch c1");
    is(
        bench.kill("t2", None),
        "update t2 KILLED TASK_KILLED_DURING_LAUNCH u1 | update t1 KILLED TASK_KILLED_DURING_LAUNCH u2",
    );
}

#[test]
fn groups_are_delivered_in_one_piece() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), on_executor("t0"));
    bench.group(&framework(&[]), executor(ExecutorKind::Custom), &["t1", "t2"]);
    bench.group(&framework(&[]), executor(ExecutorKind::Custom), &["t3"]);
    bench.started("c1", 100);
    is(
        bench.subscribe(1, &[], Vec::new()),
        "reply 1 ok | executor 1 subscribed E c1 | executor 1 launch t0 | executor 1 group t1,t2 | executor 1 group t3",
    );
}

#[test]
fn kills_are_the_executors_own_to_carry_out() {
    let mut bench = with_running_task();
    is(bench.kill("t1", Some(1_000)), "executor 1 kill t1 1000");
    is(bench.pass(5_000), "");
    // It lost its connection: what it may not have heard is said again.
    bench.step(mesos_agent::Input::ExecutorClosed { conn: mesos_agent::ExecutorConn(1) });
    is(bench.kill("t1", Some(500)), "");
    is(
        bench.subscribe(2, &[], Vec::new()),
        "reply 2 ok | executor 2 subscribed E c1 | executor 2 kill t1 500",
    );
}

#[test]
fn a_second_subscription_closes_the_older() {
    let mut bench = with_running_task();
    is(bench.subscribe(9, &[], Vec::new()), "reply 9 ok | close 1 | executor 9 subscribed E c1");
    bench.step(mesos_agent::Input::ExecutorClosed { conn: mesos_agent::ExecutorConn(1) });
    is(bench.call(10, ExecutorCall::Message(Opaque::new(b"x"))), "message from E x | reply 10 ok");
}

#[test]
fn shutdown_has_a_grace_period() {
    let mut bench = with_running_task();
    is(bench.master(shutdown()), "executor 1 shutdown");
    is(
        bench.run(&framework(&[Capability::PartitionAware]), on_executor("t2")),
        "update t2 DROPPED EXECUTOR_TERMINATED u2",
    );
    is(bench.subscribe(2, &[], Vec::new()), "reply 2 ok | close 1 | executor 2 shutdown | close 2");
    is(bench.pass(4_999), "");
    is(bench.pass(1), "destroy c1");
    is(bench.exited("c1", signal(9)), "executor E exited Some(9)");
}

#[test]
fn a_framework_that_is_gone_takes_its_executors_along() {
    let mut bench = with_running_task();
    bench.run(&framework(&[]), on_executor("t2"));
    let gone = MasterToAgent::ShutdownFramework { framework_id: FrameworkId::new("F") };
    is(bench.master(gone), "executor 1 shutdown");
    // Its last words are taken, and told to nobody.
    is(
        bench.update(3, status("t1", TaskState::Killed, 8)),
        "resize c1 1500 96 | executor 1 acknowledged t1 8 | reply 3 ok",
    );
    is(bench.exited("c1", code(0)), "close 1 | forget c1");
    let view = bench.agent.view(bench.now);
    assert!(view.frameworks.is_empty() && view.tasks.is_empty() && view.executors.is_empty());
    assert_eq!(view.completed_frameworks.len(), 1);
}
