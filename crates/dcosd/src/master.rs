//! A master node put together: store, Mesos master, Marathon, Admin Router.
//!
//! The store says who leads. While this node leads it runs one term: the brains
//! loaded from the store, until a commit fails or the leadership goes. A failed
//! term is followed by a fresh load: the same code as the first start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use admin_router::{AdminRouter, AgentAddress, Leader, Resolver, Upstream};
use agent_protocol::{AgentFrame, MasterFrame};
use anyhow::{Context, bail};
use arc_swap::ArcSwapOption;
use axum::serve::ListenerExt as _;
use link::{CloseCode, CloseReason, Identity, Listener, Role as LinkRole};
use marathon::shell::SchedulerLink;
use mesos_http::{BuildInfo, Everyone, Leadership, MasterIdentity, master_router};
use mesos_master::config::{MasterConfig, MasterLimits};
use model::agent_api::AgentToMaster;
use model::{Rng, Time};
use shell::Clock;
use store::{Key, Store, Term, Txn};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::MESOS_VERSION;
use crate::cli::MasterArgs;
use crate::containers_side::chain;
use crate::stream::{self, AGENT_STREAM_PORT, ToAgent};
use crate::{asked_to_end, seed};

const MESOS_PORT: u16 = 5050;
const MARATHON_PORT: u16 = 8080;
/// Calls of Marathon that wait for the master.
const CALLS_MAX: usize = 65_536;
/// Written at the start of every term.
const BARRIER_KEY: &str = "term";
/// Pause before a term is followed by the next; doubled for each that fails at once.
const TERM_PAUSE: Duration = Duration::from_millis(100);
const TERM_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A term that lasted so long did run.
const TERM_RAN: Duration = Duration::from_secs(5);
/// What helps when records cannot be loaded; waiting does not.
const UNREADABLE: &str = "if a record cannot be read, start the version that wrote it or restore the store from a \
                          backup; in a development cluster, `dcosd dev up --fresh` begins anew";

/// The pause after a term that lasted so long, by the pause before it.
fn pause_after(ran: Duration, before: Duration) -> Duration {
    if ran >= TERM_RAN { TERM_PAUSE } else { (before * 2).clamp(TERM_PAUSE, TERM_PAUSE_MAX) }
}

/// The brains of the present term, for everyone who asks.
struct TermHandles {
    mesos: mesos_master::shell::Handle,
    marathon_router: axum::Router,
}

/// What outlives terms.
struct Node {
    args: MasterArgs,
    store: Store,
    clock: Clock,
    started: Time,
    term: ArcSwapOption<TermHandles>,
}

pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: MESOS_VERSION.to_owned(),
        build_date: "1970-01-01 00:00:00".to_owned(),
        build_time: 0.0,
        build_user: "dcosd".to_owned(),
        git_sha: None,
        git_branch: None,
        git_tag: None,
    }
}

pub async fn run(args: MasterArgs) -> anyhow::Result<()> {
    if args.peers.len() > 1 {
        bail!(
            "--peers names {} masters; this version runs one master, give one name=address",
            args.peers.len()
        );
    }
    let data_dir = &args.node.data_dir;
    std::fs::create_dir_all(data_dir).with_context(|| format!("making {}", data_dir.display()))?;
    let identity = Identity::load(&args.node.pki_dir)
        .with_context(|| format!("loading this node's certificate from {}", args.node.pki_dir.display()))?;
    let config = store::Config::single(data_dir.join("store"), args.node.ip.to_string());
    let store = Store::open(config).await.context("opening the store")?;
    let clock = Clock::system();
    let started = clock.now();
    let ip = IpAddr::V4(args.node.ip);
    let http_port = args.http_port;
    let node = Arc::new(Node { args, store, clock, started, term: ArcSwapOption::empty() });

    let listener = Listener::bind(
        SocketAddr::new(ip, AGENT_STREAM_PORT),
        identity,
        &[LinkRole::Agent],
        stream::options(),
    )
    .await
    .context("listening for agents")?;
    let mesos = bind(ip, MESOS_PORT).await?;
    let marathon = bind(ip, MARATHON_PORT).await?;
    // One for both ways in: a framework may subscribe by one and call by the other.
    let mesos_routes = mesos_router(&node);
    let door_config =
        admin_router::Config { ip, http_port, facts: facts(&node)?, ..admin_router::Config::default() };
    let door =
        AdminRouter::new(door_config, Arc::new(Door { node: node.clone(), mesos: mesos_routes.clone() }));
    let door = door.listen().await.context("opening Admin Router")?;
    tracing::info!(address = %door.local_addr(), "Admin Router listens");

    tokio::select! {
        result = lead(&node) => result,
        result = accept_agents(&node, listener) => result,
        result = axum::serve(mesos.tap_io(at_once), mesos_routes) => result.context("serving Mesos"),
        result = axum::serve(marathon, marathon_fallback(&node)) => result.context("serving Marathon"),
        () = door.serve(std::future::pending()) => Ok(()),
        result = asked_to_end() => result,
    }?;
    node.term.store(None);
    node.store.clone().shutdown().await;
    Ok(())
}

async fn bind(ip: IpAddr, port: u16) -> anyhow::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(SocketAddr::new(ip, port))
        .await
        .with_context(|| format!("listening on {ip}:{port}; another master may run here"))
}

fn facts(node: &Node) -> anyhow::Result<admin_router::ClusterFacts> {
    let path = node.args.node.data_dir.join("cluster-id");
    let cluster_id = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = Rng::new(seed()).uuid().to_string();
            let draft = path.with_extension("new");
            let written = std::fs::write(&draft, &id).and_then(|()| std::fs::rename(&draft, &path));
            written.with_context(|| format!("writing {}", path.display()))?;
            id
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    Ok(admin_router::ClusterFacts {
        cluster_id,
        public_ipv4: node.args.node.ip.to_string(),
        ..admin_router::ClusterFacts::default()
    })
}

// ---- terms

/// Runs one term after the other while this node leads.
async fn lead(node: &Arc<Node>) -> anyhow::Result<()> {
    let mut leadership = node.store.leadership();
    let mut pause = Duration::ZERO;
    loop {
        let term = {
            let now = leadership.wait_for(|now| now.is_me).await.context("the store has ended")?;
            now.term
        };
        tracing::info!(term = term.0, "this master leads");
        let started = tokio::time::Instant::now();
        let result = run_term(node, term, leadership.clone()).await;
        node.term.store(None);
        let ran = started.elapsed();
        pause = match result {
            Ok(()) => {
                tracing::info!(term = term.0, "the term is over");
                TERM_PAUSE
            }
            Err(error) => {
                let pause = pause_after(ran, pause);
                let again_in_ms = pause.as_millis();
                let error = format!("{error:#}");
                tracing::error!(term = term.0, error, again_in_ms, "the term failed; loading anew");
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn run_term(
    node: &Arc<Node>,
    term: Term,
    mut leadership: watch::Receiver<store::Leadership>,
) -> anyhow::Result<()> {
    let ip = node.args.node.ip.to_string();
    let config = MasterConfig {
        master_id: Rng::new(seed()).uuid().to_string(),
        cluster: node.args.node.cluster.clone(),
        hostname: ip.clone(),
        ip: ip.clone(),
        port: MESOS_PORT,
        version: MESOS_VERSION.to_owned(),
        domain: None,
        started: node.started,
        limits: MasterLimits::default(),
    };
    // A commit of an earlier term that never got its answer may still be under way:
    // what is loaded below comes after it.
    let barrier = Key::new(BARRIER_KEY).context("the barrier's key")?;
    let barrier = Txn::new().put(barrier, term.0.to_be_bytes().to_vec()).in_term(term);
    node.store.commit(barrier).await.context("settling the commits of earlier terms")?;
    let (mesos_service, mesos) = mesos_master::shell::Service::load(
        node.store.clone(),
        term,
        config,
        Rng::new(seed()),
        node.clock.clone(),
    )
    .await
    .with_context(|| format!("loading the Mesos master; {UNREADABLE}"))?;
    let (links, links_receiver) = mpsc::channel(1);
    let marathon_config = marathon::Config {
        hostname: ip.clone(),
        webui_url: Some(format!("http://{ip}:{MARATHON_PORT}")),
        ..marathon::Config::default()
    };
    let (marathon_service, marathon) = marathon::shell::Service::load(
        node.store.clone(),
        term,
        marathon_config,
        Rng::new(seed()),
        node.clock.clone(),
        links_receiver,
    )
    .await
    .with_context(|| format!("loading Marathon; {UNREADABLE}"))?;
    let marathon_router = marathon_http::router(marathon, marathon_identity(node));
    node.term.store(Some(Arc::new(TermHandles { mesos: mesos.clone(), marathon_router })));
    let over = leadership.wait_for(|now| !now.is_me || now.term != term);
    // Tasks of their own: one brain's burst must not keep the other from taking it in.
    let mut rooms = JoinSet::new();
    rooms.spawn(async move { mesos_service.run().await.context("running the Mesos master") });
    rooms.spawn(async move { marathon_service.run().await.context("running Marathon") });
    rooms.spawn(async move {
        link_marathon(mesos, links).await;
        Ok(())
    });
    let result = tokio::select! {
        ended = rooms.join_next() => match ended {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(error).context("a room of this term"),
            None => Ok(()),
        },
        _ = over => Ok(()),
    };
    rooms.shutdown().await;
    result
}

/// Marathon is a framework as any other; only its transport is a channel.
async fn link_marathon(mesos: mesos_master::shell::Handle, links: mpsc::Sender<SchedulerLink>) {
    loop {
        let (caller, events) = mesos.scheduler();
        let (calls, mut calls_receiver) = mpsc::channel(CALLS_MAX);
        if links.send(SchedulerLink { calls, events }).await.is_err() {
            return;
        }
        while let Some(call) = calls_receiver.recv().await {
            if !caller.call(call).await {
                return;
            }
        }
        caller.close().await;
    }
}

// ---- agents

async fn accept_agents(node: &Arc<Node>, mut listener: Listener) -> anyhow::Result<()> {
    loop {
        let conn = listener.accept::<MasterFrame, AgentFrame>().await.context("accepting agents")?;
        let node = node.clone();
        tokio::spawn(async move { follow_agent(&node, conn).await });
    }
}

async fn follow_agent(node: &Node, conn: link::Conn<MasterFrame, AgentFrame>) {
    let Some(term) = node.term.load_full() else {
        let reason = CloseReason::new(CloseCode::NotLeader, "this master does not lead at the moment");
        conn.sender.close(reason).await;
        return;
    };
    let name = conn.peer.to_string();
    let mut receiver = conn.receiver;
    let sender = conn.sender.clone();
    let input = term.mesos.agent(Box::new(ToAgent(conn.sender)));
    drop(term);
    loop {
        let received = tokio::select! {
            received = receiver.recv() => received,
            // An idle agent would not notice by itself that nobody listens any more.
            () = input.ended() => {
                sender.close(CloseReason::new(CloseCode::NotLeader, "the term is over")).await;
                break;
            }
        };
        match received {
            Ok(frame) => match AgentToMaster::try_from(frame) {
                Ok(message) => {
                    if !input.message(message).await {
                        let reason = CloseReason::new(CloseCode::NotLeader, "the term is over");
                        sender.close(reason).await;
                        break;
                    }
                }
                Err(error) if error.is_unknown() => {
                    tracing::warn!(
                        agent = name,
                        error = chain(&error),
                        "skipping a message of a newer agent"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        agent = name,
                        error = chain(&error),
                        "the agent's message cannot be read"
                    );
                    sender.close(CloseReason::new(CloseCode::Protocol, chain(&error))).await;
                    break;
                }
            },
            Err(error) => {
                tracing::info!(agent = name, reason = chain(&error), "an agent's stream ended");
                break;
            }
        }
    }
    input.closed().await;
}

// ---- endpoints

/// Events are small and must not wait for each other.
fn at_once(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
}

fn mesos_router(node: &Arc<Node>) -> axum::Router {
    let identity = MasterIdentity {
        build: build_info(),
        started: node.started,
        flags: BTreeMap::from([
            ("cluster".to_owned(), node.args.node.cluster.clone()),
            ("ip".to_owned(), node.args.node.ip.to_string()),
            ("hostname".to_owned(), node.args.node.ip.to_string()),
            ("port".to_owned(), MESOS_PORT.to_string()),
        ]),
        log_file: None,
        authorizer: Arc::new(Everyone),
        logging: crate::logging::level(),
    };
    let node = node.clone();
    let leadership = move || match node.term.load_full() {
        Some(term) => Leadership::Leading(Arc::new(term.mesos.clone())),
        None => Leadership::Leaderless,
    };
    master_router(leadership, identity)
}

/// Marathon's own port: the router of the present term.
fn marathon_fallback(node: &Arc<Node>) -> axum::Router {
    let node = node.clone();
    axum::Router::new().fallback(move |request: axum::extract::Request| {
        let term = node.term.load_full();
        async move {
            use axum::response::IntoResponse;
            match term {
                Some(term) => {
                    use tower::ServiceExt;
                    term.marathon_router.clone().oneshot(request).await.into_response()
                }
                None => (axum::http::StatusCode::BAD_GATEWAY, "Could not determine the current leader")
                    .into_response(),
            }
        }
    })
}

struct Door {
    node: Arc<Node>,
    mesos: axum::Router,
}

impl Resolver for Door {
    fn agent(&self, id: &str) -> AgentAddress {
        let Some(term) = self.node.term.load_full() else { return AgentAddress::NoView };
        let view = term.mesos.view();
        let found = view.agents.iter().find(|agent| agent.id.as_str() == id);
        let address =
            found.and_then(|agent| Some(SocketAddr::new(agent.info.ip.parse().ok()?, agent.info.port)));
        address.map_or(AgentAddress::Unknown, AgentAddress::Known)
    }

    fn mesos(&self) -> Option<Upstream> {
        Some(Upstream::Service(self.mesos.clone()))
    }

    fn marathon(&self) -> Option<Upstream> {
        let term = self.node.term.load_full()?;
        Some(Upstream::Service(term.marathon_router.clone()))
    }

    fn leader(&self) -> Leader {
        if self.node.term.load().is_some() { Leader::This } else { Leader::Unknown }
    }
}

fn marathon_identity(node: &Node) -> marathon_http::Identity {
    let ip = node.args.node.ip;
    marathon_http::Identity::new(format!("{ip}:{MARATHON_PORT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_fail_at_once_come_ever_more_slowly() {
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause = pause_after(Duration::from_millis(3), pause);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(pause_after(Duration::from_secs(60), pause), TERM_PAUSE, "a term that ran resets it");
    }
}
