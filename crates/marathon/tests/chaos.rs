//! Seeded faults: whatever happens, in the end exactly what is wanted runs.
//!
//! `MARATHON_CHAOS_SEEDS=n` runs more seeds; a failing one is named and replays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::{Behaviour, World, app, path};
use marathon::definition::AppUpdate;
use marathon::definition::app::{EnvValue, UnreachableStrategy, UpgradeStrategy};
use marathon::{ApiCall, Input, TaskSelector};
use model::{Rng, TaskId, TaskState};

const APPS: [&str; 4] = ["/a", "/b/c", "/b/d", "/e"];

fn update(rng: &mut Rng, id: &str) -> AppUpdate {
    let mut update = app(id, u32::try_from(rng.below(5)).unwrap());
    update.env = Some([("A".to_owned(), EnvValue::Text(rng.below(3).to_string()))].into());
    let pick = |rng: &mut Rng| [0.0, 0.5, 1.0][rng.index(3)];
    update.upgrade = Some(UpgradeStrategy { health_min: pick(rng), over_max: pick(rng) });
    update.unreachable = Some(match rng.below(3) {
        0 => UnreachableStrategy::After { inactive_seconds: 60, expunge_seconds: 600 },
        _ => UnreachableStrategy::After { inactive_seconds: 0, expunge_seconds: 0 },
    });
    update.cpus = Some(if rng.chance(50) { 1000.0 } else { 0.1 });
    if rng.chance(200) {
        update.dependencies = Some([APPS[rng.index(2)].to_owned()].into());
    }
    update
}

fn some_task(world: &World, rng: &mut Rng) -> Option<TaskId> {
    let up: Vec<TaskId> =
        world.agents.iter().filter(|agent| agent.up).flat_map(|agent| agent.tasks.keys()).cloned().collect();
    if up.is_empty() { None } else { Some(up[rng.index(up.len())].clone()) }
}

fn call(world: &World, rng: &mut Rng) -> ApiCall {
    let id = APPS[rng.index(APPS.len())];
    let force = rng.chance(500);
    match rng.below(8) {
        0..4 => ApiCall::UpdateApp {
            id: path(id),
            update: Box::new(update(rng, id)),
            partial: true,
            create: true,
            force,
        },
        4 => ApiCall::DeleteApp { id: path(id), force },
        5 => ApiCall::RestartApp { id: path(id), force },
        6 => ApiCall::KillTasks {
            selector: TaskSelector::Ids(some_task(world, rng).into_iter().collect()),
            scale: rng.chance(300),
            wipe: false,
            force,
        },
        _ => match world.brain_deployment() {
            Some(id) => ApiCall::DeleteDeployment { id, force },
            None => ApiCall::ResetDelay { id: path(id) },
        },
    }
}

impl World {
    fn brain_deployment(&self) -> Option<String> {
        let prefix = "marathon/deployments/";
        self.store.keys().find_map(|key| key.strip_prefix(prefix)).map(str::to_owned)
    }
}

fn disturb(world: &mut World, rng: &mut Rng) {
    match rng.below(20) {
        0..5 => {
            let call = call(world, rng);
            let _refused = world.api(call);
        }
        5 => world.crash(),
        6 => {
            let call = call(world, rng);
            world.crash_before_effects(Input::Api { request: 0, call });
        }
        7 => {
            if let Some(event) = world.events.pop_front() {
                world.crash_before_effects(Input::Event(event));
            }
        }
        8 => world.reconnect(),
        9 => {
            let index = rng.index(world.agents.len());
            if world.agents[index].up { world.lose_agent(index) } else { world.return_agent(index) }
        }
        10..12 => {
            if let Some(task) = some_task(world, rng) {
                let state = [TaskState::Failed, TaskState::Finished, TaskState::Killed, TaskState::Gone];
                world.end(&task, state[rng.index(4)]);
            }
        }
        12 => {
            let behaviour = [Behaviour::Run, Behaviour::Fail, Behaviour::Hang, Behaviour::Stubborn];
            let app = path(APPS[rng.index(APPS.len())]).safe();
            world.behaviour.insert(app, behaviour[rng.index(4)]);
        }
        13 => world.lose_kills = !world.lose_kills,
        14 => {
            // Twice is once.
            if let Some(event) = world.events.front().cloned()
                && !matches!(event, model::scheduler_api::SchedulerEvent::Offers(_))
            {
                world.step(Input::Event(event));
            }
        }
        15 => world.advance(rng.below(100)),
        _ => {
            for _ in 0..rng.below(6) {
                if let Some(event) = world.events.pop_front() {
                    world.step(Input::Event(event));
                }
            }
        }
    }
}

fn heal(world: &mut World) {
    world.lose_kills = false;
    world.behaviour.clear();
    for index in 0..world.agents.len() {
        if !world.agents[index].up {
            world.return_agent(index);
        }
    }
    // What hung or was stubborn gives in.
    for index in 0..world.agents.len() {
        let tasks: Vec<TaskId> = world.agents[index].tasks.keys().cloned().collect();
        for task in tasks {
            let state = &mut world.agents[index].tasks.get_mut(&task).unwrap().1;
            if *state == TaskState::Staging {
                *state = TaskState::Running;
                world.status(index, &task, TaskState::Running, None);
            }
        }
    }
    world.advance(1);
    // A definition that fits nowhere is taken back by its owner.
    for id in APPS {
        let call = ApiCall::UpdateApp {
            id: path(id),
            update: Box::new(AppUpdate { cpus: Some(0.1), ..AppUpdate::default() }),
            partial: true,
            create: false,
            force: true,
        };
        let _absent = world.api(call);
    }
    world.reconnect();
    world.advance(8000);
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(3);
    for _ in 0..150 {
        disturb(&mut world, &mut rng);
    }
    heal(&mut world);
    let view = world.brain.view();
    let wanted: BTreeMap<_, _> =
        view.existing().map(|(_, definition)| (definition.id.clone(), definition.instances)).collect();
    for id in APPS {
        let expected = wanted.get(&path(id)).copied().unwrap_or(0) as usize;
        assert_eq!(world.running(id), expected, "seed {seed}: {id}");
        assert_eq!(world.tasks_of(id).len(), expected, "seed {seed}: {id} on the agents");
    }
    assert_eq!(world.deployments(), 0, "seed {seed}");
    // A start from the store knows the same.
    let before: Vec<_> = APPS.iter().flat_map(|id| world.tasks_of(id)).collect();
    world.crash();
    world.advance(1000);
    let after: Vec<_> = APPS.iter().flat_map(|id| world.tasks_of(id)).collect();
    assert_eq!(before, after, "seed {seed}");
}

#[test]
fn exactly_what_is_wanted_runs_in_the_end() {
    let seeds = std::env::var("MARATHON_CHAOS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed} failed; run it alone to see why");
    }
}
