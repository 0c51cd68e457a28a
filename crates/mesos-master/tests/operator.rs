//! What operators ask of the brain, and how agents go: the answers, what is stored,
//! and what frameworks and watchers see of it. Numbers are those of the checklists.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod operator_cluster;

use mesos_master::Record;
use mesos_master::records::AdmittedState;
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::SchedulerCall;
use model::{
    DiskInfo, DiskVolume, DrainConfig, DrainState, FaultDomain, MachineId, MaintenanceSchedule,
    MaintenanceWindow, Persistence, Quantity, QuotaConfig, Reservation, Resource, ResourceOperation,
    Resources, Role, Unavailability, Weight,
};
use operator_cluster::{Cluster, role};

fn refused(reply: &OperatorReply) -> &str {
    match reply {
        OperatorReply::Invalid(text) => text,
        other => panic!("not a 400: {other:?}"),
    }
}

fn conflict(reply: &OperatorReply) -> &str {
    match reply {
        OperatorReply::Conflict(text) => text,
        other => panic!("not a 409: {other:?}"),
    }
}

fn amounts(cpus: u32) -> model::Quantities {
    [("cpus".into(), Quantity::from_units(cpus))].into()
}

fn quota(name: &str, guarantee: u32, limit: Option<u32>) -> QuotaConfig {
    QuotaConfig {
        role: role(name),
        guarantees: if guarantee == 0 { Default::default() } else { amounts(guarantee) },
        limits: limit.map(amounts).unwrap_or_default(),
        principal: None,
    }
}

fn set(force: bool, name: &str, cpus: u32) -> OperatorCall {
    OperatorCall::SetQuota { force, config: quota(name, cpus, Some(cpus)) }
}

fn update(force: bool, configs: Vec<QuotaConfig>) -> OperatorCall {
    OperatorCall::UpdateQuota { force, configs }
}

fn machine(hostname: &str) -> MachineId {
    MachineId { hostname: hostname.to_owned(), ip: String::new() }
}

fn window(machines: Vec<MachineId>) -> MaintenanceWindow {
    MaintenanceWindow {
        machines,
        unavailability: Unavailability { start_ns: 5_000_000_000, duration_ns: Some(1_000_000_000) },
    }
}

fn schedule(machines: Vec<MachineId>) -> OperatorCall {
    OperatorCall::UpdateMaintenanceSchedule(MaintenanceSchedule { windows: vec![window(machines)] })
}

#[test]
fn oa_17_oa_18_quota_by_the_older_calls() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024;cpus(static):8");
    assert_eq!(cluster.ask(set(false, "dev", 2)), OperatorReply::Done);
    assert_eq!(
        refused(&cluster.ask(set(false, "dev", 1))),
        "Failed to validate set quota request: Cannot set quota for role 'dev' which already has quota"
    );
    // Statically reserved resources are not there for quotas.
    let over = cluster.ask(set(false, "ops", 3));
    assert_eq!(
        conflict(&over),
        "Quota guarantees overcommit the cluster (use 'force' to bypass this check): Total quota guarantees \
         'cpus:5' exceed cluster capacity 'cpus:4; mem:1024'"
    );
    assert_eq!(cluster.ask(set(true, "ops", 3)), OperatorReply::Done);
    assert_eq!(
        refused(&cluster.ask(set(false, "a/b", 1))),
        "Setting quota on nested role 'a/b' is not supported yet"
    );
    refused(&cluster.ask(set(false, "*", 1)));
    assert_eq!(
        refused(&cluster.ask(OperatorCall::RemoveQuota { role: role("none") })),
        "Failed to remove quota for path '/master/quota/none': Role 'none' has no quota set"
    );
    assert_eq!(cluster.ask(OperatorCall::RemoveQuota { role: role("dev") }), OperatorReply::Done);
    assert_eq!(cluster.view().quotas.keys().cloned().collect::<Vec<_>>(), [role("ops")]);
}

#[test]
fn oa_19_quota_configs_are_all_or_nothing() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    let nested = update(false, vec![quota("dev", 1, None), quota("a/b", 1, None)]);
    assert_eq!(refused(&cluster.ask(nested)), "Updating quota on nested role 'a/b' is not supported yet");
    let above = update(false, vec![quota("dev", 3, Some(2))]);
    assert_eq!(
        refused(&cluster.ask(above)),
        "Invalid QuotaConfig: 'QuotaConfig.guarantees' cpus:3 is not contained within the 'QuotaConfig.limits' \
         cpus:2"
    );
    let twice = update(false, vec![quota("dev", 1, None), quota("dev", 1, None)]);
    assert_eq!(
        refused(&cluster.ask(twice)),
        "Invalid QuotaConfig: 'dev' is named twice; name each role once"
    );
    let over = update(false, vec![quota("dev", 3, None), quota("ops", 2, None)]);
    assert_eq!(
        refused(&cluster.ask(over)),
        "Invalid QuotaConfig: total quota guarantees 'cpus:5' exceed cluster capacity 'cpus:4; mem:1024' (use \
         'force' flag to bypass this check)"
    );
    assert!(cluster.view().quotas.is_empty(), "nothing of a refused call is done");
    cluster.subscribe("f", "dev");
    cluster.launch("f", "a1", "t1", "cpus:2;mem:100");
    let consumed = cluster.ask(update(false, vec![quota("dev", 0, Some(1))]));
    assert_eq!(
        refused(&consumed),
        "Invalid QuotaConfig: Role 'dev' is already consuming 'cpus:2; mem:100'; this is more than the requested \
         limits 'cpus:1' (use 'force' flag to bypass this check)"
    );
    assert_eq!(cluster.ask(update(true, vec![quota("dev", 0, Some(1))])), OperatorReply::Done);
    assert_eq!(cluster.ask(update(false, vec![quota("dev", 0, None)])), OperatorReply::Done);
    assert!(cluster.view().quotas.is_empty(), "a config without guarantees and limits removes");
}

#[test]
fn a_guarantee_takes_offers_of_others_back() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("f", "greedy");
    assert_eq!(cluster.open_offers("f"), 1);
    cluster.heard.clear();
    assert_eq!(cluster.ask(update(false, vec![quota("dev", 2, None)])), OperatorReply::Done);
    assert!(cluster.heard_by("f").iter().any(|line| line.starts_with("rescind")), "{:?}", cluster.heard);
}

#[test]
fn oa_20_weights() {
    let mut cluster = Cluster::new();
    let weights = |weight| OperatorCall::UpdateWeights(vec![(role("dev"), Weight(weight))]);
    assert_eq!(
        refused(&cluster.ask(weights(0))),
        "Failed to validate update weights request JSON for role 'dev': Invalid weight '0': Weights must be positive"
    );
    assert_eq!(cluster.ask(weights(2_500)), OperatorReply::Done);
    assert_eq!(cluster.view().weights.get(&role("dev")), Some(&Weight(2_500)));
    // One record, however often the role is named: the last weight counts.
    let often =
        OperatorCall::UpdateWeights((1..=20_000).map(|weight| (role("dev"), Weight(weight))).collect());
    assert_eq!(cluster.ask(often), OperatorReply::Done);
    assert_eq!(cluster.view().weights.get(&role("dev")), Some(&Weight(20_000)));
}

#[test]
fn ks_69_weights_quota_maintenance_and_draining_survive_a_failover() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.agent("a2", "cpus:4;mem:1024");
    cluster.subscribe("f", "*");
    cluster.launch("f", "a1", "t1", "cpus:1;mem:100");
    cluster.ask(OperatorCall::UpdateWeights(vec![(role("dev"), Weight(3_000))]));
    cluster.ask(set(false, "dev", 1));
    cluster.ask(schedule(vec![machine("A2"), machine("a3")]));
    assert_eq!(cluster.ask(OperatorCall::StartMaintenance(vec![machine("a3")])), OperatorReply::Done);
    let config = DrainConfig { max_grace_ms: Some(60_000), mark_gone: false };
    cluster.ask(OperatorCall::DrainAgent { agent_id: agent.clone(), config });
    let before = cluster.view();
    cluster.restart();
    let after = cluster.view();
    assert_eq!(after.weights, before.weights);
    assert_eq!(after.quotas, before.quotas);
    assert_eq!((&after.schedule, &after.down_machines), (&before.schedule, &before.down_machines));
    assert_eq!(*after.down_machines, [machine("a3")]);
    assert_eq!(after.recovered_agents.len(), 2);
    // The agent, back with its task, is told again.
    cluster.return_with("a1", "cpus:4;mem:1024", &["f/t1"], None);
    assert!(cluster.told("a1").iter().any(|message| matches!(message, MasterToAgent::Drain { .. })));
    let view = cluster.view();
    let shown = view.agents.get(&agent).unwrap();
    assert!(shown.deactivated && !shown.active);
    assert_eq!(shown.drain.map(|drain| (drain.state, drain.config)), Some((DrainState::Draining, config)));
}

#[test]
fn oa_24_teardown_of_an_unknown_framework() {
    let mut cluster = Cluster::new();
    let unknown = OperatorCall::Teardown { framework_id: "nobody".into() };
    assert_eq!(refused(&cluster.ask(unknown)), "No framework found with specified ID");
    let id = cluster.subscribe("f", "*");
    assert_eq!(cluster.ask(OperatorCall::Teardown { framework_id: id }), OperatorReply::Done);
    assert_eq!(cluster.view().completed_frameworks.len(), 1);
}

#[test]
fn oa_23_gone_agents_stay_gone() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("aware", "*");
    cluster.launch("aware", "a1", "t1", "cpus:1;mem:100");
    let unknown = cluster.ask(OperatorCall::MarkAgentGone { agent_id: "nobody".into() });
    assert_eq!(unknown, OperatorReply::NotFound("Agent 'nobody' not found".to_owned()));
    let gone = OperatorCall::MarkAgentGone { agent_id: agent.clone() };
    cluster.heard.clear();
    assert_eq!(cluster.ask(gone.clone()), OperatorReply::Done);
    let heard = cluster.heard_by("aware");
    let wanted = ["TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR", "failure of"];
    for text in wanted {
        assert!(heard.iter().any(|line| line.contains(text)), "{text} in {heard:?}");
    }
    assert!(cluster.told("a1").iter().any(|message| matches!(message, MasterToAgent::Shutdown { .. })));
    assert!(cluster.events.iter().any(|event| event.starts_with("agent removed")), "{:?}", cluster.events);
    assert_eq!(cluster.ask(gone), OperatorReply::Done, "twice is the same");
    // Refused for ever, over a failover too.
    cluster.restart();
    cluster.return_with("a1", "cpus:4;mem:1024", &[], None);
    assert!(cluster.closed.iter().any(|reason| reason.contains("was marked gone")), "{:?}", cluster.closed);
    assert_eq!(cluster.view().gone_agents.len(), 1);
}

#[test]
fn an_unreachable_agents_tasks_end_when_it_is_marked_gone() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("plain", "*");
    cluster.launch("plain", "a1", "t1", "cpus:1;mem:100");
    cluster.close_agent("a1");
    cluster.advance(20);
    assert_eq!(cluster.view().frameworks[0].unreachable_tasks.len(), 1);
    cluster.heard.clear();
    cluster.ask(OperatorCall::MarkAgentGone { agent_id: agent });
    let heard = cluster.heard_by("plain");
    assert!(heard.iter().any(|line| line.contains("t1 TASK_LOST REASON_AGENT_REMOVED")), "{heard:?}");
    let view = cluster.view();
    assert_eq!(view.frameworks[0].unreachable_tasks.len(), 0);
    assert_eq!(view.frameworks[0].completed_tasks.len(), 1);
}

#[test]
fn oa_25_oa_26_the_schedules_rules() {
    let mut cluster = Cluster::new();
    let ask = |cluster: &mut Cluster, call| refused(&cluster.ask(call)).to_owned();
    assert_eq!(
        ask(&mut cluster, schedule(Vec::new())),
        "List of machines in the maintenance window is empty"
    );
    assert_eq!(
        ask(&mut cluster, schedule(vec![machine("")])),
        "Both 'hostname' and 'ip' for a machine are empty"
    );
    assert_eq!(
        ask(&mut cluster, schedule(vec![machine("m1"), machine("M1")])),
        "Machine '{\"hostname\":\"m1\"}' appears more than once in the schedule"
    );
    let mut negative = window(vec![machine("m1")]);
    negative.unavailability.duration_ns = Some(-1);
    let negative = OperatorCall::UpdateMaintenanceSchedule(MaintenanceSchedule { windows: vec![negative] });
    assert_eq!(ask(&mut cluster, negative), "Unavailability 'duration' is negative");
    let bad_ip = MachineId { hostname: String::new(), ip: "10.0.0".to_owned() };
    assert!(ask(&mut cluster, schedule(vec![bad_ip])).contains("'10.0.0'"));
    let down = |name| OperatorCall::StartMaintenance(vec![machine(name)]);
    let up = |name| OperatorCall::StopMaintenance(vec![machine(name)]);
    assert_eq!(
        ask(&mut cluster, down("m1")),
        "Machine '{\"hostname\":\"m1\"}' is not part of a maintenance schedule"
    );
    assert_eq!(cluster.ask(schedule(vec![machine("m1"), machine("m2")])), OperatorReply::Done);
    assert_eq!(
        ask(&mut cluster, up("m1")),
        "Machine '{\"hostname\":\"m1\"}' is not in DOWN mode and cannot be brought up"
    );
    assert_eq!(cluster.ask(down("m1")), OperatorReply::Done);
    assert_eq!(
        ask(&mut cluster, down("m1")),
        "Machine '{\"hostname\":\"m1\"}' is not in DRAINING mode and cannot be brought down"
    );
    assert_eq!(
        ask(&mut cluster, schedule(vec![machine("m2")])),
        "Machine '{\"hostname\":\"m1\"}' is deactivated and cannot be removed from the schedule"
    );
    assert_eq!(ask(&mut cluster, OperatorCall::StopMaintenance(Vec::new())), "List of machines is empty");
    assert_eq!(cluster.ask(up("m1")), OperatorReply::Done);
    let view = cluster.view();
    assert_eq!(view.schedule.windows, [window(vec![machine("m2")])], "what is up leaves the schedule");
    assert_eq!(view.draining_machines.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [machine("m2")]);
}

#[test]
fn ks_37_oa_27_agents_of_a_down_machine_are_refused_until_it_is_up() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("aware", "*");
    cluster.launch("aware", "a1", "t1", "cpus:1;mem:100");
    // The rest is on offer again when its filter has ended.
    cluster.advance(7);
    cluster.heard.clear();
    cluster.ask(schedule(vec![machine("a1")]));
    let heard = cluster.heard_by("aware");
    assert!(heard.iter().any(|line| line.starts_with("rescind")), "offers say when it is away: {heard:?}");
    cluster.heard.clear();
    assert_eq!(cluster.ask(OperatorCall::StartMaintenance(vec![machine("a1")])), OperatorReply::Done);
    let heard = cluster.heard_by("aware");
    let wanted = "t1 TASK_LOST REASON_AGENT_REMOVED (Agent a1 removed: Operator initiated 'Machine DOWN')";
    assert!(heard.iter().any(|line| line == wanted), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("failure of")), "{heard:?}");
    assert!(cluster.disk.values().all(|record| !matches!(record, Record::Agent(_))), "nothing is kept of it");
    cluster.return_with("a1", "cpus:4;mem:1024", &[], None);
    assert_eq!(cluster.closed.last().map(String::as_str), Some("Machine is `DOWN`"));
    assert!(cluster.view().agents.is_empty());
    cluster.ask(OperatorCall::StopMaintenance(vec![machine("a1")]));
    cluster.return_with("a1", "cpus:4;mem:1024", &[], None);
    assert_eq!(cluster.view().agents.len(), 1);
}

#[test]
fn oa_29_draining_by_and_by() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("f", "*");
    cluster.launch("f", "a1", "t1", "cpus:1;mem:100");
    let config = DrainConfig { max_grace_ms: None, mark_gone: false };
    let drain = |agent_id| OperatorCall::DrainAgent { agent_id, config };
    assert_eq!(refused(&cluster.ask(drain("nobody".into()))), "Unknown agent");
    assert_eq!(cluster.ask(drain(agent.clone())), OperatorReply::Done);
    assert!(cluster.told("a1").contains(&MasterToAgent::Drain { config }));
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 0, "no offers while it drains");
    let state = |cluster: &mut Cluster| cluster.view().agents[0].drain.map(|drain| drain.state);
    assert_eq!(state(&mut cluster), Some(DrainState::Draining));
    let again = OperatorCall::ReactivateAgent { agent_id: agent.clone() };
    assert_eq!(refused(&cluster.ask(again.clone())), "Agent is still in the DRAINING state");
    cluster.end_task("f", "a1", "t1");
    assert_eq!(state(&mut cluster), Some(DrainState::Drained));
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 0, "nor before it is reactivated");
    assert_eq!(cluster.ask(again.clone()), OperatorReply::Done);
    assert!(cluster.told("a1").contains(&MasterToAgent::Reactivate));
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 1);
    assert_eq!(refused(&cluster.ask(again)), "Agent is not deactivated");
}

#[test]
fn a_drained_agent_is_gone_when_that_was_asked() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    let config = DrainConfig { max_grace_ms: None, mark_gone: true };
    cluster.ask(OperatorCall::DrainAgent { agent_id: agent.clone(), config });
    assert_eq!(cluster.view().gone_agents.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [agent]);
}

#[test]
fn draining_needs_an_agent_that_can_and_no_maintenance() {
    let mut cluster = Cluster::new();
    cluster.capabilities.clear();
    let agent = cluster.agent("a1", "cpus:4");
    let drain = OperatorCall::DrainAgent {
        agent_id: agent.clone(),
        config: DrainConfig { max_grace_ms: None, mark_gone: false },
    };
    assert_eq!(refused(&cluster.ask(drain.clone())), "Agent M1-S0 is not capable of draining");
    cluster.ask(schedule(vec![machine("a1")]));
    assert!(refused(&cluster.ask(drain)).starts_with("Agent M1-S0 is part of a maintenance schedule"));
}

#[test]
fn a_deactivated_agent_keeps_its_tasks_and_gets_no_offers() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("f", "*");
    cluster.launch("f", "a1", "t1", "cpus:1;mem:100");
    assert_eq!(cluster.ask(OperatorCall::DeactivateAgent { agent_id: agent.clone() }), OperatorReply::Done);
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 0);
    assert_eq!(cluster.view().agents[0].tasks.len(), 1);
    assert!(!cluster.view().agents[0].active && cluster.view().agents[0].connected);
    // It stays so when the agent comes back and when the master is another one.
    cluster.restart();
    cluster.return_with("a1", "cpus:4;mem:1024", &["f/t1"], None);
    cluster.subscribe("f", "*");
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 0);
    assert_eq!(cluster.ask(OperatorCall::ReactivateAgent { agent_id: agent }), OperatorReply::Done);
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 1);
}

fn reserve(cpus: u32) -> ResourceOperation {
    let reservation = Reservation { role: role("dev"), dynamic: true, principal: None, labels: Vec::new() };
    let plain = Resources::parse(&format!("cpus:{cpus}"), &Role::any()).unwrap();
    let resources = plain.iter().cloned().map(|resource| resource.reserved(reservation.clone())).collect();
    ResourceOperation::Reserve { source: Resources::new(), resources }
}

#[test]
fn oa_10_oa_12_oa_13_reserving_unallocated_resources() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024");
    let apply = |agent_id, cpus| OperatorCall::Apply { agent_id, operation: reserve(cpus), principal: None };
    assert_eq!(refused(&cluster.ask(apply("nobody".into(), 1))), "No agent found with specified ID");
    cluster.subscribe("f", "*");
    cluster.launch("f", "a1", "t1", "cpus:1;mem:100");
    cluster.advance(10);
    assert_eq!(cluster.open_offers("f"), 1);
    conflict(&cluster.ask(apply(agent.clone(), 4)));
    assert_eq!(cluster.open_offers("f"), 1, "nothing is taken back in vain");
    cluster.heard.clear();
    assert_eq!(cluster.ask(apply(agent.clone(), 3)), OperatorReply::Accepted);
    assert!(cluster.heard_by("f").iter().any(|line| line.starts_with("rescind")));
    assert!(cluster.told("a1").iter().any(|message| matches!(message, MasterToAgent::ApplyOperation { .. })));
    let view = cluster.view();
    assert_eq!(view.agents[0].info.resources.of_role(&role("dev")).cpus(), Quantity::from_units(3));
}

#[test]
fn oa_16_a_volume_in_use_is_not_destroyed() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("a1", "cpus:4;mem:1024;disk:1000");
    let apply = |operation| OperatorCall::Apply { agent_id: agent.clone(), operation, principal: None };
    let reservation = Reservation { role: role("dev"), dynamic: true, principal: None, labels: Vec::new() };
    let disk = Resource::scalar("disk", Quantity::from_units(100)).reserved(reservation);
    let source = Resources::new();
    let reserve = ResourceOperation::Reserve { source, resources: [disk.clone()].into_iter().collect() };
    assert_eq!(cluster.ask(apply(reserve)), OperatorReply::Accepted);
    let info = DiskInfo {
        source: None,
        persistence: Some(Persistence { id: "v1".to_owned(), principal: None }),
        volume: Some(DiskVolume { container_path: "data".to_owned(), read_only: false, host_path: None }),
    };
    let volume: Resources = [Resource { disk: Some(Box::new(info)), ..disk }].into_iter().collect();
    assert_eq!(
        cluster.ask(apply(ResourceOperation::Create { volumes: volume.clone() })),
        OperatorReply::Accepted
    );
    cluster.subscribe("f", "dev");
    let used = Resources::parse("cpus:1;mem:100", &Role::any()).unwrap().plus(&volume);
    cluster.launch_on("f", "a1", "t1", used);
    let destroy = apply(ResourceOperation::Destroy { volumes: volume });
    assert_eq!(
        refused(&cluster.ask(destroy.clone())),
        "Invalid DESTROY operation on agent M1-S0 at 10.0.0.2:5051: Persistent volumes in use by task 't1' of \
         framework M1-0000"
    );
    cluster.end_task("f", "a1", "t1");
    assert_eq!(cluster.ask(destroy), OperatorReply::Accepted);
}

#[test]
fn ks_75_the_oldest_completed_framework_is_forgotten() {
    let mut cluster = Cluster::new();
    cluster.limits.completed_frameworks_max = 2;
    cluster.reload();
    let ids: Vec<_> = ["f", "g", "h"].map(|name| cluster.subscribe(name, "*")).into();
    for framework_id in ids.clone() {
        assert_eq!(cluster.ask(OperatorCall::Teardown { framework_id }), OperatorReply::Done);
    }
    let view = cluster.view();
    let left: Vec<_> = view.completed_frameworks.iter().map(|one| one.id.clone()).collect();
    assert_eq!(left, ids[1..]);
}

#[test]
fn ks_36_ks_70_agents_that_are_not_let_in() {
    let mut cluster = Cluster::new();
    cluster.version = "0.28.2".to_owned();
    cluster.try_agent("a1", "cpus:4");
    assert!(cluster.closed.last().unwrap().contains("0.28.2"), "{:?}", cluster.closed);
    cluster.version = "1.0.0".to_owned();
    cluster.domain = Some(FaultDomain { region: "r".to_owned(), zone: "z".to_owned() });
    cluster.try_agent("a1", "cpus:4");
    assert!(cluster.closed.last().unwrap().contains("fault domain r/z"), "{:?}", cluster.closed);
    cluster.domain = None;
    cluster.agent("a1", "cpus:4");
    assert_eq!(cluster.view().agents.len(), 1);
}

#[test]
fn ks_68_sea_43_a_storm_of_losses_is_let_through_one_by_one() {
    let mut cluster = Cluster::new();
    cluster.subscribe("aware", "*");
    let names: Vec<String> = (0..400).map(|number| format!("n{number:03}")).collect();
    for name in &names {
        cluster.agent(name, "cpus:1;mem:100");
    }
    for name in &names[..120] {
        cluster.launch("aware", name, &format!("t-{name}"), "cpus:1;mem:100");
    }
    cluster.heard.clear();
    // A third of the cluster vanishes at once.
    names[..120].iter().for_each(|name| cluster.close_agent(name));
    let unreachable = |cluster: &mut Cluster| cluster.view().unreachable_agents.len();
    cluster.advance(15);
    assert_eq!(unreachable(&mut cluster), 1, "the first at once");
    cluster.advance(30);
    let after_half = unreachable(&mut cluster);
    assert!((50..=52).contains(&after_half), "evenly, not in a burst: {after_half}");
    cluster.advance(29);
    assert!(unreachable(&mut cluster) <= 100, "the 101st waits for the next minute");
    // Those that come back in time were never lost.
    let lost = cluster.view().unreachable_agents;
    let late = |name: &&String| lost.iter().any(|(info, _)| info.hostname == **name);
    let back: Vec<&String> = names[..120].iter().filter(|name| !late(name)).collect();
    for name in &back {
        cluster.return_with(name, "cpus:1;mem:100", &[&format!("aware/t-{name}")], None);
    }
    let gone = 120 - back.len();
    cluster.advance(120);
    assert_eq!(unreachable(&mut cluster), gone);
    let heard = cluster.heard_by("aware");
    let told: Vec<&String> = heard.iter().filter(|line| line.contains("TASK_UNREACHABLE")).collect();
    assert_eq!(told.len(), gone);
    assert!(told.iter().all(|line| line.ends_with("since")), "each says since when: {told:?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("failure of")).count(), gone);
    let counters = cluster.view().counters;
    assert_eq!(
        (counters.unreachable_scheduled, counters.unreachable_completed, counters.unreachable_canceled),
        (120, gone as u64, back.len() as u64)
    );
}

#[test]
fn sea_44_a_returning_agents_tasks_run_on() {
    for framework in ["aware", "plain"] {
        let mut cluster = Cluster::new();
        cluster.agent("a1", "cpus:4;mem:1024");
        cluster.subscribe(framework, "*");
        cluster.launch(framework, "a1", "t1", "cpus:1;mem:100");
        cluster.close_agent("a1");
        cluster.advance(16);
        cluster.heard.clear();
        cluster.return_with("a1", "cpus:4;mem:1024", &[&format!("{framework}/t1")], None);
        let heard = cluster.heard_by(framework);
        let wanted = "t1 TASK_RUNNING REASON_AGENT_REREGISTERED";
        assert!(heard.iter().any(|line| line.starts_with(wanted)), "{heard:?}");
        assert!(!cluster.told("a1").iter().any(|message| matches!(message, MasterToAgent::KillTask { .. })));
        assert_eq!(cluster.view().frameworks[0].tasks.len(), 1);
    }
}

#[test]
fn tasks_without_checkpoints_are_lost_when_the_stream_breaks() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("volatile", "*");
    cluster.launch("volatile", "a1", "t1", "cpus:1;mem:100");
    cluster.heard.clear();
    cluster.close_agent("a1");
    let wanted = "t1 TASK_LOST REASON_AGENT_DISCONNECTED (Agent a1 disconnected)";
    let heard = cluster.heard_by("volatile");
    assert!(heard.iter().any(|line| line == wanted), "{heard:?}");
    assert_eq!(cluster.view().frameworks[0].tasks.len(), 0);
}

#[test]
fn an_agent_that_unregisters_is_forgotten() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("aware", "*");
    cluster.launch("aware", "a1", "t1", "cpus:1;mem:100");
    cluster.agent_says("a1", AgentToMaster::Unregister);
    let wanted = "t1 TASK_LOST REASON_AGENT_REMOVED (Agent a1 removed: the agent unregistered)";
    let heard = cluster.heard_by("aware");
    assert!(heard.iter().any(|line| line == wanted), "even for those who know partitions: {heard:?}");
    assert!(cluster.disk.is_empty());
}

#[test]
fn sea_40_sea_65_agents_that_do_not_return_after_a_failover() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.agent("a2", "cpus:4;mem:1024");
    cluster.subscribe("aware", "*");
    cluster.launch("aware", "a1", "t1", "cpus:1;mem:100");
    cluster.restart();
    cluster.subscribe("aware", "*");
    cluster.return_with("a2", "cpus:4;mem:1024", &[], None);
    cluster.heard.clear();
    cluster.reconcile("aware", "t1", Some("a1"));
    assert!(cluster.heard_by("aware").is_empty(), "no answer while its agent may still come");
    cluster.advance(601);
    let heard = cluster.heard_by("aware");
    assert!(heard.iter().any(|line| line == "failure of M1-S0"), "{heard:?}");
    assert!(!heard.iter().any(|line| line.starts_with("t1 ")), "its tasks are not known: {heard:?}");
    assert_eq!(cluster.view().counters.recovery_agent_removals, 1);
    cluster.reconcile("aware", "t1", Some("a1"));
    assert!(cluster.heard_by("aware").iter().any(|line| line.contains("t1 TASK_UNREACHABLE")));
}

#[test]
fn too_many_lost_in_a_failover_end_the_term_instead() {
    let mut cluster = Cluster::new();
    cluster.limits.recovery_agent_removals_max_percent = 50;
    for name in ["a1", "a2", "a3"] {
        cluster.agent(name, "cpus:4;mem:1024");
    }
    cluster.restart();
    cluster.return_with("a1", "cpus:4;mem:1024", &[], None);
    cluster.advance(601);
    assert!(cluster.failed.as_ref().unwrap().contains("2 of 3 agents"), "{:?}", cluster.failed);
    assert!(cluster.view().unreachable_agents.is_empty());
}

#[test]
fn ks_67_the_registry_forgets_old_and_too_many() {
    let mut cluster = Cluster::new();
    cluster.limits.registry_agents_max = 3;
    cluster.reload();
    let ids: Vec<_> = (0..5).map(|number| cluster.agent(&format!("n{number}"), "cpus:1")).collect();
    for number in 0..5 {
        cluster.close_agent(&format!("n{number}"));
        cluster.advance(20);
    }
    assert_eq!(cluster.view().unreachable_agents.len(), 5);
    cluster.advance(900);
    let left: Vec<_> =
        cluster.view().unreachable_agents.iter().map(|(info, _)| info.id.clone().unwrap()).collect();
    assert_eq!(left, ids[2..], "the oldest go");
    let stored = cluster.disk.values().filter(|record| match record {
        Record::Agent(record) => matches!(record.state, AdmittedState::Unreachable { .. }),
        _ => false,
    });
    assert_eq!(stored.count(), 3);
    cluster.advance(14 * 24 * 3_600 + 900);
    assert!(cluster.view().unreachable_agents.is_empty(), "after two weeks all");
    assert!(cluster.disk.is_empty());
}

#[test]
fn watchers_see_agents_come_and_go() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    assert_eq!(cluster.events, ["agent added M1-S0"]);
    cluster.events.clear();
    cluster.close_agent("a1");
    cluster.return_with("a1", "cpus:4;mem:1024", &[], None);
    assert_eq!(cluster.events, ["agent added M1-S0"], "a return is an addition too");
    cluster.events.clear();
    cluster.close_agent("a1");
    cluster.advance(20);
    assert_eq!(cluster.events, ["agent removed M1-S0"]);
}

#[test]
fn ks_33_with_quota_nothing_is_offered_before_most_agents_are_back() {
    for quota in [true, false] {
        let mut cluster = Cluster::new();
        let names = ["a1", "a2", "a3", "a4", "a5"];
        for name in names {
            cluster.agent(name, "cpus:4;mem:1024");
        }
        if quota {
            assert_eq!(cluster.ask(set(false, "dev", 1)), OperatorReply::Done);
        }
        cluster.restart();
        cluster.subscribe("f", "*");
        for name in &names[..3] {
            cluster.return_with(name, "cpus:4;mem:1024", &[], None);
        }
        cluster.advance(10);
        assert_eq!(cluster.open_offers("f") == 0, quota, "three of five");
        cluster.return_with("a4", "cpus:4;mem:1024", &[], None);
        cluster.advance(10);
        assert!(cluster.open_offers("f") > 0, "four of five are 80 %");
    }
}

#[test]
fn ks_37_oa_28_a_draining_machine_in_offers_and_inverse_offers() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("f", "*");
    cluster.launch("f", "a1", "t1", "cpus:1;mem:100");
    cluster.advance(5);
    cluster.heard.clear();
    cluster.ask(schedule(vec![machine("A1")]));
    cluster.advance(5);
    let heard = cluster.heard_by("f");
    assert!(heard.iter().any(|line| line.starts_with("InverseOffers")), "{heard:?}");
    let away = window(Vec::new()).unavailability;
    assert_eq!(
        cluster.offers_of("f").iter().map(|offer| offer.unavailability).collect::<Vec<_>>(),
        [Some(away)]
    );
    let id = cluster.view().frameworks[0].inverse_offers[0].id.clone();
    cluster.call("f", SchedulerCall::AcceptInverseOffers { offer_ids: vec![id], refuse_ms: None });
    let view = cluster.view();
    let (shown, answers) = &view.draining_machines[0];
    assert_eq!((shown, answers.len()), (&machine("a1"), 1));
    assert_eq!(answers[0].accepted, Some(true));
}

#[test]
fn a_task_that_was_told_lost_ends_when_its_agent_returns() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("volatile", "*");
    cluster.launch("volatile", "a1", "t1", "cpus:1;mem:100");
    cluster.close_agent("a1");
    cluster.return_with("a1", "cpus:4;mem:1024", &["volatile/t1"], None);
    let killed = |message: &MasterToAgent| matches!(message, MasterToAgent::KillTask { task_id, .. } if task_id.as_str() == "t1");
    assert!(cluster.told("a1").iter().any(killed), "{:?}", cluster.told("a1"));
    let heard = cluster.heard_by("volatile");
    assert!(!heard.iter().any(|line| line.contains("TASK_RUNNING REASON_AGENT_REREGISTERED")), "{heard:?}");
    assert_eq!(cluster.view().frameworks[0].tasks.len(), 0);
}

#[test]
fn an_id_that_lives_elsewhere_meanwhile_ends_on_the_agent_that_returns() {
    let mut cluster = Cluster::new();
    cluster.agent("a1", "cpus:4;mem:1024");
    cluster.agent("a2", "cpus:4;mem:1024");
    cluster.subscribe("volatile", "*");
    cluster.launch("volatile", "a1", "t1", "cpus:1;mem:100");
    cluster.close_agent("a1");
    cluster.launch("volatile", "a2", "t1", "cpus:1;mem:100");
    cluster.return_with("a1", "cpus:4;mem:1024", &["volatile/t1"], None);
    let killed = |message: &MasterToAgent| matches!(message, MasterToAgent::KillTask { .. });
    assert!(cluster.told("a1").iter().any(killed), "{:?}", cluster.told("a1"));
    assert!(!cluster.told("a2").iter().any(killed));
    // The end of the old one goes unheard and unrepeated; the new one is the framework's.
    cluster.heard.clear();
    cluster.end_task("volatile", "a1", "t1");
    assert!(cluster.heard_by("volatile").is_empty(), "{:?}", cluster.heard);
    let acknowledged = |message: &MasterToAgent| matches!(message, MasterToAgent::Acknowledge { .. });
    assert!(cluster.told("a1").iter().any(acknowledged));
    assert_eq!(cluster.view().frameworks[0].tasks.len(), 1);
}

#[test]
fn ids_that_nothing_can_have_reach_no_agent() {
    let mut cluster = Cluster::new();
    let agent_id = cluster.agent("a1", "cpus:4;mem:1024");
    cluster.subscribe("aware", "*");
    let before = cluster.told("a1").len();
    for id in ["", "a/b", ".."] {
        let (agent_id, executor_id) = (agent_id.clone(), model::ExecutorId::new(id));
        cluster.call(
            "aware",
            SchedulerCall::ShutdownExecutor { agent_id: agent_id.clone(), executor_id: executor_id.clone() },
        );
        cluster.call(
            "aware",
            SchedulerCall::Message {
                agent_id: agent_id.clone(),
                executor_id,
                data: model::Opaque::new(b"x"),
            },
        );
        let uuid = model::UpdateId(1);
        cluster.call("aware", SchedulerCall::Acknowledge { agent_id, task_id: id.into(), uuid });
    }
    let large = model::Opaque::from(vec![0; mesos_master::calls::MESSAGE_BYTES_MAX + 1]);
    cluster.call(
        "aware",
        SchedulerCall::Message { agent_id: agent_id.clone(), executor_id: "e".into(), data: large },
    );
    assert_eq!(cluster.told("a1").len(), before);
    cluster.call("aware", SchedulerCall::ShutdownExecutor { agent_id, executor_id: "e".into() });
    assert_eq!(cluster.told("a1").len(), before + 1);
}

#[test]
fn a_change_of_reservations_invents_nothing() {
    let mut cluster = Cluster::new();
    let agent_id = cluster.agent("a1", "cpus:4;mem:1024");
    let ResourceOperation::Reserve { resources, .. } = reserve(4) else { panic!() };
    for source in ["cpus:1", "cpus:4;mem:100", "mem:4"] {
        let source = Resources::parse(source, &Role::any()).unwrap();
        let operation = ResourceOperation::Reserve { source, resources: resources.clone() };
        let call = OperatorCall::Apply { agent_id: agent_id.clone(), operation, principal: None };
        let reply = cluster.ask(call);
        let text = refused(&reply);
        assert!(text.contains("name the same amounts in both"), "{text}");
    }
    let source = Resources::parse("cpus:4", &Role::any()).unwrap();
    let operation = ResourceOperation::Reserve { source, resources };
    let call = OperatorCall::Apply { agent_id, operation, principal: None };
    assert_eq!(cluster.ask(call), OperatorReply::Accepted);
}
