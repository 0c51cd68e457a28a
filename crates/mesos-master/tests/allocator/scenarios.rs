//! Text scenarios: orders to the allocator, and what it grants.
//!
//! Each file holds blocks `orders / ---- / trace`, apart by blank lines; one allocator
//! lives through the whole file, and runs after every order if it wants to. Lines that
//! begin with `#` are remarks; they name the numbers of the contract's checklist.
//! `UPDATE_SCENARIOS=1` rewrites the traces, to be read as a diff of behaviour.
//! Orders are read in [`Cluster::order`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use mesos_master::allocator::{AgentFacts, Allocator, FrameworkFacts, Grant, Options, Sorter};
use model::{
    AgentCapability, AgentId, Capability, DiskInfo, DiskKind, DiskSource, FrameworkId, MinAllocatable,
    Persistence, Quantities, Quantity, QuotaConfig, Reservation, Resource, ResourceName, ResourceValue,
    Resources, Rng, Role, Time, Unavailability, Weight,
};

struct Cluster {
    options: Options,
    allocator: Option<Allocator>,
    now: Time,
    agents: BTreeMap<String, AgentFacts>,
    frameworks: BTreeMap<String, FrameworkFacts>,
    /// What was granted and not yet given back.
    held: BTreeMap<(String, String, Role), Resources>,
    trace: String,
}

fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

fn word<'a>(words: &'a [&str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// Like the master's own form, each part with `rev!`, `mount!`, `volume!`, `shared!`,
/// `refined!` or `dynamic!` in front where it is meant.
fn resources(text: &str) -> Resources {
    let mut bag = Resources::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (kinds, part) = part.rsplit_once('!').unwrap_or(("", part));
        for mut resource in Resources::parse(part, &Role::any()).unwrap().iter().cloned() {
            for kind in kinds.split('!').filter(|kind| !kind.is_empty()) {
                let mut disk = resource.disk.take().unwrap_or_default();
                match kind {
                    "rev" => resource.revocable = true,
                    "mount" => {
                        disk.source = Some(DiskSource {
                            kind: DiskKind::Mount,
                            root: Some("/mnt".to_owned()),
                            id: None,
                            profile: None,
                            vendor: None,
                            metadata: Vec::new(),
                        });
                    }
                    "volume" | "shared" => {
                        disk.persistence = Some(Persistence { id: "v1".to_owned(), principal: None });
                        resource.shared = u32::from(kind == "shared");
                    }
                    "refined" => {
                        let inner = resource.reservations.pop().unwrap();
                        let (above, _) = inner.role.as_str().rsplit_once('/').unwrap();
                        let outer = Reservation { role: role(above), ..inner.clone() };
                        resource.reservations = vec![outer, Reservation { dynamic: true, ..inner }];
                    }
                    "dynamic" => resource.reservations.last_mut().unwrap().dynamic = true,
                    other => panic!("{other}! is no kind of resource"),
                }
                resource.disk = (disk != Box::<DiskInfo>::default()).then_some(disk);
            }
            bag.add_one(resource);
        }
    }
    bag
}

fn quantities(text: &str) -> Quantities {
    let pairs = text.split(';').filter(|part| !part.is_empty()).map(|part| {
        let (name, number) = part.split_once(':').unwrap();
        (ResourceName::from(name), Quantity::from_f64(number.parse().unwrap()).unwrap())
    });
    pairs.collect()
}

fn minimum(text: &str) -> MinAllocatable {
    text.split('|').filter(|part| !part.is_empty()).map(quantities).collect()
}

fn seconds(words: &[&str]) -> Option<Duration> {
    word(words, "seconds").map(|text| Duration::from_secs_f64(text.parse().unwrap()))
}

impl Cluster {
    fn new() -> Self {
        Self {
            options: Options::default(),
            allocator: None,
            now: Time::from_millis(1_000),
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            held: BTreeMap::new(),
            trace: String::new(),
        }
    }

    fn allocator(&mut self) -> &mut Allocator {
        let (options, now) = (self.options.clone(), self.now);
        self.allocator.get_or_insert_with(|| Allocator::new(options, now, Rng::new(1)))
    }

    fn agent_facts(&self, words: &[&str]) -> AgentFacts {
        let without = word(words, "without").unwrap_or_default();
        AgentFacts {
            total: resources(words[2]),
            region: word(words, "region").map(str::to_owned),
            capabilities: AgentCapability::ALL
                .into_iter()
                .filter(|capability| capability.name() != without)
                .collect(),
            active: true,
        }
    }

    fn framework_facts(&self, words: &[&str]) -> FrameworkFacts {
        let list = |key: &str| -> Vec<String> {
            word(words, key).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
        };
        let roles: Vec<Role> = match word(words, "roles") {
            Some(_) => list("roles").iter().map(|text| role(text)).collect(),
            None => vec![Role::any()],
        };
        let own = word(words, "min");
        FrameworkFacts {
            suppressed: list("suppressed").iter().map(|text| role(text)).collect(),
            capabilities: list("can").iter().map(|name| Capability::from_name(name).unwrap()).collect(),
            min_allocatable: own
                .map(|text| roles.iter().map(|role| (role.clone(), minimum(text))).collect())
                .unwrap_or_default(),
            active: true,
            roles,
        }
    }

    fn option(&mut self, words: &[&str]) {
        assert!(self.allocator.is_none(), "options come first");
        if let Some(text) = word(words, "min") {
            self.options.min_allocatable = minimum(text);
        }
        if let Some(text) = word(words, "excluded") {
            self.options.excluded = text.split(',').map(ResourceName::from).collect();
        }
        self.options.filter_gpus = word(words, "filter_gpus") != Some("false");
        self.options.master_region = word(words, "region").map(str::to_owned);
        self.options.expected_agents = word(words, "expected").map(|text| text.parse().unwrap());
        if word(words, "sorter") == Some("random") {
            (self.options.role_sorter, self.options.framework_sorter) = (Sorter::Random, Sorter::Random);
        }
    }

    fn order(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = self.now;
        let agent = |at: usize| AgentId::new(words[at]);
        let framework = |at: usize| FrameworkId::new(words[at]);
        let roles = |from: usize| words[from..].iter().map(|text| role(text)).collect::<Vec<Role>>();
        match words[0] {
            "options" => return self.option(&words),
            "agent" | "agent-changes" => {
                let facts = self.agent_facts(&words);
                self.agents.insert(words[1].to_owned(), facts.clone());
                match words[0] {
                    "agent" => self.allocator().add_agent(&agent(1), facts),
                    _ => self.allocator().update_agent(&agent(1), facts),
                }
            }
            "agent-total" => self.allocator().set_agent_total(&agent(1), resources(words[2])),
            "new-attributes" => self.allocator().clear_agent_filters(&agent(1)),
            "deactivate" => self.allocator().set_agent_active(&agent(1), false),
            "activate" => self.allocator().set_agent_active(&agent(1), true),
            "remove-agent" => {
                self.allocator().remove_agent(&agent(1));
                self.held.retain(|(_, held, _), _| held != words[1]);
            }
            "framework" | "framework-changes" => {
                let facts = self.framework_facts(&words);
                self.frameworks.insert(words[1].to_owned(), facts.clone());
                match words[0] {
                    "framework" => self.allocator().add_framework(&framework(1), facts),
                    _ => self.allocator().update_framework(&framework(1), facts),
                }
            }
            "disconnect" => self.allocator().set_framework_active(&framework(1), false),
            "connect" => self.allocator().set_framework_active(&framework(1), true),
            "remove-framework" => self.allocator().remove_framework(&framework(1)),
            "suppress" => self.allocator().suppress(&framework(1), &roles(2)),
            "revive" => self.allocator().revive(&framework(1), &roles(2)),
            "runs" => {
                let (framework, role, agent) = (framework(1), role(words[2]), agent(3));
                let held = resources(words[4]);
                self.allocator().allocated(&framework, &role, &agent, &held);
                let key = (words[1].to_owned(), words[3].to_owned(), role);
                self.held.entry(key).or_default().add(&held);
            }
            "decline" | "accept" | "ends" => self.give_back(&words),
            "converts" => {
                let key = self.key(&words);
                let (from, to) = (resources(words[3]), resources(words[4]));
                self.allocator().converted(&framework(1), &key.2, &agent(2), &from, &to);
                let held = self.held.get_mut(&key).unwrap();
                assert!(held.contains(&from), "{held} are held");
                held.subtract(&from);
                held.add(&to);
            }
            "weight" => {
                let weight: f64 = words[2].parse().unwrap();
                self.allocator().set_weight(&role(words[1]), Weight((weight * 1000.0) as u64));
            }
            "quota" => {
                let (guarantee, limit) = (word(&words, "guarantee"), word(&words, "limit"));
                let config = QuotaConfig {
                    role: role(words[1]),
                    guarantees: quantities(guarantee.unwrap_or_default()),
                    limits: quantities(limit.unwrap_or_default()),
                    principal: None,
                };
                let config = (guarantee.is_some() || limit.is_some()).then_some(config);
                self.allocator().set_quota(&role(words[1]), config);
            }
            "away" => {
                let away = Unavailability { start_ns: 5_000_000_000, duration_ns: None };
                self.allocator().set_unavailability(&agent(1), Some(away));
            }
            "back" => self.allocator().set_unavailability(&agent(1), None),
            "answers-inverse" => {
                self.allocator().answered_inverse(now, &framework(1), &agent(2), seconds(&words));
            }
            "advance" => {
                let millis = (words[1].parse::<f64>().unwrap() * 1000.0) as u64;
                let end = self.now + Duration::from_millis(millis);
                while let Some(due) = self.allocator().next_wakeup().filter(|due| *due <= end) {
                    self.now = due.max(self.now);
                    self.run();
                }
                self.now = end;
            }
            "fill" => self.fill(&words),
            "explain" => {
                for line in self.allocator().explain(&framework(1), &agent(2), now) {
                    writeln!(self.trace, "  {line}").unwrap();
                }
            }
            "free" => {
                let free = self.allocator().available(&agent(1));
                let free = if free.is_empty() { "nothing".to_owned() } else { free.to_string() };
                writeln!(self.trace, "free of {}: {free}", words[1]).unwrap();
            }
            other => panic!("unknown order {other:?}"),
        }
        self.run();
    }

    /// The one thing that a framework holds of an agent, or that of `role=`.
    fn key(&self, words: &[&str]) -> (String, String, Role) {
        let wanted = word(words, "role").map(role);
        let fits = |key: &&(String, String, Role)| {
            key.0 == words[1] && key.1 == words[2] && wanted.as_ref().is_none_or(|role| key.2 == *role)
        };
        self.held
            .keys()
            .find(fits)
            .unwrap_or_else(|| panic!("{} holds nothing of {}", words[1], words[2]))
            .clone()
    }

    /// `decline F A`: everything; `accept F A what`: all but that; `ends F A what`: that, without a filter.
    fn give_back(&mut self, words: &[&str]) {
        let key = self.key(words);
        let held = self.held.remove(&key).unwrap();
        let (back, filter) = match words[0] {
            "decline" => (held.clone(), Some(seconds(words).unwrap_or(Duration::from_secs(5)))),
            "accept" => {
                (held.minus(&resources(words[3])), Some(seconds(words).unwrap_or(Duration::from_secs(5))))
            }
            _ => (resources(words[3]), None),
        };
        let now = self.now;
        let (framework, agent) = (FrameworkId::new(words[1]), AgentId::new(words[2]));
        self.allocator().released(now, &framework, &key.2, &agent, &back, filter);
        let rest = held.minus(&back);
        if !rest.is_empty() {
            self.held.insert(key, rest);
        }
    }

    fn run(&mut self) {
        let now = self.now;
        let grants = self.allocator().allocate(now);
        for Grant { framework_id, role, agent_id, resources } in grants {
            writeln!(self.trace, "{framework_id} as {role} of {agent_id}: {resources}").unwrap();
            let key = (framework_id.to_string(), agent_id.to_string(), role);
            self.held.entry(key).or_default().add(&resources);
        }
        for inverse in self.allocator().inverse_offers(now) {
            let (framework, agent) = (inverse.framework_id, inverse.agent_id);
            writeln!(self.trace, "{framework} is asked to leave {agent} with {}", inverse.resources).unwrap();
        }
        self.allocator().check_invariants().unwrap();
    }

    /// `fill task F G`: of every offer one task is started and the rest given back, until
    /// nobody gets anything; then what each holds of the first name of the task.
    fn fill(&mut self, words: &[&str]) {
        let task = resources(words[1]);
        let rounds: u64 = word(words, "rounds").map_or(1000, |text| text.parse().unwrap());
        for (framework, agent, role) in self.held.keys().cloned().collect::<Vec<_>>() {
            let all = self.held.remove(&(framework.clone(), agent.clone(), role.clone())).unwrap();
            let (now, framework, agent) = (self.now, FrameworkId::new(framework), AgentId::new(agent));
            self.allocator().released(now, &framework, &role, &agent, &all, None);
        }
        for _ in 0..rounds {
            self.now = self.now + Duration::from_secs(1);
            let now = self.now;
            for grant in self.allocator().allocate(now) {
                let (framework, role, agent) = (&grant.framework_id, &grant.role, &grant.agent_id);
                let fits = grant.resources.contains(&task);
                let back = if fits { grant.resources.minus(&task) } else { grant.resources.clone() };
                let filter = (!fits).then_some(Duration::from_secs(3600));
                self.allocator().released(now, framework, role, agent, &back, filter);
            }
        }
        let name = task.iter().next().unwrap().name.clone();
        let names: Vec<String> = self.frameworks.keys().cloned().collect();
        for framework in names {
            for (role, held) in self.allocator().held_by(&FrameworkId::new(&framework)) {
                let held = held.get(&name).copied().unwrap_or_default();
                writeln!(self.trace, "{framework} as {role} holds {name}:{held}").unwrap();
            }
        }
    }
}

fn play(text: &str) -> String {
    let mut cluster = Cluster::new();
    let mut played = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let orders = block.split("\n----").next().unwrap_or_default().trim_matches('\n');
        for line in orders.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            cluster.order(line);
        }
        played.push(format!("{orders}\n----\n{}", std::mem::take(&mut cluster.trace)));
    }
    played.join("\n")
}

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/allocator/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if std::env::var_os("UPDATE_SCENARIOS").is_some() {
            std::fs::write(&file, &played).unwrap();
        } else {
            assert_eq!(text, played, "{}", file.display());
        }
    }
}

#[test]
fn the_language_of_scenarios_knows_all_kinds() {
    let bag = resources("rev!cpus:1;mount!disk:10;shared!disk(a):5;refined!cpus(a/x):1;ports:[1-2]");
    assert!(bag.iter().any(|resource| resource.revocable));
    assert!(bag.iter().any(Resource::is_refined));
    assert!(bag.iter().any(Resource::is_shared));
    assert!(bag.iter().any(|resource| matches!(resource.value, ResourceValue::Ranges(_))));
}
