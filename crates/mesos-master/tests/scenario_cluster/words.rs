//! The words of the scenarios: resources, tasks, executors and operations as text.

use std::collections::BTreeMap;

use model::{
    AgentId, Capability, CommandInfo, DiskInfo, DiskVolume, ExecutorInfo, ExecutorKind, Operation,
    OperationId, OperationKind, Persistence, Quantity, Reservation, Resource, ResourceOperation, Resources,
    Role, TaskInfo, TaskLaunch,
};

pub fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

/// `key=value` among the words.
pub fn word<'a>(words: &'a [&str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

pub fn list(text: &str) -> Vec<&str> {
    text.split(',').filter(|part| !part.is_empty()).collect()
}

/// Whatever order a bag came in.
pub fn sorted(resources: &Resources) -> String {
    let text = resources.to_string();
    let mut parts: Vec<&str> = text.split("; ").collect();
    parts.sort_unstable();
    parts.join("; ")
}

/// `name(ROLES):value@VOLUME`, apart by `;`. ROLES is a stack `a>a/b`, where `a!` is a
/// dynamic reservation by principal `p` and `a!label` one with a label. `@v1` makes a
/// volume, `@v1!` a shared one, `@v1*` one of principal `q`.
pub fn resources(text: &str) -> Resources {
    text.split(';').filter(|item| !item.is_empty()).map(resource).collect()
}

fn resource(text: &str) -> Resource {
    let (body, volume) = text.split_once('@').map_or((text, None), |(body, volume)| (body, Some(volume)));
    let (head, value) = body.split_once(':').unwrap();
    let (name, stack) = head.split_once('(').map_or((head, ""), |(name, rest)| (name, rest));
    // Amounts that are refused cannot be parsed, so they are made by hand.
    let mut resource = match value.strip_prefix('-') {
        Some(number) => Resource::scalar(name, Quantity::from_milli(-1000 * number.parse::<i64>().unwrap())),
        None if name == "gpus" => {
            let number: f64 = value.parse().unwrap();
            Resource::scalar(name, Quantity::from_f64(number).unwrap())
        }
        None => {
            let parsed = Resources::parse(&format!("{name}:{value}"), &Role::any()).unwrap();
            parsed.iter().next().unwrap().clone()
        }
    };
    for part in stack.trim_end_matches(')').split('>').filter(|part| !part.is_empty()) {
        let (name, label) = part.split_once('!').map_or((part, None), |(name, label)| (name, Some(label)));
        resource = resource.reserved(Reservation {
            role: role(name),
            dynamic: label.is_some(),
            principal: label.map(|_| "p".into()),
            labels: label.filter(|l| !l.is_empty()).map(|l| (l.to_owned(), None)).into_iter().collect(),
        });
    }
    if let Some(volume) = volume {
        let id = volume.trim_end_matches(['!', '*']).to_owned();
        let principal = if volume.ends_with('*') { "q" } else { "p" };
        let persistence = Persistence { id, principal: Some(principal.into()) };
        let mount = DiskVolume { container_path: "data".to_owned(), read_only: false, host_path: None };
        let disk = DiskInfo { source: None, persistence: Some(persistence), volume: Some(mount) };
        resource.disk = Some(Box::new(disk));
        resource.shared = u32::from(volume.ends_with('!'));
    }
    resource
}

pub fn capabilities(text: &str) -> Vec<Capability> {
    list(text).into_iter().map(|name| Capability::from_name(name).unwrap()).collect()
}

fn command() -> CommandInfo {
    CommandInfo { shell: true, value: Some("sleep 1".to_owned()), ..CommandInfo::default() }
}

pub fn task_info(task: &str, agent_id: &AgentId, text: &str) -> TaskInfo {
    TaskInfo {
        id: task.into(),
        name: task.to_owned(),
        agent_id: agent_id.clone(),
        resources: resources(text),
        command: command(),
        container: None,
        kill_policy: None,
        discovery: None,
        labels: BTreeMap::new(),
        executor: None,
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    }
}

/// `ID~RESOURCES`; ids that begin with `d` are of the default executor.
pub fn executor(text: &str) -> ExecutorInfo {
    let (id, held) = text.split_once('~').unwrap();
    let default = id.starts_with('d');
    ExecutorInfo {
        id: id.into(),
        kind: Some(if default { ExecutorKind::Default } else { ExecutorKind::Custom }),
        framework_id: None,
        resources: resources(held),
        command: (!default).then(command),
        container: None,
        name: String::new(),
        source: String::new(),
        labels: Vec::new(),
        shutdown_grace_ms: None,
        raw: None,
    }
}

/// `TASK=RESOURCES`, with `/EXECUTOR` behind it for one that an executor of its own runs,
/// with `?why` behind it for one whose form is wrong, with `^role` for another allocation.
pub fn task(text: &str, agent_id: &AgentId) -> TaskLaunch {
    let (text, flaw) = text.split_once('?').map_or((text, None), |(text, flaw)| (text, Some(flaw)));
    let (text, allocation) =
        text.split_once('^').map_or((text, None), |(text, name)| (text, Some(role(name))));
    let (id, rest) = text.split_once('=').unwrap();
    let (held, own) = match rest.rsplit_once('|') {
        Some((held, own)) => (held, Some(own)),
        None => (rest, None),
    };
    // `both` leaves the command beside the executor.
    let both = id.starts_with("both");
    let mut info = task_info(id, agent_id, held);
    if let Some(own) = own {
        info.executor = Some(Box::new(executor(own)));
        if !both {
            info.command = CommandInfo::default();
        }
    }
    TaskLaunch { info, allocation, flaw: flaw.map(|flaw| flaw.replace('_', " ")) }
}

/// `KIND[#ID]:ARGUMENT`, where a launch has tasks apart by `+`.
pub fn operation(text: &str, agent_id: &AgentId) -> Operation {
    let (kind, argument) = text.split_once(':').unwrap();
    let (kind, id) =
        kind.split_once('#').map_or((kind, None), |(kind, id)| (kind, Some(OperationId::from(id))));
    let tasks = |text: &str| text.split('+').map(|one| task(one, agent_id)).collect();
    let one = |text: &str| resource(text);
    let change = |change| OperationKind::Resources(change);
    let kind = match kind {
        "launch" => OperationKind::Launch { tasks: tasks(argument) },
        "group" => {
            let (own, rest) = argument.split_once('+').unwrap();
            OperationKind::LaunchGroup { executor: Box::new(executor(own)), tasks: tasks(rest) }
        }
        "reserve" => {
            change(ResourceOperation::Reserve { source: Resources::new(), resources: resources(argument) })
        }
        "unreserve" => change(ResourceOperation::Unreserve { resources: resources(argument) }),
        "create" => change(ResourceOperation::Create { volumes: resources(argument) }),
        "destroy" => change(ResourceOperation::Destroy { volumes: resources(argument) }),
        "grow" => {
            let (volume, addition) = argument.split_once('+').unwrap();
            change(ResourceOperation::GrowVolume { volume: one(volume), addition: one(addition) })
        }
        "shrink" => {
            let (volume, by) = argument.split_once('-').unwrap();
            let subtract = Quantity::from_units(by.parse().unwrap());
            change(ResourceOperation::ShrinkVolume { volume: one(volume), subtract })
        }
        _ => OperationKind::Unknown,
    };
    Operation { id, kind, allocation: None, flaw: None }
}
