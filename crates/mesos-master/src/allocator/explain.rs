//! Why a framework gets no offer from an agent: every gate, with its values.
//!
//! It asks the same questions as a run does ([`super::cycle`]) and changes nothing.
//! Invariant: the first line is the one that decides.

use std::fmt::Write as _;
use std::time::Duration;

use model::{AgentId, FrameworkId, MinAllocatable, Quantities, Resource, Time, Weight};

use super::amounts::Bag;
use super::cycle::{Answer, Stage};
use super::facts::RECOVERY_WAIT_MS;
use super::rows::{Agent, Barrier, Client, Framework};
use super::tree::{Node, ROOT};
use super::{Allocator, Sorter};

/// So many of those who are served earlier are named.
const NAMED_MAX: usize = 5;

/// Lines on gates that are shut, and on those that are open.
#[derive(Default)]
struct Gates {
    shut: Vec<String>,
    open: Vec<String>,
}

impl Gates {
    fn lines(mut self) -> Vec<String> {
        self.shut.append(&mut self.open);
        self.shut
    }
}

impl Allocator {
    /// Why does this framework get no offer from this agent? The deciding reason first,
    /// then the other gates, role by role.
    pub fn explain(&self, framework_id: &FrameworkId, agent_id: &AgentId, now: Time) -> Vec<String> {
        let framework = self.known_framework(framework_id).and_then(|ix| self.frameworks.get(ix));
        let Some(framework) = framework else {
            return vec![format!("framework {framework_id} is not subscribed")];
        };
        let Some(ix) = self.agent_index.get(agent_id).copied() else {
            return vec![format!("agent {agent_id} is not registered")];
        };
        let Some(agent) = self.agents.get(ix) else { return Vec::new() };
        let mut gates = Gates::default();
        if framework.active {
            gates.open.push(format!("framework {framework_id} is connected"));
        } else {
            gates.shut.push(format!("framework {framework_id} is inactive: its scheduler is not connected"));
        }
        if agent.active {
            gates.open.push(format!("agent {agent_id} is active"));
        } else {
            gates.shut.push(format!("agent {agent_id} is inactive: disconnected, deactivated or draining"));
        }
        if self.misses_agents() && now.as_millis() < self.start + RECOVERY_WAIT_MS {
            let (back, of) = (self.agents.len(), self.expected.unwrap_or(0));
            let until = Time::from_millis(self.start + RECOVERY_WAIT_MS);
            gates.shut.push(format!(
                "nothing is offered after a failover with quota until 80 % of {of} agents are back ({back} are) or {until}"
            ));
        }
        let mut roles: Vec<(bool, Vec<String>)> = Vec::new();
        for client in &framework.clients {
            let Some(row) = self.clients.get(*client).filter(|row| row.subscribed) else { continue };
            let Some(node) = self.tree.nodes.get(row.role) else { continue };
            let of_role = self.explain_role(framework, *client, row, node, ix, agent, now.as_millis());
            let open = of_role.shut.is_empty();
            let lines = of_role.lines().into_iter().map(|line| format!("role {}: {line}", node.role));
            roles.push((open, lines.collect()));
        }
        if roles.is_empty() {
            gates.shut.push(format!("framework {framework_id} has no role"));
        }
        // The role that would get an offer, if any would, is the one to tell of.
        roles.sort_by_key(|(open, _)| !open);
        let mut lines = gates.shut;
        lines.extend(roles.into_iter().flat_map(|(_, lines)| lines));
        lines.append(&mut gates.open);
        lines
    }

    #[allow(clippy::too_many_arguments, reason = "what was looked up is not looked up twice")]
    fn explain_role(
        &self,
        framework: &Framework,
        client: u32,
        row: &Client,
        node: &Node,
        ix: u32,
        agent: &Agent,
        now: u64,
    ) -> Gates {
        let mut gates = Gates::default();
        if row.suppressed {
            gates.shut.push("suppressed by its framework; REVIVE ends that".to_owned());
        }
        match agent.barrier(framework.caps, row.hierarchical, self.options.filter_gpus) {
            Some(barrier) => gates.shut.push(self.barrier_text(barrier, agent)),
            None => gates.open.push("its capabilities allow this agent".to_owned()),
        }
        let (answer, cut) = self.answer(Stage::FairShare, now, ix, client, None);
        let mut usable = Bag::new(&agent.free.to_resources().plus(&agent.shared));
        let hidden: Vec<Resource> = usable
            .to_resources()
            .iter()
            .filter(|resource| !node.role.may_use(&resource.role()) || !framework.caps.takes(resource))
            .cloned()
            .collect();
        usable = Bag::new(&usable.to_resources().filter(|resource| !hidden.contains(resource)));
        let minimum = self.minimum_text(row, framework);
        match &answer {
            Answer::Whole | Answer::Part(_) | Answer::Barred | Answer::NoGuarantee => {}
            Answer::Nothing => {
                let mut text = format!("nothing of {} is free for it", agent.total);
                self.holders(agent, &mut text);
                gates.shut.push(text);
            }
            // Quota is told of below, as it decides.
            Answer::TooSmall(_) if cut => {}
            Answer::TooSmall(offer) => {
                gates.shut.push(format!("{} is less than {minimum}", offer.to_resources()));
            }
            Answer::Refused(offer) => {
                if let Some(filter) = agent.filter_for(client, row.epoch, offer, now) {
                    let left = Duration::from_millis(filter.until.saturating_sub(now));
                    gates.shut.push(format!(
                        "it refused {} until {} ({:.1} s from now), and there is no more than {}",
                        filter.refused.to_resources(),
                        Time::from_millis(filter.until),
                        left.as_secs_f64(),
                        offer.to_resources()
                    ));
                }
            }
        }
        if cut {
            let lines = self.quota_text(row.role, &usable);
            match &answer {
                Answer::TooSmall(offer) => {
                    let left = offer.to_resources();
                    let left = if left.is_empty() { "nothing".to_owned() } else { left.to_string() };
                    gates.shut.extend(lines);
                    gates.shut.push(format!("{left} is left of it, less than {minimum}"));
                }
                _ => gates.open.extend(lines),
            }
        } else if self.tree.quotas > 0 {
            gates.open.push("quota holds nothing of it back".to_owned());
        }
        if !hidden.is_empty() {
            let hidden: model::Resources = hidden.into_iter().collect();
            gates.open.push(format!(
                "{hidden} is free and not for it: reserved for others, or its framework lacks the capability"
            ));
        }
        if let Answer::Whole | Answer::Part(_) = &answer {
            let offer = match answer {
                Answer::Part(offer) => offer.to_resources(),
                _ => agent.free.to_resources(),
            };
            let mut text = format!("it would be offered {offer}");
            let turn = self.turn(client, ix, now);
            if turn.is_empty() {
                text.push_str("; it is first in line");
            }
            gates.open.insert(0, text);
            if !turn.is_empty() {
                gates.shut.push(turn);
            }
        }
        gates
    }

    fn barrier_text(&self, barrier: Barrier, agent: &Agent) -> String {
        match barrier {
            Barrier::Gpus => format!(
                "the agent has gpus:{}, the framework lacks GPU_RESOURCES, and --filter_gpu_resources is on",
                agent.total.scalar("gpus")
            ),
            Barrier::Region => format!(
                "the agent is in region {}, the master in {}, and the framework lacks REGION_AWARE",
                agent.region.as_deref().unwrap_or("none"),
                self.options.master_region.as_deref().unwrap_or("none")
            ),
            Barrier::MultiRole => "the framework has MULTI_ROLE, which the agent lacks".to_owned(),
            Barrier::HierarchicalRole => {
                "the role has a parent, and the agent lacks HIERARCHICAL_ROLE".to_owned()
            }
        }
    }

    fn holders(&self, agent: &Agent, text: &mut String) {
        for (at, (client, held)) in agent.held.iter().enumerate().take(NAMED_MAX) {
            let lead = if at == 0 { "; used or offered: " } else { ", " };
            let _ = write!(text, "{lead}{} by {}", held.to_resources(), self.client_name(*client));
        }
        if agent.held.len() > NAMED_MAX {
            let _ = write!(text, " and by {} more", agent.held.len() - NAMED_MAX);
        }
    }

    fn minimum_text(&self, row: &Client, framework: &Framework) -> String {
        if row.minimum.is_some() {
            return format!("what {} asks for in its offer filters", framework.id);
        }
        format!("--min_allocatable_resources ({})", alternatives(&self.options.min_allocatable))
    }

    /// What limits and guarantees take of what is usable.
    fn quota_text(&self, role: u32, usable: &Bag) -> Vec<String> {
        let mut lines = Vec::new();
        let wanted = usable.quota_quants().to_quantities();
        for (_, node) in self.tree.lineage(role) {
            let Some(quota) = &node.quota else { continue };
            let used = node.consumed().to_quantities();
            for (name, limit) in &quota.config.limits {
                let used = used.get(name).copied().unwrap_or_default();
                let more = wanted.get(name).copied().unwrap_or_default();
                if used.saturating_add(more) > *limit {
                    lines.push(format!(
                        "the quota of role {} limits {name} to {limit}, {used} are consumed",
                        node.role
                    ));
                }
            }
        }
        if !self.tree.required.is_zero() {
            let (free, missing) = (self.headroom.to_quantities(), self.tree.required.to_quantities());
            let mut short = Vec::new();
            for (name, more) in &wanted {
                let free = free.get(name).copied().unwrap_or_default();
                let missing = missing.get(name).copied().unwrap_or_default();
                if free.saturating_sub(missing) < *more {
                    short.push(format!("{name}: {free} free, {missing} missing"));
                }
            }
            if !short.is_empty() {
                let whose =
                    self.tree.nodes.iter().filter(|(_, node)| {
                        node.quota.as_ref().is_some_and(|quota| !quota.missing.is_zero())
                    });
                let whose: Vec<&str> = whose.map(|(_, node)| node.role.as_str()).take(NAMED_MAX).collect();
                lines.push(format!(
                    "held back for the guarantees of {} ({})",
                    whose.join(", "),
                    short.join("; ")
                ));
            }
        }
        lines
    }

    /// All that want offers, as their shares order them now; a run does so at its beginning.
    fn present_order(&self, of: u32, order: &mut Vec<(u32, u32)>) {
        let Some(node) = self.tree.nodes.get(of) else { return };
        let mut entries = node.entries.clone();
        entries.resort(|child| self.tree.entry_key(of, child), &|child| self.tree.entry_name(of, child));
        for entry in entries.slots() {
            if entry.ix != of {
                self.present_order(entry.ix, order);
                continue;
            }
            let mut clients = node.frameworks.clone();
            clients.resort(|client| self.client_key(client), &|client| self.client_name(client));
            order.extend(clients.slots().iter().map(|slot| (of, slot.ix)));
        }
    }

    /// Who is served before it and would take the agent; empty if nobody.
    fn turn(&self, client: u32, ix: u32, now: u64) -> String {
        if self.options.role_sorter == Sorter::Random || self.options.framework_sorter == Sorter::Random {
            return String::new();
        }
        let mut before = Vec::new();
        let mut more = 0_usize;
        let mut own = (0.0, 0.0);
        let mut order = Vec::new();
        self.present_order(ROOT, &mut order);
        for (node, other) in order {
            let (Some(node), Some(row)) = (self.tree.nodes.get(node), self.clients.get(other)) else {
                continue;
            };
            let share = self.tree.share(&row.account.held, Weight::DEFAULT);
            let top = self.tree.share(&node.tree.held, node.weight);
            if other == client {
                own = (top, share);
                break;
            }
            if let (Answer::Whole | Answer::Part(_), _) = self.answer(Stage::FairShare, now, ix, other, None)
            {
                if before.len() < NAMED_MAX {
                    let name = self.client_name(other);
                    before.push(format!("{name} in role {} (share {top:.4}, its own {share:.4})", node.role));
                } else {
                    more += 1;
                }
            }
        }
        if before.is_empty() {
            return String::new();
        }
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "not its turn: its role has share {:.4}, itself {:.4}; before it stand {}{rest}",
            own.0,
            own.1,
            before.join(", ")
        )
    }
}

fn alternatives(minimum: &MinAllocatable) -> String {
    let all = |all: &Quantities| {
        all.iter().map(|(name, quantity)| format!("{name}:{quantity}")).collect::<Vec<_>>().join(";")
    };
    minimum.iter().map(all).collect::<Vec<_>>().join("|")
}
