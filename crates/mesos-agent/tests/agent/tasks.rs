//! Command tasks: kills, limits of time, streams of updates, draining.

use model::agent_api::MasterToAgent;
use model::{Capability, DrainConfig, FrameworkId, KillPolicy};

use crate::support::{Bench, code, framework, is, on_executor, resources, signal, task};

fn running(capabilities: &[Capability], info: model::TaskInfo) -> Bench {
    let mut bench = Bench::registered();
    is(bench.run(&framework(capabilities), info), "update t1 STARTING u1 | launch c1");
    bench.acknowledge("t1");
    is(bench.started("c1", 11), "update t1 RUNNING u2");
    bench.acknowledge("t1");
    bench
}

#[test]
fn sea_53_killing_is_told_only_to_who_understands_it() {
    let mut bench = running(&[], task("t1"));
    is(bench.kill("t1", None), "terminate c1");
    let mut bench = running(&[Capability::TaskKillingState], task("t1"));
    is(bench.kill("t1", None), "update t1 KILLING u3 | terminate c1");
    bench.acknowledge("t1");
    is(bench.exited("c1", signal(15)), "update t1 KILLED u4");
}

#[test]
fn sea_34_a_second_kill_with_less_grace_escalates_early() {
    let mut bench = running(&[], task("t1"));
    is(bench.kill("t1", Some(60_000)), "terminate c1");
    bench.pass(1_000);
    is(bench.kill("t1", Some(2_000)), "");
    is(bench.pass(1_999), "");
    is(bench.pass(1), "destroy c1");
    // More grace does not take back what was asked.
    let mut bench = running(&[], task("t1"));
    bench.kill("t1", Some(2_000));
    bench.kill("t1", Some(60_000));
    is(bench.pass(2_000), "destroy c1");
}

#[test]
fn sea_33_a_kill_during_launch() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), task("t1"));
    bench.acknowledge("t1");
    is(bench.kill("t1", None), "destroy c1");
    is(bench.failed("c1", "cancelled"), "update t1 KILLED TASK_KILLED_DURING_LAUNCH u2");
}

#[test]
fn a_task_has_its_time() {
    let info = model::TaskInfo { max_completion_ms: Some(10_000), ..task("t1") };
    let mut bench = running(&[], info);
    is(bench.pass(9_999), "");
    is(bench.pass(1), "terminate c1");
    is(bench.exited("c1", signal(15)), "update t1 FAILED MAX_COMPLETION_TIME_REACHED u3");
}

#[test]
fn sea_57_memory_that_was_not_enough() {
    let mut bench = running(&[], task("t1"));
    let exit = mesos_agent::ContainerExit { memory: Some("Memory limit exceeded".into()), ..signal(9) };
    is(bench.exited("c1", exit), "update t1 FAILED CONTAINER_LIMITATION_MEMORY u3");
    assert_eq!(bench.sent.last().unwrap().limitation, Some(resources("mem:64")));
}

#[test]
fn sea_35_38_updates_are_sent_until_acknowledged() {
    let mut bench = Bench::registered();
    is(bench.run(&framework(&[]), task("t1")), "update t1 STARTING u1 | launch c1");
    for pause in [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000] {
        is(bench.pass(pause - 1), "");
        is(bench.pass(1), "update t1 STARTING u1");
    }
    is(
        bench.master(MasterToAgent::Acknowledge {
            framework_id: FrameworkId::new("F"),
            task_id: "t1".into(),
            uuid: model::UpdateId(99),
        }),
        "",
    );
    is(bench.started("c1", 11), "");
    is(bench.acknowledge("t1"), "update t1 RUNNING u2");
    // The scheduler is back: at once, and from the first pause on.
    is(
        bench.master(MasterToAgent::UpdateFramework { framework: Box::new(framework(&[])) }),
        "update t1 RUNNING u2",
    );
    is(bench.pass(10_000), "update t1 RUNNING u2");
}

#[test]
fn draining_ends_tasks_and_takes_none() {
    let policy = Some(KillPolicy { grace_ms: 60_000 });
    let mut bench =
        running(&[Capability::PartitionAware], model::TaskInfo { kill_policy: policy, ..task("t1") });
    bench.run(&framework(&[Capability::PartitionAware]), on_executor("t2"));
    bench.started("c2", 12);
    bench.subscribe(1, &[], Vec::new());
    let config = DrainConfig { max_grace_ms: Some(1_000), mark_gone: false };
    is(bench.master(MasterToAgent::Drain { config }), "terminate c1 | executor 1 kill t2 1000");
    is(
        bench.run(&framework(&[Capability::PartitionAware]), task("t3")),
        "update t3 DROPPED AGENT_DRAINING u3",
    );
    is(bench.pass(1_000), "destroy c1");
    is(bench.exited("c1", signal(9)), "update t1 KILLED AGENT_DRAINING u4");
    // An executor without tasks has no more to do here.
    is(
        bench.update(2, crate::support::status("t2", model::TaskState::Killed, 5)),
        "update t2 KILLED AGENT_DRAINING u5 | resize c2 500 32 | executor 1 shutdown | executor 1 acknowledged t2 5 | reply 2 ok",
    );
    is(bench.exited("c2", code(0)), "close 1 | executor E exited Some(0)");
    // It keeps draining over a restart, and tells the master.
    bench.restart();
    bench.recovered(&[]);
    bench.connect();
    assert_eq!(bench.registration.as_ref().unwrap().drain, Some(config));
    bench.master(MasterToAgent::Reactivate);
    is(bench.run(&framework(&[]), task("t4")), "update t4 STARTING u6 | launch c3");
}

#[test]
fn ks_73_a_preempted_task() {
    use model::Resource;
    let revocable =
        Resource { revocable: true, ..Resource::scalar("cpus", model::Quantity::from_milli(1_000)) };
    for (capabilities, state) in [(&[Capability::PartitionAware][..], "GONE"), (&[][..], "LOST")] {
        let mut info = task("t1");
        info.resources.add_one(revocable.clone());
        let mut bench = running(capabilities, info);
        let run = bench.agent.view(bench.now).revocable_runs().into_iter().next().unwrap();
        is(bench.step(mesos_agent::Input::Preempt { run }), "destroy c1");
        is(bench.exited("c1", signal(9)), &format!("update t1 {state} CONTAINER_PREEMPTED u3"));
        let mut info = on_executor("t2");
        info.resources.add_one(revocable.clone());
        bench.run(&framework(capabilities), info);
        bench.started("c2", 12);
        let run = bench.agent.view(bench.now).revocable_runs().into_iter().next().unwrap();
        is(bench.step(mesos_agent::Input::Preempt { run }), "destroy c2");
        let lines = bench.exited("c2", signal(9));
        is(lines, &format!("update t2 {state} CONTAINER_PREEMPTED u4 | executor E exited Some(9)"));
    }
}

#[test]
fn a_task_of_this_house_knows_its_role() {
    let bench = running(&[], task("t1"));
    assert_eq!(bench.env(0, "MESOS_ALLOCATION_ROLE"), Some("eng"));
    assert_eq!(bench.env(0, "MESOS_EXECUTOR_ID"), Some("t1"));
}
