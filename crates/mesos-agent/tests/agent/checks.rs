//! Health checks and generic checks: looks taken, updates told, the task's end.
//!
//! Numbers `sea_…` are those of the scheduler and executor API's checklist.

use mesos_agent::{Input, RecoveredState, Seen};
use model::{Check, CheckStatus, CommandInfo, HealthCheck, Probe, TaskInfo};

use crate::support::{Bench, code, framework, is, signal, task};

fn check(probe: Probe) -> Check {
    Check { probe, delay_ms: 15_000, interval_ms: 10_000, timeout_ms: 20_000 }
}

fn http() -> Probe {
    Probe::Http { tls: false, ipv6: false, port: 31_000, path: "/health".into() }
}

fn healthy_task(id: &str) -> TaskInfo {
    let health = HealthCheck { check: check(http()), consecutive_failures: 3, grace_ms: 20_000 };
    TaskInfo { health_check: Some(Box::new(health)), ..task(id) }
}

fn checked_task(id: &str) -> TaskInfo {
    let probe = Probe::Command(CommandInfo { value: Some("look".into()), ..CommandInfo::default() });
    TaskInfo { check: Some(Box::new(check(probe))), ..task(id) }
}

impl Bench {
    fn seen(&mut self, number: u64, seen: Seen) -> Vec<String> {
        self.step(Input::Seen { number, seen })
    }

    fn running(info: TaskInfo) -> Self {
        let mut bench = Self::registered();
        is(bench.run(&framework(&[]), info), "update t STARTING u1 | launch c1");
        bench.acknowledge("t");
        is(bench.started("c1", 7), "update t RUNNING u2");
        bench.acknowledge("t");
        bench
    }
}

#[test]
fn sea_54_three_failures_after_the_grace_end_the_task() {
    let mut bench = Bench::running(healthy_task("t"));
    is(bench.pass(14_999), "");
    is(bench.pass(1), "look 1 c1 20000");
    assert_eq!(bench.looks[0].probe, http());
    is(bench.pass(60_000), "");
    let mut bench = Bench::running(healthy_task("t"));
    bench.pass(15_000);
    // Within the grace: not told, not counted.
    is(bench.seen(1, Seen::Status(503)), "");
    is(bench.pass(10_000), "look 2 c1 20000");
    is(bench.seen(2, Seen::TimedOut), "update t RUNNING TASK_HEALTH_CHECK_STATUS_UPDATED u3");
    let status = bench.sent.last().unwrap();
    assert_eq!(status.healthy, Some(false));
    assert_eq!(status.message.as_deref(), Some("Health check failed: no answer in time"));
    bench.acknowledge("t");
    is(bench.pass(10_000), "look 3 c1 20000");
    is(bench.seen(3, Seen::Status(200)), "update t RUNNING TASK_HEALTH_CHECK_STATUS_UPDATED u4");
    assert_eq!(bench.sent.last().unwrap().healthy, Some(true));
    bench.acknowledge("t");
    for (number, update) in [(4, "u5"), (5, "u6")] {
        bench.pass(10_000);
        is(
            bench.seen(number, Seen::Failed("refused".into())),
            &format!("update t RUNNING TASK_HEALTH_CHECK_STATUS_UPDATED {update}"),
        );
        bench.acknowledge("t");
    }
    bench.pass(10_000);
    is(
        bench.seen(6, Seen::Status(404)),
        "update t RUNNING TASK_HEALTH_CHECK_STATUS_UPDATED u7 | terminate c1",
    );
    bench.acknowledge("t");
    // No look at a task that is being killed.
    is(bench.pass(2_000), "");
    is(bench.exited("c1", signal(15)), "update t KILLED u8");
    assert_eq!(bench.sent.last().unwrap().healthy, Some(false));
    is(bench.acknowledge("t"), "forget c1");
    is(bench.pass(60_000), "");
}

#[test]
fn a_healthy_task_says_so_once() {
    let mut bench = Bench::running(healthy_task("t"));
    bench.pass(15_000);
    is(bench.seen(1, Seen::Status(200)), "update t RUNNING TASK_HEALTH_CHECK_STATUS_UPDATED u3");
    bench.acknowledge("t");
    for number in 2..5 {
        bench.pass(10_000);
        is(bench.seen(number, Seen::Status(304)), "");
    }
    // Nothing is told twice after a restart, and looks go on.
    bench.restart();
    is(bench.recovered(&[("c1", RecoveredState::Running { pid: 7 })]), "");
    bench.connect();
    is(bench.pass(15_000), "look 1 c1 20000");
    is(bench.seen(1, Seen::Status(200)), "");
    is(bench.pass(10_000), "look 2 c1 20000");
    // An answer that comes too late means nothing.
    is(bench.exited("c1", code(0)), "update t FINISHED u4");
    assert_eq!(bench.sent.last().unwrap().healthy, None);
    is(bench.seen(2, Seen::Status(500)), "");
}

#[test]
fn sea_56_a_check_tells_changes() {
    let mut bench = Bench::registered();
    bench.run(&framework(&[]), checked_task("t"));
    let nothing = Some(CheckStatus::Command { exit_code: None });
    assert_eq!(bench.sent.last().unwrap().check, nothing, "from the first update on");
    bench.acknowledge("t");
    bench.started("c1", 7);
    assert_eq!(bench.sent.last().unwrap().check, nothing);
    bench.acknowledge("t");
    bench.pass(15_000);
    is(bench.seen(1, Seen::TimedOut), "");
    let looks = [(Seen::Exit(1), Some(1)), (Seen::Exit(0), Some(0)), (Seen::TimedOut, None)];
    for (index, (seen, exit_code)) in looks.into_iter().enumerate() {
        bench.pass(10_000);
        let number = index as u64 * 2 + 2;
        let update = format!("update t RUNNING TASK_CHECK_STATUS_UPDATED u{}", index + 3);
        is(bench.seen(number, seen.clone()), &update);
        assert_eq!(bench.sent.last().unwrap().check, Some(CheckStatus::Command { exit_code }));
        bench.acknowledge("t");
        bench.pass(10_000);
        is(bench.seen(number + 1, seen), "");
    }
    is(bench.exited("c1", code(0)), "update t FINISHED u6");
    assert_eq!(bench.sent.last().unwrap().check, nothing);
}

#[test]
fn nothing_is_looked_at_while_nobody_listens() {
    let mut bench = Bench::running(checked_task("t"));
    let mut looks = 0;
    for number in 1..=100 {
        let lines = bench.pass(if number == 1 { 15_000 } else { 10_000 });
        looks += usize::from(lines.iter().any(|line| line.starts_with("look")));
        bench.seen(number, Seen::Exit(i32::try_from(number).unwrap()));
    }
    assert_eq!(looks, 32);
    bench.acknowledge("t");
    assert!(bench.pass(10_000).iter().any(|line| line.starts_with("look 33 ")));
}

#[test]
fn a_kill_stops_the_looks() {
    let mut bench = Bench::running(healthy_task("t"));
    bench.pass(15_000);
    is(bench.kill("t", None), "terminate c1");
    is(bench.seen(1, Seen::Status(503)), "");
    is(bench.exited("c1", signal(15)), "update t KILLED u3");
    assert_eq!(bench.sent.last().unwrap().healthy, None);
}
