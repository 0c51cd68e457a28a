//! The floors of the house: a crate may use what lies below it, nothing else.
//!
//! [`FLOORS`] is the only list of crates in the tree that has to be kept by hand;
//! a crate that is missing from it, or that uses a crate of its own floor or of a
//! higher one, is a finding. Development dependencies obey the same rule, save
//! that tests may use the rooms named `Dev`.

use serde_json::Value;

use super::Finding;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    Product(u8),
    /// For tests and chores only: may use everything, is used by no product crate.
    Dev,
}

struct Room {
    name: &'static str,
    floor: Floor,
    /// Rooms of the same floor that this one may use.
    siblings: &'static [&'static str],
}

const fn room(name: &'static str, floor: u8, siblings: &'static [&'static str]) -> Room {
    Room { name, floor: Floor::Product(floor), siblings }
}

const fn dev(name: &'static str) -> Room {
    Room { name, floor: Floor::Dev, siblings: &[] }
}

const FLOORS: &[Room] = &[
    room("mesos-proto", 0, &[]),
    room("model", 0, &[]),
    room("link", 0, &["model"]),
    room("agent-protocol", 0, &["model"]),
    room("shell", 1, &[]),
    room("store", 1, &["shell"]),
    room("keeper", 2, &[]),
    room("scheduler", 2, &[]),
    room("containers", 2, &["keeper"]),
    room("mesos-agent", 2, &["containers"]),
    room("mesos-master", 2, &["scheduler"]),
    room("marathon", 3, &[]),
    room("marathon-http", 4, &[]),
    room("mesos-http", 4, &[]),
    room("admin-router", 5, &[]),
    room("devcluster", 5, &[]),
    room("dcos-cli", 6, &[]),
    room("dcosd", 6, &[]),
    dev("testkit"),
    dev("bench"),
    dev("tests"),
    dev("xtask"),
];

fn find<'a>(rooms: &'a [Room], name: &str) -> Option<&'a Room> {
    rooms.iter().find(|room| room.name == name)
}

pub fn check(metadata: &Value) -> Vec<Finding> {
    check_against(FLOORS, metadata)
}

fn check_against(rooms: &[Room], metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(from) = find(rooms, name) else {
            findings.push(Finding::new(
                "xtask/src/tidy/layers.rs",
                0,
                format!("crate `{name}` stands on no floor: add it to FLOORS"),
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Only our own crates have a path.
            if dependency["path"].is_null() {
                continue;
            }
            let target = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            let Some(to) = find(rooms, target) else { continue };
            if let Err(reason) = allowed(from, to, for_tests) {
                let path = format!("crates/{name}/Cargo.toml");
                findings.push(Finding::new(&path, 0, format!("`{name}` may not use `{target}`: {reason}")));
            }
        }
    }
    findings
}

fn allowed(from: &Room, to: &Room, for_tests: bool) -> Result<(), String> {
    match (from.floor, to.floor) {
        (Floor::Dev, _) => Ok(()),
        (Floor::Product(_), Floor::Dev) if for_tests => Ok(()),
        (Floor::Product(_), Floor::Dev) => Err("it is for tests and chores only".to_owned()),
        (Floor::Product(above), Floor::Product(below)) if below < above => Ok(()),
        (Floor::Product(a), Floor::Product(b)) if a == b && from.siblings.contains(&to.name) => Ok(()),
        (Floor::Product(a), Floor::Product(b)) if a == b => {
            Err(format!("both stand on floor {a} and it is not named among the siblings in FLOORS"))
        }
        (Floor::Product(a), Floor::Product(b)) => {
            Err(format!("the arrow points up, from floor {a} to floor {b}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOMS: &[Room] =
        &[room("words", 0, &[]), room("wire", 0, &["words"]), room("kernel", 2, &[]), dev("lab")];

    fn check(from: &str, to: &str, kind: Value) -> Vec<String> {
        let metadata = json!({ "packages": [
            { "name": from, "dependencies": [
                { "name": to, "kind": kind, "path": "/somewhere" },
                { "name": "serde", "kind": null },
            ]},
        ]});
        check_against(ROOMS, &metadata).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn downward_named_sibling_and_test_only_arrows_pass() {
        assert_eq!(check("kernel", "words", Value::Null), Vec::<String>::new());
        assert_eq!(check("wire", "words", Value::Null), Vec::<String>::new());
        assert_eq!(check("kernel", "lab", json!("dev")), Vec::<String>::new());
        assert_eq!(check("lab", "kernel", Value::Null), Vec::<String>::new());
    }

    #[test]
    fn upward_unnamed_sibling_and_dev_arrows_are_found() {
        assert_eq!(
            check("words", "kernel", Value::Null),
            ["`words` may not use `kernel`: the arrow points up, from floor 0 to floor 2"]
        );
        assert_eq!(check("words", "kernel", json!("dev")).len(), 1);
        assert_eq!(check("words", "wire", Value::Null).len(), 1);
        assert_eq!(check("kernel", "lab", Value::Null).len(), 1);
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert_eq!(
            check("newcomer", "words", Value::Null),
            ["crate `newcomer` stands on no floor: add it to FLOORS"]
        );
    }

    #[test]
    fn siblings_stand_on_the_same_floor() {
        for room in FLOORS {
            for sibling in room.siblings {
                let found = find(FLOORS, sibling).map(|sibling| sibling.floor);
                assert_eq!(found, Some(room.floor), "{} names {sibling}", room.name);
            }
        }
    }
}
