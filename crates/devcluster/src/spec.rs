//! What a local cluster consists of: names, roles, addresses, shares of the machine.
//!
//! Responsible for the plan of a cluster and the daemon's command lines, as pure
//! functions. Not for files, processes or networks. Invariant: a node keeps its
//! name, address and resources for as long as the cluster's data exists.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;

/// Masters come in odd numbers, so that a majority exists.
pub const MASTERS_ALLOWED: [u8; 3] = [1, 3, 5];
/// Upper bound of private agents in one local cluster.
pub const AGENTS_MAX: u8 = 64;
/// Upper bound of public agents in one local cluster.
pub const PUBLIC_AGENTS_MAX: u8 = 32;
/// Longest cluster name: it becomes part of directory and cgroup names.
pub const NAME_LENGTH_MAX: usize = 32;
/// Most host ports that can be offered to the nodes.
pub const HOST_PORTS_MAX: usize = 16;

const PLAIN_PORTS_FIRST: u32 = 20_000;
const PLAIN_PORTS_PER_AGENT: u32 = 120;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Master,
    Agent,
    PublicAgent,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Agent => "agent",
            Role::PublicAgent => "public-agent",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Agent => "agent",
            Role::PublicAgent => "public",
        }
    }

    fn limit(self) -> u8 {
        match self {
            Role::Master => 5,
            Role::Agent => AGENTS_MAX,
            Role::PublicAgent => PUBLIC_AGENTS_MAX,
        }
    }
}

/// How nodes are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Own network, mount, host name and IPC namespaces and a cgroup subtree per node.
    Namespaces,
    /// Plain processes on 127.x addresses: what works without root.
    Plain,
}

/// One machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub role: Role,
    pub address: Ipv4Addr,
    /// The `--resources` of an agent, fixed when the node is planned: an agent that came back
    /// with other resources would be another agent to the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<String>,
}

/// A planned cluster; stored in its data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub isolation: Isolation,
    /// Admin Router's port on the host's loopback.
    pub port: u16,
    /// Ports of the host's loopback that nodes find on their own loopback.
    pub host_ports: Vec<u16>,
    /// The program that supervises nodes and is the daemon.
    pub program: PathBuf,
    /// Memory that each agent offers.
    pub agent_mem_mib: u64,
    pub nodes: Vec<Node>,
}

/// How many nodes of each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub masters: u8,
    pub agents: u8,
    pub public_agents: u8,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { masters: 1, agents: 2, public_agents: 1 }
    }
}

impl Sizes {
    /// Refuses sizes that no local cluster can have.
    pub fn check(self) -> Result<()> {
        if !MASTERS_ALLOWED.contains(&self.masters) {
            return Err(Error::Refused(format!("--masters {}: allowed are 1, 3 and 5", self.masters)));
        }
        if self.agents > AGENTS_MAX {
            return Err(Error::Refused(format!("--agents {}: allowed are 0 to {AGENTS_MAX}", self.agents)));
        }
        if self.public_agents > PUBLIC_AGENTS_MAX {
            return Err(Error::Refused(format!(
                "--public-agents {}: allowed are 0 to {PUBLIC_AGENTS_MAX}",
                self.public_agents
            )));
        }
        Ok(())
    }
}

/// What the machine has to share out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub cpus: usize,
    pub mem_mib: u64,
    pub disk_mib: u64,
}

impl Machine {
    /// Memory of one of `agents` agents: a quarter of the machine stays for the host and the masters.
    pub fn agent_mem_mib(self, agents: u8) -> u64 {
        (self.mem_mib / 4 * 3 / u64::from(agents.max(1))).max(256)
    }
}

/// Refuses names that cannot be directory and cgroup names.
pub fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well && name.len() <= NAME_LENGTH_MAX && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "cluster name {name:?}: allowed are up to {NAME_LENGTH_MAX} lower-case letters, digits and dashes, beginning with a letter"
    )))
}

impl Cluster {
    /// Adds the next node of `role`.
    pub fn add(&mut self, role: Role, machine: Machine) -> Result<Node> {
        let number = self.nodes.iter().filter(|n| n.role == role).count() + 1;
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        if number > role.limit() {
            return Err(Error::Refused(format!(
                "a local cluster has at most {} nodes of role {}",
                role.limit(),
                role.as_str()
            )));
        }
        let node = Node {
            name: format!("{}{number}", role.prefix()),
            role,
            address: address(&self.name, self.isolation, role, number),
            resources: (role != Role::Master).then(|| self.resources(role, machine)),
        };
        self.nodes.push(node.clone());
        Ok(node)
    }

    /// Grows the cluster to `sizes`; it never shrinks.
    pub fn grow(&mut self, sizes: Sizes, machine: Machine) -> Result<()> {
        let wanted = [
            (Role::Master, sizes.masters),
            (Role::Agent, sizes.agents),
            (Role::PublicAgent, sizes.public_agents),
        ];
        for (role, count) in wanted {
            while self.count(role) < usize::from(count) {
                self.add(role, machine)?;
            }
        }
        Ok(())
    }

    pub fn count(&self, role: Role) -> usize {
        self.nodes.iter().filter(|n| n.role == role).count()
    }

    pub fn masters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.role == Role::Master)
    }

    pub fn agents(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.role != Role::Master)
    }

    /// The node of that name, or a refusal that lists the names.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|n| n.name == name).ok_or_else(|| {
            let names: Vec<_> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            Error::Refused(format!("unknown node {name:?}; nodes are: {}", names.join(", ")))
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Admin Router's port on a master's own address.
    pub fn master_port(&self) -> u16 {
        match self.isolation {
            Isolation::Namespaces => 80,
            Isolation::Plain => self.port,
        }
    }

    /// The daemon's arguments on `node`.
    pub fn daemon_arguments(&self, node: &Node, layout: &Layout) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut option = |name: &str, value: String| {
            words.push(name.to_owned());
            words.push(value);
        };
        option("--node-name", node.name.clone());
        option("--cluster", self.name.clone());
        option("--ip", node.address.to_string());
        option("--data-dir", layout.node_data(&node.name).display().to_string());
        option("--pki-dir", layout.node_pki(&node.name).display().to_string());
        if node.role == Role::Master {
            option("--log-format", "text".to_owned());
            let peers: Vec<_> = self.masters().map(|m| format!("{}={}", m.name, m.address)).collect();
            option("--http-port", self.master_port().to_string());
            option("--peers", peers.join(","));
            words.insert(0, "master".to_owned());
            return words;
        }
        let masters: Vec<_> = self.masters().map(|m| m.address.to_string()).collect();
        let registries: Vec<_> = self.host_ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
        option("--masters", masters.join(","));
        if self.isolation == Isolation::Namespaces {
            option("--cgroup-root", format!("/dcosd-{}/{}", self.name, node.name));
        }
        if !registries.is_empty() {
            option("--insecure-registries", registries.join(","));
        }
        if let Some(resources) = &node.resources {
            option("--resources", resources.clone());
        }
        words.insert(0, "agent".to_owned());
        if node.role == Role::PublicAgent {
            words.push("--public".to_owned());
        }
        words
    }

    /// The whole machine's processors and half of its free disk for every agent (overcommitted on
    /// purpose: a development cluster is mostly idle), an equal share of memory, and DC/OS's ports.
    fn resources(&self, role: Role, machine: Machine) -> String {
        let ports = match (self.isolation, role) {
            (Isolation::Plain, _) => {
                // All agents share the host's ports, so each gets a slice of its own.
                let slice = u32::try_from(self.agents().count()).unwrap_or(0) * PLAIN_PORTS_PER_AGENT;
                let first = PLAIN_PORTS_FIRST + slice;
                format!("{first}-{}", first + PLAIN_PORTS_PER_AGENT - 1)
            }
            (Isolation::Namespaces, Role::PublicAgent) => "1-21,23-5050,5052-32000".to_owned(),
            (Isolation::Namespaces, _) => {
                "1025-2180,2182-3887,3889-5049,5052-8079,8082-8180,8182-32000".to_owned()
            }
        };
        format!(
            "cpus:{};mem:{};disk:{};ports:[{ports}]",
            machine.cpus,
            self.agent_mem_mib,
            (machine.disk_mib / 2).max(1024)
        )
    }
}

/// The address of the `number`th node of a role.
fn address(cluster: &str, isolation: Isolation, role: Role, number: u8) -> Ipv4Addr {
    match isolation {
        Isolation::Namespaces => {
            let base = match role {
                Role::Master => 10,
                Role::Agent => 100,
                Role::PublicAgent => 200,
            };
            Ipv4Addr::new(10, 200, 0, base + number)
        }
        Isolation::Plain => {
            let third = match role {
                Role::Master => 1,
                Role::Agent => 2,
                Role::PublicAgent => 3,
            };
            Ipv4Addr::new(127, plain_octet(cluster), third, number)
        }
    }
}

/// Plain clusters of different names live on different addresses; the default name keeps 127.0.
fn plain_octet(cluster: &str) -> u8 {
    if cluster == crate::DEFAULT_NAME {
        return 0;
    }
    let hash = cluster.bytes().fold(5381_u32, |h, b| h.wrapping_mul(33) ^ u32::from(b));
    u8::try_from(hash % 250 + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { cpus: 2, mem_mib: 24_000, disk_mib: 80_000 };

    fn cluster(isolation: Isolation) -> Cluster {
        let mut cluster = Cluster {
            name: "dcos".to_owned(),
            isolation,
            port: 8000,
            host_ports: vec![5000],
            program: PathBuf::from("/bin/dcosd"),
            agent_mem_mib: MACHINE.agent_mem_mib(3),
            nodes: Vec::new(),
        };
        cluster.grow(Sizes::default(), MACHINE).unwrap();
        cluster
    }

    #[test]
    fn the_default_cluster_has_the_promised_nodes() {
        let planned = cluster(Isolation::Namespaces);
        let lines: Vec<_> =
            planned.nodes.iter().map(|n| format!("{} {} {}", n.name, n.role.as_str(), n.address)).collect();
        assert_eq!(
            lines,
            [
                "master1 master 10.200.0.11",
                "agent1 agent 10.200.0.101",
                "agent2 agent 10.200.0.102",
                "public1 public-agent 10.200.0.201",
            ]
        );
        assert_eq!(
            planned.nodes[1].resources.as_deref(),
            Some(
                "cpus:2;mem:6000;disk:40000;ports:[1025-2180,2182-3887,3889-5049,5052-8079,8082-8180,8182-32000]"
            )
        );
        assert_eq!(planned.nodes[0].resources, None);
    }

    #[test]
    fn growing_keeps_what_is_there_and_stops_at_the_limit() {
        let mut planned = cluster(Isolation::Namespaces);
        let before = planned.nodes.clone();
        planned.grow(Sizes { masters: 1, agents: 3, public_agents: 1 }, MACHINE).unwrap();
        assert_eq!(planned.nodes[..before.len()], before[..]);
        assert_eq!(planned.nodes.last().unwrap().name, "agent3");
        for _ in 3..AGENTS_MAX {
            planned.add(Role::Agent, MACHINE).unwrap();
        }
        assert!(planned.add(Role::Agent, MACHINE).is_err());
    }

    #[test]
    fn plain_agents_share_no_port() {
        let planned = cluster(Isolation::Plain);
        let ports: Vec<_> = planned
            .agents()
            .filter_map(|n| n.resources.as_deref()?.split_once("ports:"))
            .map(|p| p.1)
            .collect();
        assert_eq!(ports, ["[20000-20119]", "[20120-20239]", "[20240-20359]"]);
        assert_eq!(planned.nodes[0].address, Ipv4Addr::new(127, 0, 1, 1));
    }

    #[test]
    fn command_lines_are_the_daemons_contract() {
        let planned = cluster(Isolation::Namespaces);
        let layout = Layout::at("/r".into(), "/d".into());
        assert_eq!(
            planned.daemon_arguments(&planned.nodes[0], &layout).join(" "),
            "master --node-name master1 --cluster dcos --ip 10.200.0.11 --data-dir /d/nodes/master1/data \
             --pki-dir /d/nodes/master1/pki --log-format text --http-port 80 --peers master1=10.200.0.11"
        );
        let agent = planned.daemon_arguments(&planned.nodes[3], &layout).join(" ");
        assert!(agent.starts_with("agent --node-name public1 "), "{agent}");
        assert!(agent.contains(" --masters 10.200.0.11 --cgroup-root /dcosd-dcos/public1 "), "{agent}");
        assert!(agent.contains(" --insecure-registries 127.0.0.1:5000 "), "{agent}");
        assert!(agent.ends_with(" --public"), "{agent}");
    }

    #[test]
    fn bad_names_and_sizes_say_what_is_allowed() {
        for name in ["", "Upper", "a/b", "..", "9a", &"x".repeat(33)] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.contains("allowed are"), "{message}");
        }
        check_name("dcos-2").unwrap();
        let message = Sizes { masters: 2, ..Sizes::default() }.check().unwrap_err().to_string();
        assert_eq!(message, "--masters 2: allowed are 1, 3 and 5");
        let message = cluster(Isolation::Plain).node("x").unwrap_err().to_string();
        assert_eq!(message, "unknown node \"x\"; nodes are: master1, agent1, agent2, public1");
    }
}
