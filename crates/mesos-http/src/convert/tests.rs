//! Both directions, checked as JSON against the contract's texts and shapes.

use mesos_proto::{ApiMessage, raw, v1};
use model::{
    Capability, Check, CheckStatus, HealthCheck, OperationKind, Probe, Quantity, Reason, ResourceOperation,
    Role, Source, TaskState, Time,
};
use serde_json::{Value, json};

use super::*;
use crate::fixtures;

fn wire<M: ApiMessage>(value: Value) -> M {
    M::from_json(value.to_string().as_bytes()).unwrap()
}

fn text<M: ApiMessage>(message: &M) -> Value {
    serde_json::from_str(&message.to_json()).unwrap()
}

fn scalar(name: &str, value: f64, more: Value) -> Value {
    let mut object = json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    object.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    object
}

fn refusal(value: Value) -> String {
    resource(&wire(value)).unwrap_err().0
}

#[test]
fn ks_1_3_both_forms_of_a_reservation_are_one() {
    let dynamic = json!({"principal": "p", "labels": {"labels": [{"key": "k"}]}});
    let old = scalar("cpus", 1.0, json!({"role": "eng", "reservation": dynamic}));
    let new =
        json!({"type": "DYNAMIC", "role": "eng", "principal": "p", "labels": {"labels": [{"key": "k"}]}});
    let new = scalar("cpus", 1.0, json!({"reservations": [new]}));
    let mut both = old.clone();
    both["reservations"] = new["reservations"].clone();
    let parsed = resource(&wire(old.clone())).unwrap();
    assert_eq!(resource(&wire(new.clone())).unwrap(), parsed);
    assert_eq!(resource(&wire(both.clone())).unwrap(), parsed);
    assert_eq!(text(&resource_out(&parsed, Form::Old, None)), old);
    assert_eq!(text(&resource_out(&parsed, Form::New, None)), new);
    assert_eq!(text(&resource_out(&parsed, Form::Both, None)), both);
    both["reservations"][0]["role"] = json!("other");
    assert!(refusal(both).starts_with("Invalid resource format"));

    let fixed = resource(&wire(scalar("cpus", 1.0, json!({"role": "eng"})))).unwrap();
    assert_eq!(
        text(&resource_out(&fixed, Form::New, None))["reservations"],
        json!([{"type": "STATIC", "role": "eng"}])
    );
}

#[test]
fn ks_8_labels_keep_reservations_apart() {
    let labelled = |key: &str| {
        let labels = json!({"labels": [{"key": key}]});
        wire(scalar(
            "cpus",
            1.0,
            json!({"reservations": [{"type": "DYNAMIC", "role": "eng", "labels": labels}]}),
        ))
    };
    let list = |keys: &[&str]| keys.iter().map(|key| labelled(key)).collect::<Vec<_>>();
    let bag = resources(&list(&["a", "b", "a"])).unwrap().resources;
    assert_eq!((bag.iter().count(), bag.cpus()), (2, Quantity::from_units(3)));
    assert!(bag.contains(&resources(&list(&["a", "a"])).unwrap().resources));
    assert!(!bag.contains(&resources(&list(&["b", "b"])).unwrap().resources));
}

#[test]
fn refined_reservations_have_the_new_form_alone() {
    let levels = json!([{"type": "STATIC", "role": "a"}, {"type": "DYNAMIC", "role": "a/b"}]);
    let refined = resources(&[wire(scalar("mem", 5.0, json!({"reservations": levels})))]).unwrap().resources;
    assert!(resources_out(&refined, Form::Old, None).is_empty());
    let shown = text(&resources_out(&refined, Form::Both, Some(&fixtures::role("a/b")))[0]);
    assert_eq!(shown["reservations"], levels);
    assert_eq!(shown["allocation_info"], json!({"role": "a/b"}));
    assert!(shown.get("role").is_none());
    let upside = json!([{"type": "DYNAMIC", "role": "a/b"}, {"type": "DYNAMIC", "role": "a"}]);
    assert!(refusal(scalar("mem", 5.0, json!({"reservations": upside}))).contains("refine"));
}

/// PB 11: the default of a deprecated field is never written by itself.
#[test]
fn pb_11_the_old_form_names_the_role() {
    let resources = fixtures::resources("cpus:1;ports:[1-2]");
    for shown in resources_out(&resources, Form::Old, None) {
        assert_eq!(text(&shown)["role"], "*");
    }
}

/// PB 12.
#[test]
fn pb_12_thousandths() {
    let list =
        |values: &[f64]| values.iter().map(|v| wire(scalar("cpus", *v, json!({})))).collect::<Vec<_>>();
    let sum = resources(&list(&[0.1, 0.2])).unwrap().resources;
    assert_eq!(sum, resources(&list(&[0.3])).unwrap().resources);
    assert_eq!(resources(&list(&[1.0004])).unwrap().resources, resources(&list(&[1.0])).unwrap().resources);
    assert_eq!(sum.scalar("cpus"), Quantity::from_milli(300));
}

/// KS 5, 6 among them.
#[test]
fn unsound_resources_are_named() {
    let volume = json!({"container_path": "v", "mode": "RW"});
    for (value, expected) in [
        (scalar("cpus", 0.0, json!({})), "Invalid scalar resource: value <= 0"),
        (scalar("cpus", 0.0004, json!({})), "Invalid scalar resource: value <= 0"),
        (scalar("cpus", -1.0, json!({})), "Invalid scalar resource: value <= 0"),
        (scalar("gpus", 0.5, json!({})), "The 'gpus' resource must be an unsigned integer"),
        (scalar("cpus", 1e300, json!({})), "Invalid scalar resource: 'cpus' has the value"),
        (scalar("", 1.0, json!({})), "Empty resource name"),
        (json!({"name": "cpus", "type": "SCALAR"}), "Invalid scalar resource"),
        (
            json!({"name": "p", "type": "RANGES", "ranges": {"range": [{"begin": 2, "end": 1}]}}),
            "Invalid ranges resource: begin 2 is after end 1",
        ),
        (
            json!({"name": "p", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 3}, {"begin": 3, "end": 4}]}}),
            "Invalid ranges resource: overlapping",
        ),
        (
            json!({"name": "s", "type": "SET", "set": {"item": ["a", "a"]}}),
            "Invalid set resource: duplicated",
        ),
        (json!({"name": "t", "type": "TEXT"}), "Unsupported resource type"),
        (scalar("cpus", 1.0, json!({"disk": {}})), "DiskInfo should not be set for cpus resource"),
        (scalar("cpus", 1.0, json!({"reservation": {}})), "Invalid reservation: role \"*\""),
        (scalar("cpus", 1.0, json!({"role": "a//b"})), "Invalid role 'a//b'"),
        (
            scalar("cpus", 1.0, json!({"reservations": [{"role": "a"}]})),
            "Invalid reservation of 'cpus': 'type'",
        ),
        (scalar("cpus", 1.0, json!({"shared": {}})), "Only persistent volumes can be shared"),
        (scalar("disk", 1.0, json!({"disk": {"volume": volume}})), "Non-persistent volume not supported"),
        (
            scalar("disk", 1.0, json!({"disk": {"persistence": {"id": "v1"}}})),
            "Expecting 'volume' to be set for persistent volume",
        ),
        (
            scalar("disk", 1.0, json!({"disk": {"persistence": {"id": "a/b"}, "volume": volume}})),
            "Invalid persistence ID",
        ),
        (
            scalar("cpus", 1.0, json!({"revocable": {}, "role": "a"})),
            "Revocable resource 'cpus' must not be reserved",
        ),
    ] {
        let found = refusal(value.clone());
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn disks_come_out_as_they_went_in() {
    let disk = json!({
        "persistence": {"id": "v1", "principal": "p"},
        "volume": {"container_path": "data", "mode": "RW"},
        "source": {"type": "MOUNT", "mount": {"root": "/mnt/1"}, "id": "d", "profile": "fast", "vendor": "x",
                   "metadata": {"labels": [{"key": "k", "value": "v"}]}},
    });
    let value = scalar(
        "disk",
        64.0,
        json!({"disk": disk, "shared": {}, "provider_id": {"value": "rp"},
               "reservations": [{"type": "DYNAMIC", "role": "eng"}]}),
    );
    let resource = resource(&wire(value.clone())).unwrap();
    assert_eq!(text(&resource_out(&resource, Form::New, None)), value);
}

#[test]
fn one_allocation_role() {
    let of = |role: &str| wire(scalar("cpus", 1.0, json!({"allocation_info": {"role": role}})));
    assert_eq!(resources(&[of("a"), of("a")]).unwrap().allocation, Some(fixtures::role("a")));
    assert!(resources(&[of("a"), of("b")]).unwrap_err().0.contains("multiple allocation roles"));
}

#[test]
fn sea_9_frameworks_that_cannot_subscribe() {
    let multi = json!([{"type": "MULTI_ROLE"}]);
    for (more, expected) in [
        (
            json!({"roles": ["a"]}),
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        (
            json!({"role": "a", "capabilities": multi}),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
        (
            json!({"roles": ["a", "b", "a"], "capabilities": multi}),
            "'FrameworkInfo.roles' contains duplicate items: { a }",
        ),
        (json!({"roles": ["/a"], "capabilities": multi}), "'FrameworkInfo.roles' contains invalid role: "),
        (json!({"role": "a b"}), "'FrameworkInfo.role' is not a valid role: "),
        (json!({"failover_timeout": 1e11}), "The framework failover_timeout (100000000000) is invalid"),
        (json!({"id": {"value": "a/b"}}), "'FrameworkInfo.id' is not valid: "),
    ] {
        let mut value = json!({"user": "root", "name": "x"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = framework(&wire(value)).unwrap_err().0;
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn frameworks_come_out_as_they_went_in() {
    let value = json!({
        "user": "root", "name": "indexer", "id": {"value": "m-0001"}, "failover_timeout": 1.5, "checkpoint": true,
        "hostname": "h", "principal": "sa", "webui_url": "http://x",
        "capabilities": [{"type": "MULTI_ROLE"}, {"type": "REGION_AWARE"}],
        "labels": {"labels": [{"key": "a", "value": "b"}, {"key": "c"}]}, "roles": ["a", "b/c"],
        "offer_filters": {"a": {"min_allocatable_resources": {"quantities": [{"quantities": {"cpus": {"value": 0.5}}}]}}},
    });
    let info = framework(&wire(value.clone())).unwrap();
    assert!(info.can(Capability::RegionAware) && info.failover_timeout_ms == 1500);
    assert_eq!(text(&framework_out(&info)), value);
    let plain = framework(&wire(json!({"user": "u", "name": "n"}))).unwrap();
    assert_eq!(plain.roles, [Role::any()]);
    assert_eq!(
        text(&framework_out(&plain)),
        json!({"user": "u", "name": "n", "failover_timeout": 0.0, "checkpoint": false, "role": "*"})
    );
}

fn plain_task(more: Value) -> Value {
    let mut value = json!({
        "name": "web", "task_id": {"value": "web.1"}, "agent_id": {"value": "S1"},
        "resources": [scalar("cpus", 0.5, json!({}))], "command": {"value": "true"},
    });
    for (key, more) in more.as_object().unwrap() {
        match more {
            Value::Null => drop(value.as_object_mut().unwrap().remove(key)),
            more => value[key] = more.clone(),
        }
    }
    value
}

fn flaw(more: Value) -> Option<String> {
    let task: v1::TaskInfo = wire(plain_task(more));
    super::task(&task, &task.to_protobuf()).flaw
}

/// SEA 3.1, in its order; 25 among them.
#[test]
fn sea_25_flaws_of_tasks() {
    let disk = |id: &str| {
        scalar(
            "disk",
            1.0,
            json!({"role": "r", "reservation": {},
            "disk": {"persistence": {"id": id}, "volume": {"container_path": "v", "mode": "RW"}}}),
        )
    };
    let executor = json!({"executor_id": {"value": "e"}, "command": {"value": "x"}});
    assert_eq!(flaw(json!({})), None);
    assert_eq!(flaw(json!({"executor": executor, "command": null})), None);
    for (more, expected) in [
        (
            json!({"kill_policy": {"grace_period": {"nanoseconds": -1}}}),
            "Task's 'kill_policy.grace_period' must be non-negative",
        ),
        (
            json!({"max_completion_time": {"nanoseconds": -1}}),
            "Task's 'max_completion_time' must be non-negative",
        ),
        (json!({"check": {}}), "Task uses invalid check: CheckInfo must specify 'type'"),
        (
            json!({"check": {"type": "HTTP", "http": {"port": 1, "path": "x"}}}),
            "Task uses invalid check: The path 'x' of HTTP check must start with '/'",
        ),
        (
            json!({"check": {"type": "TCP"}}),
            "Task uses invalid check: Expecting 'tcp' to be set for TCP check",
        ),
        (
            json!({"check": {"type": "COMMAND", "command": {"command": {}}}}),
            "Task uses invalid check: Command check must contain 'shell command'",
        ),
        (json!({"health_check": {}}), "Task uses invalid health check: HealthCheck must specify 'type'"),
        (
            json!({"health_check": {"type": "HTTP", "http": {"port": 1, "scheme": "ftp"}}}),
            "Task uses invalid health check: Unsupported HTTP health check scheme: 'ftp'",
        ),
        (
            json!({"health_check": {"type": "TCP", "tcp": {"port": 1}, "timeout_seconds": -1}}),
            "Task uses invalid health check: Expecting 'timeout_seconds' to be non-negative",
        ),
        (json!({"resources": []}), "Task uses no resources"),
        (
            json!({"resources": [scalar("cpus", -1.0, json!({}))]}),
            "Task uses invalid resources: Invalid scalar resource: value <= 0",
        ),
        (json!({"resources": [disk("a"), disk("a")]}), "Task uses duplicate persistence ID: a"),
        (
            json!({"resources": [scalar("cpus", 1.0, json!({})), scalar("cpus", 1.0, json!({"revocable": {}}))]}),
            "Task uses invalid resources: Cannot use both revocable and non-revocable 'cpus'",
        ),
        (
            json!({"command": {"value": "x", "environment": {"variables": [{"name": "A"}]}}}),
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set",
        ),
        (
            json!({"command": {"value": "x", "environment": {"variables": [{"name": "A", "type": "SECRET", "value": "v"}]}}}),
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'SECRET' must not have a value set",
        ),
        (
            json!({"container": {"type": "DOCKER"}}),
            "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set",
        ),
        (
            json!({"container": {"type": "DOCKER", "docker": {"image": "i", "parameters": [{"key": "name", "value": "x"}]}}}),
            "Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'",
        ),
        (
            json!({"container": {"type": "MESOS", "volumes": [{"container_path": "p", "mode": "RW"}]}}),
            "Task's `ContainerInfo` is invalid: One of 'host_path', 'image', or 'source' must be set for Volume",
        ),
        (
            json!({"limits": {"disk": {"value": 5}}}),
            "Setting a limit for the resource 'disk' is not supported",
        ),
        (json!({"limits": {"cpus": {"value": 0.1}}}), "The limit 0.1 of 'cpus' is below the request 0.5"),
        (
            json!({"executor": executor}),
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
        ),
        (
            json!({"command": null}),
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
        ),
        (
            json!({"command": null, "executor": {"executor_id": {"value": "e"}, "type": "DEFAULT"}}),
            "'ExecutorInfo.type' must be 'CUSTOM'",
        ),
        (
            json!({"command": null, "executor": {"executor_id": {"value": "e"}}}),
            "'ExecutorInfo.command' must be set for 'CUSTOM' executor",
        ),
    ] {
        let found = flaw(more.clone());
        assert!(found.as_deref().is_some_and(|text| text.starts_with(expected)), "{more}: {found:?}");
    }
    assert_eq!(flaw(json!({"limits": {"cpus": {"value": "Infinity"}}})), None);
}

/// SEA 6.4: what is left out has the contract's value.
#[test]
fn checks_as_the_agent_reads_them() {
    let read = |more: Value| {
        let task: v1::TaskInfo = wire(plain_task(more));
        super::task(&task, &task.to_protobuf()).info
    };
    let info = read(json!({"health_check": {"type": "HTTP", "http": {"port": 80}}}));
    let check = |probe| Check { probe, delay_ms: 15_000, interval_ms: 10_000, timeout_ms: 20_000 };
    let http = Probe::Http { tls: false, ipv6: false, port: 80, path: "/".into() };
    let health = HealthCheck { check: check(http), consecutive_failures: 3, grace_ms: 10_000 };
    assert_eq!(info.health_check.as_deref(), Some(&health));
    assert_eq!(info.check, None);
    let http = json!({"port": 443, "path": "/a?b", "scheme": "https", "protocol": "IPv6"});
    let info = read(json!({
        "health_check": {"type": "HTTP", "http": http, "delay_seconds": 0.5, "interval_seconds": 0.25,
                         "timeout_seconds": 0.0, "consecutive_failures": 1, "grace_period_seconds": 1e300},
        "check": {"type": "TCP", "tcp": {"port": 70_000}},
    }));
    let health = info.health_check.unwrap();
    let expected = Probe::Http { tls: true, ipv6: true, port: 443, path: "/a?b".into() };
    assert_eq!(health.check, Check { probe: expected, delay_ms: 500, interval_ms: 250, timeout_ms: 0 });
    assert_eq!((health.consecutive_failures, health.grace_ms), (1, 315_360_000_000));
    assert_eq!(info.check, None, "no such port");
    let command = json!({"value": "look", "environment": {"variables": [{"name": "A", "value": "1"}]}});
    let info = read(json!({"check": {"type": "COMMAND", "command": {"command": command}}}));
    let Some(Probe::Command(command)) = info.check.map(|check| check.probe) else { panic!() };
    assert_eq!((command.value.as_deref(), command.shell), (Some("look"), true));
    assert_eq!(command.environment, [("A".to_owned(), "1".to_owned())]);
}

/// Health checks of older clients are completed, in what is handed on too.
#[test]
fn the_type_of_a_health_check_is_inferred() {
    let task: v1::TaskInfo = wire(plain_task(json!({"health_check": {"http": {"port": 80}}})));
    let launch = super::task(&task, &task.to_protobuf());
    assert_eq!(launch.flaw, None);
    let out = task_info_out(&launch.info, Form::New, None);
    assert_eq!(text(&out)["health_check"]["type"], "HTTP");
    assert_eq!(text(&out)["health_check"]["http"]["port"], 80);
}

/// PB 17: what this version does not know, reaches the executor.
#[test]
fn pb_17_unknown_fields_survive() {
    let role = fixtures::role("eng");
    let executor = json!({"executor_id": {"value": "e"}, "command": {"value": "x"},
                          "resources": [scalar("mem", 32.0, json!({}))], "data": "AAE="});
    let task: v1::TaskInfo = wire(plain_task(json!({"executor": executor, "command": null, "data": "/w=="})));
    let mut bytes = task.to_protobuf();
    raw::append(&mut bytes, 1000, b"from the future");
    // The executor in a second piece, with a field of its own.
    raw::append(&mut bytes, 5, &{
        let mut piece = Vec::new();
        raw::append(&mut piece, 1001, b"me too");
        piece
    });
    let mut launch = super::task(&v1::TaskInfo::from_protobuf(&bytes).unwrap(), &bytes);
    assert_eq!(launch.flaw, None);
    launch.info.resources = fixtures::resources("cpus(eng):2");
    launch.info.executor.as_mut().unwrap().framework_id = Some("f".into());
    let out = task_bytes(&launch.info, Form::New, Some(&role));
    assert_eq!(raw::submessages(&out, &[1000]).unwrap(), [b"from the future"]);
    assert_eq!(raw::submessages(&out, &[5, 1001]).unwrap(), [b"me too"]);
    let decoded = v1::TaskInfo::from_protobuf(&out).unwrap();
    assert_eq!(decoded, task_info_out(&launch.info, Form::New, Some(&role)));
    assert_eq!(decoded.data.as_deref(), Some(&[0xff_u8][..]));
    let shown = text(&decoded);
    assert_eq!(shown["resources"][0]["scalar"]["value"], json!(2.0));
    assert_eq!(shown["resources"][0]["allocation_info"]["role"], "eng");
    assert_eq!(shown["executor"]["framework_id"]["value"], "f");
    assert_eq!(shown["executor"]["resources"][0]["allocation_info"]["role"], "eng");
}

#[test]
fn tasks_of_the_house_are_written_from_their_fields() {
    let shown = text(&task_info_out(&fixtures::task_info("web.1", 1), Form::Both, None));
    assert_eq!(shown["task_id"]["value"], "web.1");
    assert_eq!(shown["command"]["environment"]["variables"][0]["value"], "31000");
    assert_eq!(shown["container"]["mesos"]["image"]["docker"]["name"], "busybox");
    assert_eq!(shown["discovery"]["ports"]["ports"][0]["labels"]["labels"][0]["key"], "VIP_0");
    let bytes = task_bytes(&fixtures::task_info("web.1", 1), Form::Both, None);
    assert_eq!(text(&v1::TaskInfo::from_protobuf(&bytes).unwrap()), shown);
}

#[test]
fn ks_55_cached_false_is_a_forced_pull() {
    let image = |cached: Value| json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": "box"}, "cached": cached}}});
    for (cached, forced) in [(json!(false), true), (json!(true), false), (Value::Null, false)] {
        assert_eq!(super::task::container(&wire(image(cached))).force_pull, forced);
    }
}

#[test]
fn groups() {
    let resources = json!([
        scalar("cpus", 0.1, json!({})),
        scalar("mem", 32.0, json!({})),
        scalar("disk", 1.0, json!({}))
    ]);
    let executor = |more: Value| {
        let mut value = json!({"executor_id": {"value": "e"}, "type": "DEFAULT", "resources": resources});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let operation = |executor: Value, task: Value| {
        let value = json!({"type": "LAUNCH_GROUP",
                           "launch_group": {"executor": executor, "task_group": {"tasks": [plain_task(task)]}}});
        let message: v1::offer::Operation = wire(value);
        super::operation(&message, &message.to_protobuf())
    };
    let good = operation(executor(json!({})), json!({}));
    assert_eq!(good.flaw, None);
    let OperationKind::LaunchGroup { executor: read, tasks } = &good.kind else { panic!("{good:?}") };
    assert!(read.is_default() && tasks[0].flaw.is_none() && tasks[0].info.raw.is_some());
    for (more, expected) in [
        (json!({"type": null}), "'ExecutorInfo.type' must be set"),
        (json!({"command": {"value": "x"}}), "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"),
        (
            json!({"container": {"type": "DOCKER", "docker": {"image": "i"}}}),
            "'ExecutorInfo.container.type' must be 'MESOS'",
        ),
        (
            json!({"container": {"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": "x"}}}}}),
            "'ExecutorInfo.container.mesos.image' must not be set",
        ),
        (json!({"resources": []}), "Executor 'e' uses less cpus than the minimum"),
    ] {
        let found = operation(executor(more.clone()), json!({})).flaw;
        assert!(found.as_deref().is_some_and(|text| text.starts_with(expected)), "{more}: {found:?}");
    }
    let probed = json!({"container": {"type": "MESOS", "network_infos": [{}]},
                        "health_check": {"type": "HTTP", "http": {"port": 1}}});
    for task in [probed, json!({"container": {"type": "DOCKER", "docker": {"image": "i"}}})] {
        let OperationKind::LaunchGroup { tasks, .. } = operation(executor(json!({})), task).kind else {
            panic!()
        };
        assert!(tasks[0].flaw.is_some());
    }
}

#[test]
fn pb_18_unknown_operations_are_passed_over() {
    // Type 7 was CREATE_VOLUME.
    let message = v1::offer::Operation::from_protobuf(&[0x08, 0x07]).unwrap();
    let read = operation(&message, &[0x08, 0x07]);
    assert_eq!((read.kind, read.flaw), (OperationKind::Unknown, None));
}

#[test]
fn operations_on_resources() {
    let reserved = scalar(
        "cpus",
        1.0,
        json!({"allocation_info": {"role": "a"},
        "reservations": [{"type": "DYNAMIC", "role": "a", "principal": "p"}]}),
    );
    let message: v1::offer::Operation =
        wire(json!({"type": "RESERVE", "id": {"value": "o1"}, "reserve": {"resources": [reserved]}}));
    let read = operation(&message, &message.to_protobuf());
    assert_eq!((read.id, read.allocation, read.flaw), (Some("o1".into()), Some(fixtures::role("a")), None));
    let OperationKind::Resources(kind @ ResourceOperation::Reserve { .. }) = read.kind else { panic!() };
    let record = model::OperationRecord {
        uuid: UpdateId(7),
        framework_id: Some("f".into()),
        id: Some("o1".into()),
        operation: kind,
        role: Some(fixtures::role("a")),
        latest: model::OperationStatus {
            operation_id: Some("o1".into()),
            state: model::OperationState::Pending,
            message: None,
            converted: model::Resources::new(),
            uuid: None,
            agent_id: None,
            provider: None,
        },
        statuses: Vec::new(),
    };
    let shown = text(&operation_out(&record, &"S1".into(), Form::New));
    assert_eq!(shown["info"]["reserve"]["resources"][0], reserved);
    assert_eq!(shown["latest_status"]["state"], "OPERATION_PENDING");

    let message: v1::offer::Operation =
        wire(json!({"type": "CREATE", "create": {"volumes": [scalar("disk", 0.0, json!({}))]}}));
    let read = operation(&message, &message.to_protobuf());
    assert_eq!(read.flaw.as_deref(), Some("Invalid resources: Invalid scalar resource: value <= 0"));
}

#[test]
fn statuses_come_out_as_they_went_in() {
    let value = json!({
        "task_id": {"value": "t"}, "state": "TASK_RUNNING", "data": "/wA=", "message": "m",
        "agent_id": {"value": "S1"}, "timestamp": 1.5, "executor_id": {"value": "e"}, "healthy": false,
        "source": "SOURCE_EXECUTOR", "reason": "REASON_TASK_CHECK_STATUS_UPDATED",
        "uuid": "AAAAAAAAAAAAAAAAAAAABw==", "labels": {"labels": [{"key": "k"}]},
        "container_status": {"network_infos": [{"name": "n", "ip_addresses": [{"protocol": "IPv4", "ip_address": "1.2.3.4"}]}],
                             "executor_pid": 9, "container_id": {"value": "c", "parent": {"value": "p"}}},
        "unreachable_time": {"nanoseconds": 5_000_000},
        "check_status": {"type": "HTTP", "http": {"status_code": 200}},
        "limitation": {"resources": [scalar("mem", 5.0, json!({}))]},
    });
    let read = status(&wire(value.clone()), Time::ZERO).unwrap();
    assert_eq!(read.check, Some(CheckStatus::Http { status_code: Some(200) }));
    assert_eq!(read.container.as_ref().unwrap().container_id.as_str(), "p.c");
    assert_eq!(text(&status_out(&read, Form::New)), value);
    for (more, expected) in
        [(json!({}), "CheckStatusInfo must specify 'type'"), (json!({"type": "TCP"}), "Expecting 'tcp'")]
    {
        let mut bad = value.clone();
        bad["check_status"] = more;
        assert!(status(&wire(bad), Time::ZERO).unwrap_err().0.starts_with(expected));
    }
    let mut short = value;
    short["uuid"] = json!("AAAA");
    assert!(status(&wire(short), Time::ZERO).unwrap_err().0.contains("16"));
}

#[test]
fn every_name_of_the_model_is_one_of_the_wire() {
    for state in TaskState::ALL {
        assert_eq!(by_name!(v1::TaskState, state_out(*state) => TaskState), Some(*state));
    }
    for reason in Reason::ALL {
        assert!(by_name_out!(reason => v1::task_status::Reason).is_some(), "{reason}");
    }
    for source in Source::ALL {
        assert!(by_name_out!(source => v1::task_status::Source).is_some(), "{source}");
    }
    for state in model::OperationState::ALL {
        assert!(by_name_out!(state => v1::OperationState).is_some(), "{state}");
    }
}

/// SEA 18, 19.
#[test]
fn sea_18_19_offers_by_what_the_framework_understands() {
    let offer = model::Offer {
        id: "m-O1".into(),
        framework_id: "m-0000".into(),
        agent_id: "m-S1".into(),
        hostname: "h".into(),
        ip: "10.0.0.1".into(),
        port: 5051,
        role: fixtures::role("eng"),
        resources: fixtures::resources("cpus(eng):1;mem:32;ephemeral_ports:[1-2]"),
        attributes: fixtures::agent_info(1).attributes,
        domain: fixtures::agent_info(1).domain,
        executor_ids: vec!["e".into()],
        unavailability: Some(model::Unavailability { start_ns: 5, duration_ns: Some(6) }),
    };
    let mut framework = fixtures::framework_info("m-0000", true);
    let shown = text(&offer_out(&offer, &framework));
    assert_eq!(shown["allocation_info"], json!({"role": "eng"}));
    assert_eq!(
        shown["resources"],
        json!([
            scalar("cpus", 1.0, json!({"role": "eng", "allocation_info": {"role": "eng"}})),
            scalar("mem", 32.0, json!({"role": "*", "allocation_info": {"role": "eng"}}))
        ])
    );
    assert_eq!(
        shown["url"],
        json!({"scheme": "http", "address": {"hostname": "h", "ip": "10.0.0.1", "port": 5051}, "path": "/slave(1)"})
    );
    assert_eq!(shown["unavailability"], json!({"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 6}}));
    framework.capabilities = vec![Capability::ReservationRefinement];
    let shown = text(&offer_out(&offer, &framework)).to_string();
    assert!(!shown.contains("allocation_info"));
    assert!(shown.contains(r#""reservations":[{"role":"eng","type":"STATIC"}]"#), "{shown}");
    assert!(!shown.contains(r#""role":"*""#));
}

#[test]
fn filters() {
    let of = |seconds: Option<f64>| refuse_ms(Some(&v1::Filters { refuse_seconds: seconds }));
    assert_eq!(refuse_ms(None), None);
    assert_eq!([of(None), of(Some(-1.0)), of(Some(f64::NAN))], [None; 3]);
    assert_eq!([of(Some(0.0)), of(Some(3600.0))], [Some(0), Some(3_600_000)]);
    assert_eq!(of(Some(f64::INFINITY)), Some(u64::MAX));
}

#[test]
fn masters() {
    let shown = text(&master_out(&fixtures::config()));
    assert_eq!(shown["ip"], 0x6400_000a);
    assert_eq!(shown["pid"], "master@10.0.0.100:5050");
    assert_eq!(shown["address"], json!({"hostname": "10.0.0.100", "ip": "10.0.0.100", "port": 5050}));
}
