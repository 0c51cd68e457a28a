//! Reservations and volumes.

use model::agent_api::MasterToAgent;
use model::{
    DiskInfo, DiskKind, DiskSource, DiskVolume, OperationId, OperationRecord, OperationState,
    OperationStatus, Persistence, Quantity, Reservation, Resource, ResourceOperation, ResourceValue,
    Resources, UpdateId,
};

use crate::support::{Bench, framework, is, resources, role, task};

fn bag(all: &[Resource]) -> Resources {
    let mut bag = Resources::new();
    all.iter().for_each(|resource| bag.add_one(resource.clone()));
    bag
}

fn scalar(name: &str, amount: i64) -> Resource {
    Resource::scalar(name, Quantity::from_milli(amount * 1_000))
}

fn reserved(resource: Resource, name: &str) -> Resource {
    resource.reserved(Reservation { role: role(name), dynamic: true, principal: None, labels: Vec::new() })
}

fn volume(amount: i64, id: &str, path: &str) -> Resource {
    let mut volume = reserved(scalar("disk", amount), "eng");
    volume.disk = Some(Box::new(DiskInfo {
        source: None,
        persistence: Some(Persistence { id: id.into(), principal: None }),
        volume: Some(DiskVolume { container_path: path.into(), read_only: false, host_path: None }),
    }));
    volume
}

fn record(number: u128, operation: ResourceOperation) -> MasterToAgent {
    let latest = OperationStatus {
        operation_id: None,
        state: OperationState::Pending,
        message: None,
        converted: Resources::new(),
        uuid: None,
        agent_id: None,
        provider: None,
    };
    MasterToAgent::ApplyOperation {
        operation: Box::new(OperationRecord {
            uuid: UpdateId(number),
            framework_id: Some("F".into()),
            id: Some(OperationId::new("op")),
            operation,
            role: Some(role("eng")),
            latest,
            statuses: Vec::new(),
        }),
    }
}

fn reserve(resource: Resource) -> ResourceOperation {
    ResourceOperation::Reserve { source: Resources::new(), resources: bag(&[resource]) }
}

fn total(bench: &Bench) -> Resources {
    bench.agent.view(bench.now).info.resources.clone()
}

#[test]
fn ks_13_a_reservation_survives_restarts() {
    let mut bench = Bench::registered();
    let mine = reserved(scalar("cpus", 2), "eng");
    is(bench.master(record(1, reserve(mine.clone()))), "operation OPERATION_FINISHED");
    assert_eq!(bench.operations[0].1.converted, bag(std::slice::from_ref(&mine)));
    assert!(total(&bench).contains(&bag(&[mine.clone(), scalar("cpus", 6)])));
    bench.restart();
    bench.recovered(&[]);
    bench.connect();
    assert!(bench.registration.as_ref().unwrap().info.resources.contains(&bag(std::slice::from_ref(&mine))));
    // A refined one is given back level by level.
    let refined = reserved(mine.clone(), "eng/web");
    is(bench.master(record(2, reserve(refined.clone()))), "operation OPERATION_FINISHED");
    let back = ResourceOperation::Unreserve { resources: bag(&[refined]) };
    is(bench.master(record(3, back)), "operation OPERATION_FINISHED");
    let back = ResourceOperation::Unreserve { resources: bag(&[mine]) };
    is(bench.master(record(4, back)), "operation OPERATION_FINISHED");
    assert_eq!(total(&bench), bench.config.info.resources);
}

#[test]
fn sea_63_operation_updates_repeat_until_acknowledged() {
    let mut bench = Bench::registered();
    let order = record(1, reserve(reserved(scalar("cpus", 2), "eng")));
    is(bench.master(order.clone()), "operation OPERATION_FINISHED");
    is(bench.pass(10_000), "operation OPERATION_FINISHED");
    is(bench.pass(20_000), "operation OPERATION_FINISHED");
    // Ordered twice is done once.
    is(bench.master(order), "operation OPERATION_FINISHED");
    assert_eq!(total(&bench).scalar("cpus"), Quantity::from_milli(8_000));
    bench.restart();
    bench.recovered(&[]);
    is(bench.connect(), "register | operation OPERATION_FINISHED");
    assert_eq!(bench.registration.as_ref().unwrap().operations.len(), 1);
    let (uuid, status) = bench.operations.last().unwrap().clone();
    let status_uuid = status.uuid.unwrap();
    bench.master(MasterToAgent::AcknowledgeOperation { uuid, status_uuid: UpdateId(99) });
    is(bench.pass(10_000), "operation OPERATION_FINISHED");
    bench.master(MasterToAgent::AcknowledgeOperation { uuid, status_uuid });
    is(bench.pass(600_000), "");
    let unknown = vec![(UpdateId(77), None)];
    is(
        bench.master(MasterToAgent::ReconcileOperations { operations: unknown }),
        "operation OPERATION_DROPPED",
    );
}

#[test]
fn an_operation_on_what_is_not_there_fails() {
    let mut bench = Bench::registered();
    is(bench.master(record(1, reserve(reserved(scalar("cpus", 9), "eng")))), "operation OPERATION_FAILED");
    let message = bench.operations[0].1.message.clone().unwrap();
    assert!(message.contains("does not have"), "{message}");
    assert_eq!(total(&bench), bench.config.info.resources);
    let wrong =
        ResourceOperation::CreateDisk { source: scalar("disk", 1), target: DiskKind::Mount, profile: None };
    is(bench.master(record(2, wrong)), "operation OPERATION_FAILED");
}

#[test]
fn ks_14_17_volumes_are_made_kept_and_removed() {
    let mut bench = Bench::registered();
    bench.master(record(1, reserve(reserved(scalar("disk", 100), "eng"))));
    let data = volume(100, "data", "data");
    is(
        bench.master(record(2, ResourceOperation::Create { volumes: bag(std::slice::from_ref(&data)) })),
        "volume Make /w/volumes/roles/eng/data | operation OPERATION_FINISHED",
    );
    // Not done before the crash: ordered again, by the same number.
    let number = bench.volumes[0].uuid;
    bench.restart();
    is(bench.recovered(&[]), "volume Make /w/volumes/roles/eng/data");
    assert_eq!(bench.volumes[1].uuid, number);
    is(bench.step(mesos_agent::Input::VolumeDone { uuid: number }), "volume settled");
    bench.connect();
    let mut info = task("t1");
    info.resources.add_one(data.clone());
    bench.run(&framework(&[]), info);
    let mount = &bench.launches[0].volumes[0];
    assert_eq!(
        (mount.source.as_str(), mount.container_path.as_str(), mount.owned),
        ("/w/volumes/roles/eng/data", "data", true)
    );
    bench.started("c1", 11);
    bench.exited("c1", crate::support::code(0));
    assert!(total(&bench).contains(&bag(std::slice::from_ref(&data))), "it outlives its task");
    is(
        bench.master(record(3, ResourceOperation::Destroy { volumes: bag(&[data]) })),
        "volume Remove /w/volumes/roles/eng/data | operation OPERATION_FINISHED",
    );
    assert!(total(&bench).contains(&bag(&[reserved(scalar("disk", 100), "eng")])));
}

#[test]
fn where_volumes_lie() {
    let mut bench = Bench::new({
        let mut config = crate::support::config();
        for (kind, root) in [(DiskKind::Path, "/p"), (DiskKind::Mount, "/m")] {
            let mut disk = scalar("disk", 50);
            let source = DiskSource {
                kind,
                root: Some(root.into()),
                id: None,
                profile: None,
                vendor: None,
                metadata: Vec::new(),
            };
            disk.disk = Some(Box::new(DiskInfo { source: Some(source), ..DiskInfo::default() }));
            config.info.resources.add_one(reserved_statically(disk));
        }
        config
    });
    bench.recovered(&[]);
    bench.connect();
    let disks: Vec<Resource> =
        total(&bench).iter().filter(|resource| resource.disk_source().is_some()).cloned().collect();
    for (number, disk) in (1..).zip(disks) {
        let mut volume = disk;
        if let Some(info) = &mut volume.disk {
            info.persistence = Some(Persistence { id: "data".into(), principal: None });
        }
        let volumes = bag(&[volume]);
        bench.master(record(number * 2, ResourceOperation::Create { volumes: volumes.clone() }));
        bench.master(record(number * 2 + 1, ResourceOperation::Destroy { volumes }));
    }
    let works: Vec<String> =
        bench.volumes.iter().map(|work| format!("{:?} {}", work.what, work.path)).collect();
    assert_eq!(
        works,
        [
            "Make /p/volumes/roles/eng data/data",
            "Remove /p/volumes/roles/eng data/data",
            "Make /m",
            "Empty /m"
        ]
    );
    assert_eq!(total(&bench), bench.config.info.resources);
}

fn reserved_statically(resource: Resource) -> Resource {
    let reservation =
        Reservation { role: role("eng/data"), dynamic: false, principal: None, labels: Vec::new() };
    resource.reserved(reservation)
}

#[test]
fn ks_18_a_shared_volume_is_nobodys_own() {
    let mut bench = Bench::registered();
    bench.master(record(1, reserve(reserved(scalar("disk", 100), "eng"))));
    let shared = Resource { shared: 1, ..volume(100, "data", "data") };
    is(
        bench.master(record(2, ResourceOperation::Create { volumes: bag(std::slice::from_ref(&shared)) })),
        "volume Make /w/volumes/roles/eng/data | operation OPERATION_FINISHED",
    );
    for id in ["t1", "t2"] {
        let mut info = task(id);
        info.resources.add_one(shared.clone());
        bench.run(&framework(&[]), info);
    }
    let seen: Vec<_> = bench.launches.iter().flat_map(|launch| &launch.volumes).collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|mount| !mount.owned && mount.source == "/w/volumes/roles/eng/data"));
}

#[test]
fn volumes_grow_and_shrink() {
    let mut bench = Bench::registered();
    bench.master(record(1, reserve(reserved(scalar("disk", 100), "eng"))));
    let data = volume(60, "data", "data");
    bench.master(record(2, ResourceOperation::Create { volumes: bag(std::slice::from_ref(&data)) }));
    let grow = ResourceOperation::GrowVolume { volume: data, addition: reserved(scalar("disk", 40), "eng") };
    is(bench.master(record(3, grow)), "operation OPERATION_FINISHED");
    assert!(total(&bench).contains(&bag(&[volume(100, "data", "data")])));
    let shrink = ResourceOperation::ShrinkVolume {
        volume: volume(100, "data", "data"),
        subtract: Quantity::from_milli(30_000),
    };
    is(bench.master(record(4, shrink)), "operation OPERATION_FINISHED");
    let expected = bag(&[volume(70, "data", "data"), reserved(scalar("disk", 30), "eng")]);
    assert!(total(&bench).contains(&expected));
    let nothing = ResourceOperation::ShrinkVolume {
        volume: volume(70, "data", "data"),
        subtract: Quantity::from_milli(70_000),
    };
    is(bench.master(record(5, nothing)), "operation OPERATION_FAILED");
}

#[test]
fn ks_38_a_machine_that_lost_what_is_reserved_does_not_start() {
    let mut bench = Bench::registered();
    bench.master(record(1, reserve(reserved(scalar("cpus", 6), "eng"))));
    let mut config = bench.config.clone();
    config.info.resources = resources("cpus:4;mem:8192;disk:10000;ports:[31000-32000]");
    let records: Vec<_> = bench.records().cloned().collect();
    assert!(mesos_agent::check_start(&config, &records).unwrap_err().contains("cpus"));
    let other = ResourceValue::Scalar(Quantity::from_milli(8_000));
    assert_eq!(scalar("cpus", 8).value, other);
}
