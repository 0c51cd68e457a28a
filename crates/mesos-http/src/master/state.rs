//! `/state`, `/slaves`, `/frameworks`.

use std::collections::HashMap;
use std::sync::Arc;

use mesos_master::MasterView;
use mesos_master::state::Task as MasterTask;
use mesos_master::view::{AgentView, FrameworkView, Shelf};
use model::{AgentInfo, ExecutorKind, ExecutorRecord, FrameworkId, Offer, Resources, Role};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::MasterIdentity;
use crate::build::BuildInfo;
use crate::convert;
use crate::stream::{Part, put};
use crate::wire::resources::{self, Reserved, Summary};
use crate::wire::task::{Task, command, raw_json};
use crate::wire::{Attributes, OptionalLabel, Roles, domain, optional_labels, seconds};

/// What every agent can do, that of a version which did not say so yet too.
const AGENT_CAPABILITIES: [&str; 3] = ["HIERARCHICAL_ROLE", "MULTI_ROLE", "RESERVATION_REFINEMENT"];

const MASTER_CAPABILITIES: [&str; 3] = ["AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"];

pub(super) fn state(view: &Arc<MasterView>, identity: &MasterIdentity) -> Vec<Part> {
    let mut parts = vec![Part::open_object(&Head::new(view, identity)), Part::text(",\"slaves\":[")];
    let shared = view.clone();
    parts.push(Part::items(view.agents.len(), move |i, out| put(out, &Slave::new(&shared.agents[i]))));
    parts.push(Part::text("],\"recovered_slaves\":["));
    parts.push(recovered(view, (0..view.recovered_agents.len()).collect()));
    parts.push(Part::text("],"));
    parts.extend(framework_lists(view, None));
    parts.push(Part::text(",\"orphan_tasks\":[],\"unregistered_frameworks\":[]}"));
    parts
}

pub(super) fn frameworks(view: &Arc<MasterView>, id: Option<&str>) -> Vec<Part> {
    let mut parts = vec![Part::text("{")];
    parts.extend(framework_lists(view, id));
    parts.push(Part::text(",\"unregistered_frameworks\":[]}"));
    parts
}

pub(super) fn slaves(view: &Arc<MasterView>, id: Option<&str>) -> Vec<Part> {
    let wanted = |agent: &str| id.is_none_or(|id| id == agent);
    let chosen: Vec<usize> = (0..view.agents.len()).filter(|i| wanted(view.agents[*i].id.as_str())).collect();
    let back: Vec<usize> = (0..view.recovered_agents.len())
        .filter(|i| wanted(view.recovered_agents[*i].id.as_ref().map_or("", |id| id.as_str())))
        .collect();
    let offered = offers_by_agent(view);
    let shared = view.clone();
    let count = chosen.len();
    let write = move |i: usize, out: &mut Vec<u8>| {
        let agent = &shared.agents[chosen[i]];
        let offers = offered.get(agent.id.as_str()).map_or(&[][..], Vec::as_slice);
        put(out, &SlaveFull::new(&shared, agent, offers));
    };
    vec![
        Part::text("{\"slaves\":["),
        Part::items(count, write),
        Part::text("],\"recovered_slaves\":["),
        recovered(view, back),
        Part::text("]}"),
    ]
}

fn recovered(view: &Arc<MasterView>, indices: Vec<usize>) -> Part {
    let shared = view.clone();
    Part::items(indices.len(), move |i, out| put(out, &SlaveInfo::new(&shared.recovered_agents[indices[i]])))
}

/// Framework and position of each offer, by agent.
type OffersByAgent = std::collections::HashMap<String, Vec<(usize, usize)>>;

fn offers_by_agent(view: &MasterView) -> OffersByAgent {
    let mut by_agent = OffersByAgent::new();
    for (f, framework) in view.frameworks.iter().enumerate() {
        for (o, offer) in framework.offers.iter().enumerate() {
            by_agent.entry(offer.agent_id.to_string()).or_default().push((f, o));
        }
    }
    by_agent
}

#[derive(Serialize)]
struct Head<'a> {
    #[serde(flatten)]
    build: &'a BuildInfo,
    start_time: f64,
    elected_time: f64,
    id: &'a str,
    pid: String,
    hostname: &'a str,
    capabilities: &'static [&'static str],
    activated_slaves: usize,
    deactivated_slaves: usize,
    unreachable_slaves: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value>,
    leader: String,
    leader_info: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_log_file: Option<String>,
    flags: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> Head<'a> {
    fn new(view: &'a MasterView, identity: &'a MasterIdentity) -> Self {
        let config = &view.config;
        let active = view.agents.iter().filter(|agent| agent.active).count();
        let pid = format!("master@{}:{}", config.ip, config.port);
        let fault_domain = config.domain.as_ref().map(domain);
        let mut leader_info =
            json!({"id": config.master_id, "pid": pid, "port": config.port, "hostname": config.hostname});
        if let Some(fault_domain) = &fault_domain {
            leader_info["domain"] = fault_domain.clone();
        }
        Self {
            build: &identity.build,
            start_time: identity.started.as_secs_f64(),
            elected_time: view.elected.as_secs_f64(),
            id: &config.master_id,
            pid: pid.clone(),
            hostname: &config.hostname,
            capabilities: &MASTER_CAPABILITIES,
            activated_slaves: active,
            deactivated_slaves: view.agents.len() - active,
            unreachable_slaves: view.unreachable_agents.len(),
            domain: fault_domain,
            leader: pid,
            leader_info,
            cluster: &config.cluster,
            external_log_file: identity.log_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            flags: &identity.flags,
        }
    }
}

#[derive(Serialize)]
struct SlaveInfo<'a> {
    id: &'a str,
    hostname: &'a str,
    port: u16,
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value>,
}

impl<'a> SlaveInfo<'a> {
    fn new(info: &'a AgentInfo) -> Self {
        Self {
            id: info.id.as_ref().map_or("", |id| id.as_str()),
            hostname: &info.hostname,
            port: info.port,
            attributes: Attributes(&info.attributes),
            domain: info.domain.as_ref().map(domain),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Slave<'a> {
    #[serde(flatten)]
    info: SlaveInfo<'a>,
    pid: String,
    registered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    resources: Summary<'a>,
    used_resources: Summary<'a>,
    offered_resources: Summary<'a>,
    reserved_resources: Reserved<'a>,
    unreserved_resources: Value,
    active: bool,
    deactivated: bool,
    version: &'a str,
    capabilities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_drain_start_time_seconds: Option<f64>,
}

impl<'a> Slave<'a> {
    pub fn new(agent: &'a AgentView) -> Self {
        let total = &agent.info.resources;
        let mut info = SlaveInfo::new(&agent.info);
        info.id = agent.id.as_str();
        Self {
            info,
            pid: format!("slave(1)@{}:{}", agent.info.ip, agent.info.port),
            registered_time: agent.registered.as_secs_f64(),
            reregistered_time: agent.reregistered.map(model::Time::as_secs_f64),
            resources: Summary(total),
            used_resources: Summary(&agent.used),
            offered_resources: Summary(&agent.offered),
            reserved_resources: Reserved(total),
            unreserved_resources: json!(Summary(&total.unreserved())),
            active: agent.active,
            deactivated: agent.deactivated,
            version: &agent.info.version,
            capabilities: match agent.info.capabilities.as_slice() {
                [] => AGENT_CAPABILITIES.to_vec(),
                own => own.iter().map(|capability| capability.name()).collect(),
            },
            drain_info: agent.drain.as_ref().and_then(|drain| raw_json(&convert::drain_info_out(drain))),
            estimated_drain_start_time_seconds: agent.drain.map(|drain| drain.started.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct SlaveFull<'a> {
    #[serde(flatten)]
    slave: Slave<'a>,
    reserved_resources_full: std::collections::BTreeMap<String, Vec<Value>>,
    unreserved_resources_full: Vec<Value>,
    used_resources_full: Vec<Value>,
    offered_resources_full: Vec<Value>,
}

impl<'a> SlaveFull<'a> {
    fn new(view: &'a MasterView, agent: &'a AgentView, offers: &[(usize, usize)]) -> Self {
        let total = &agent.info.resources;
        let held = agent.tasks.iter().filter(|task| task.holds_resources);
        let held = held.map(|task| (&task.role, &task.info.resources));
        let executors = agent.executors.iter().map(|executor| (&executor.role, &executor.info.resources));
        let used = by_role(held.chain(executors));
        let offers = offers.iter().map(|(f, o)| &view.frameworks[*f].offers[*o]);
        let offered = by_role(offers.map(|offer: &Arc<Offer>| (&offer.role, &offer.resources)));
        Self {
            slave: Slave::new(agent),
            reserved_resources_full: resources::reserved_full(total),
            unreserved_resources_full: resources::full(&total.unreserved(), None),
            used_resources_full: used,
            offered_resources_full: offered,
        }
    }
}

/// Sums per role it is allocated to, as full lists.
fn by_role<'a>(allocations: impl Iterator<Item = (&'a Role, &'a Resources)>) -> Vec<Value> {
    let mut sums: std::collections::BTreeMap<&Role, Resources> = std::collections::BTreeMap::new();
    for (role, resources) in allocations {
        sums.entry(role).or_default().add(resources);
    }
    sums.into_iter().flat_map(|(role, sum)| resources::full(&sum, Some(role))).collect()
}

fn framework_lists(view: &Arc<MasterView>, id: Option<&str>) -> Vec<Part> {
    let wanted = |framework: &FrameworkView| id.is_none_or(|id| id == framework.id.as_str());
    let choose = |list: &Shelf<Arc<FrameworkView>>| -> Vec<usize> {
        (0..list.len()).filter(|i| wanted(&list[*i])).collect()
    };
    let (live, done) = (choose(&view.frameworks), choose(&view.completed_frameworks));
    vec![
        Part::text("\"frameworks\":["),
        framework_group(view, live, |view| &view.frameworks),
        Part::text("],\"completed_frameworks\":["),
        framework_group(view, done, |view| &view.completed_frameworks),
        Part::text("]"),
    ]
}

type Pick = fn(&MasterView) -> &Shelf<Arc<FrameworkView>>;

fn framework_group(view: &Arc<MasterView>, indices: Vec<usize>, list: Pick) -> Part {
    let shared = view.clone();
    let executors = Arc::new(executors_by_framework(view));
    Part::groups(indices.len(), move |i| framework(&shared, list, indices[i], &executors))
}

/// Agent and position of each executor, by framework.
type ExecutorsByFramework = HashMap<FrameworkId, Vec<Arc<ExecutorRecord>>>;

fn executors_by_framework(view: &MasterView) -> ExecutorsByFramework {
    let mut by_framework = ExecutorsByFramework::new();
    for executor in view.agents.iter().flat_map(|agent| &agent.executors) {
        by_framework.entry(executor.framework_id.clone()).or_default().push(executor.clone());
    }
    by_framework
}

fn executor(record: &ExecutorRecord) -> Executor<'_> {
    let info = &record.info;
    Executor {
        executor_id: info.id.as_str(),
        name: &info.name,
        framework_id: record.framework_id.as_str(),
        command: info
            .command
            .as_ref()
            .map_or_else(|| json!({"shell": true, "argv": [], "uris": []}), command),
        resources: Summary(&info.resources),
        role: record.role.as_str(),
        labels: optional_labels(&info.labels),
        r#type: info.kind.map(|kind| match kind {
            ExecutorKind::Default => "DEFAULT",
            ExecutorKind::Custom => "CUSTOM",
        }),
        slave_id: record.agent_id.as_str(),
    }
}

#[derive(Serialize)]
struct Executor<'a> {
    executor_id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    command: Value,
    resources: Summary<'a>,
    role: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<OptionalLabel<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    slave_id: &'a str,
}

fn framework(
    view: &Arc<MasterView>,
    list: Pick,
    index: usize,
    executors: &Arc<ExecutorsByFramework>,
) -> Vec<Part> {
    let framework = &list(view)[index];
    let tasks = |count: usize, at: fn(&FrameworkView, usize) -> Option<&Arc<MasterTask>>| {
        let shared = view.clone();
        Part::items(count, move |i, out| {
            if let Some(found) = at(&list(&shared)[index], i) {
                put(out, &task(found));
            }
        })
    };
    let shared = view.clone();
    let own = executors.get(&framework.id).cloned().unwrap_or_default();
    vec![
        Part::open_object(&FrameworkFull::new(framework)),
        Part::text(",\"tasks\":["),
        tasks(framework.tasks.len(), |framework, i| framework.tasks.at(i)),
        Part::text("],\"unreachable_tasks\":["),
        tasks(framework.unreachable_tasks.len(), |framework, i| framework.unreachable_tasks.get(i)),
        Part::text("],\"completed_tasks\":["),
        tasks(framework.completed_tasks.len(), |framework, i| framework.completed_tasks.get(i)),
        Part::text("],\"offers\":["),
        Part::items(framework.offers.len(), move |i, out| put(out, &offer(&list(&shared)[index].offers[i]))),
        // The executors of command tasks belong to the agents.
        Part::text("],\"executors\":["),
        Part::items(own.len(), move |i, out| put(out, &executor(&own[i]))),
        Part::text("]}"),
    ]
}

pub(super) fn task(task: &MasterTask) -> Task<'_> {
    Task::new(&task.framework_id, &task.info, task.state, &task.statuses, task.role.as_str())
}

fn offer(offer: &Offer) -> Value {
    json!({
        "id": offer.id.as_str(),
        "framework_id": offer.framework_id.as_str(),
        "allocation_info": {"role": offer.role.as_str()},
        "slave_id": offer.agent_id.as_str(),
        "resources": Summary(&offer.resources),
    })
}

#[derive(Serialize)]
pub(super) struct FrameworkSummary<'a> {
    id: &'a str,
    name: &'a str,
    used_resources: Summary<'a>,
    offered_resources: Summary<'a>,
    capabilities: Vec<&'static str>,
    hostname: &'a str,
    webui_url: &'a str,
    active: bool,
    connected: bool,
    recovered: bool,
}

impl<'a> FrameworkSummary<'a> {
    pub fn new(framework: &'a FrameworkView) -> Self {
        Self {
            id: framework.id.as_str(),
            name: &framework.info.name,
            used_resources: Summary(&framework.used),
            offered_resources: Summary(&framework.offered),
            capabilities: framework.info.capabilities.iter().map(|capability| capability.name()).collect(),
            hostname: &framework.info.hostname,
            webui_url: framework.info.webui_url.as_deref().unwrap_or_default(),
            active: framework.active,
            connected: framework.connected,
            recovered: framework.recovered,
        }
    }
}

#[derive(Serialize)]
struct FrameworkFull<'a> {
    #[serde(flatten)]
    summary: FrameworkSummary<'a>,
    user: &'a str,
    failover_timeout: f64,
    checkpoint: bool,
    registered_time: f64,
    unregistered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    resources: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    #[serde(flatten)]
    roles: Roles<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<OptionalLabel<'a>>,
}

impl<'a> FrameworkFull<'a> {
    fn new(framework: &'a FrameworkView) -> Self {
        let info = &framework.info;
        Self {
            summary: FrameworkSummary::new(framework),
            user: &info.user,
            failover_timeout: seconds(info.failover_timeout_ms),
            checkpoint: info.checkpoint,
            registered_time: framework.registered.as_secs_f64(),
            unregistered_time: framework.unregistered.unwrap_or_default().as_secs_f64(),
            principal: info.principal.as_ref().map(|principal| principal.as_str()),
            resources: json!(Summary(&framework.used.plus(&framework.offered))),
            reregistered_time: framework
                .reregistered
                .filter(|time| *time != framework.registered)
                .map(model::Time::as_secs_f64),
            roles: Roles::of(info),
            labels: optional_labels(&info.labels),
        }
    }
}
