//! An agent node put together: containers, checkpoint, brain, stream, endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::{AgentFrame, MasterFrame};
use anyhow::Context;
use containers::Runtime;
use link::{Identity, Role as LinkRole};
use mesos_agent::brain::ConnId;
use mesos_agent::config::{AgentConfig, AgentLimits, ReconfigurationPolicy, Recover};
use mesos_agent::shell::{Handle, Service};
use mesos_http::{AgentIdentity, Everyone, FilesConfig, agent_router};
use model::agent_api::MasterToAgent;
use model::{AgentCapability, AgentInfo, Attribute, AttributeValue, Rng, Role};
use shell::Clock;
use store::local::LocalHandle;

use crate::cli::{self, AgentArgs};
use crate::container_calls::ContainerCalls;
use crate::containers_side::{self, ContainersSide, chain};
use crate::stream::{self, AGENT_STREAM_PORT, ToMaster};
use crate::{asked_to_end, detect, qos, seed, sweep};

/// The agent's own endpoint.
pub const AGENT_PORT: u16 = 5051;
/// The Mesos version whose behaviour is kept.
pub const MESOS_VERSION: &str = "1.7.3";
/// What the master may ask of this agent.
const CAPABILITIES: [AgentCapability; 6] = [
    AgentCapability::MultiRole,
    AgentCapability::HierarchicalRole,
    AgentCapability::ReservationRefinement,
    AgentCapability::ResizeVolume,
    AgentCapability::AgentOperationFeedback,
    AgentCapability::AgentDraining,
];
/// For the last word to the master to get out.
const LAST_WORD_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between attempts to reach a master.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(3);

pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let data_dir = &args.node.data_dir;
    std::fs::create_dir_all(data_dir).with_context(|| format!("making {}", data_dir.display()))?;
    let identity = Identity::load(&args.node.pki_dir)
        .with_context(|| format!("loading this node's certificate from {}", args.node.pki_dir.display()))?;
    let (runtime, events) = start_runtime(&args).await?;
    let config = agent_config(&args, runtime.capabilities().root)?;
    let checkpoint = LocalHandle::open(data_dir.join("agent.redb"))
        .await
        .context("opening the agent's checkpoint file")?;
    let side = Box::new(ContainersSide::new(runtime.clone(), data_dir.join("slave/volumes/marks")));
    let (service, handle) = Service::load(checkpoint, config, side, Rng::new(seed()), Clock::system())
        .await
        .context("loading the checkpoint")?;
    let recovered = containers_side::recovered(&runtime).await;
    tracing::info!(node = args.node.node_name, containers = recovered.len(), "the agent starts");
    anyhow::ensure!(
        service.recovered(recovered),
        "the first input of the agent was not the recovered containers"
    );
    let follow = tokio::spawn(containers_side::follow(events, handle.inputs()));
    let ip = IpAddr::V4(args.node.ip);
    let listener = tokio::net::TcpListener::bind(SocketAddr::new(ip, AGENT_PORT))
        .await
        .with_context(|| format!("listening on {ip}:{AGENT_PORT}; another agent may run here"))?;
    let router = http_router(&args, &handle, &runtime);
    let keep = sweep::Keep {
        delay: Duration::from_secs(args.gc_delay),
        headroom: args.gc_disk_headroom.clamp(0.0, 1.0),
    };
    let sweep = tokio::spawn(sweep::run(handle.clone(), keep));
    let thresholds = qos::Thresholds {
        minutes_5: args.qos_load_threshold_5min,
        minutes_15: args.qos_load_threshold_15min,
    };
    let qos = tokio::spawn(qos::run(handle.clone(), thresholds));
    let leave = tokio::spawn(leave_when_asked(handle.clone()));
    let connect = tokio::spawn(stay_connected(handle.clone(), identity, args.masters.clone()));
    let result = tokio::select! {
        result = service.run() => result.context("running the agent"),
        message = handle.stopped() => {
            tracing::info!(message, "the agent stops");
            tokio::time::sleep(LAST_WORD_PATIENCE).await;
            Ok(())
        }
        message = handle.refused() => Err(anyhow::anyhow!("the master refuses this agent: {message}")),
        result = axum::serve(listener, router) => result.context("serving the agent's endpoints"),
        result = asked_to_end() => result,
    };
    connect.abort();
    leave.abort();
    qos.abort();
    sweep.abort();
    follow.abort();
    result
}

async fn start_runtime(
    args: &AgentArgs,
) -> anyhow::Result<(Runtime, tokio::sync::mpsc::Receiver<containers::ContainerEvent>)> {
    let program = std::env::current_exe().context("finding this program")?;
    let data_dir = &args.node.data_dir;
    let config = containers::Config {
        cgroup_root: args.cgroup_root.clone(),
        insecure_registries: args.insecure_registries.clone(),
        default_registry: args.docker_registry.clone(),
        ..containers::Config::new(data_dir.join("runtime"), data_dir.join("images"), program)
    };
    let (runtime, events) = Runtime::start(config).await.context("starting the container runtime")?;
    for warning in &runtime.capabilities().warnings {
        tracing::warn!(warning, "this node cannot isolate tasks fully");
    }
    Ok((runtime, events))
}

fn agent_config(args: &AgentArgs, root: bool) -> anyhow::Result<AgentConfig> {
    let role = if args.public { Role::new("slave_public").context("the public role")? } else { Role::any() };
    let mut resources = detect::resources(args.resources.as_deref(), &args.node.data_dir, &role, root)?;
    resources.add(&detect::revocable(&args.revocable_resources)?);
    let mut attributes = detect::attributes(&args.attributes)?;
    if args.public {
        attributes
            .push(Attribute { name: "public_ip".to_owned(), value: AttributeValue::Text("true".to_owned()) });
    }
    let info = AgentInfo {
        id: None,
        hostname: args.node.ip.to_string(),
        ip: args.node.ip.to_string(),
        port: AGENT_PORT,
        resources,
        attributes,
        domain: None,
        version: MESOS_VERSION.to_owned(),
        capabilities: CAPABILITIES.to_vec(),
    };
    let work_dir = args.node.data_dir.join("slave").display().to_string();
    let ms = |seconds: u64| seconds.saturating_mul(1_000);
    let limits = AgentLimits {
        executor_registration_timeout_ms: ms(args.executor_registration_timeout),
        executor_reregistration_timeout_ms: ms(args.executor_reregistration_timeout),
        executor_shutdown_grace_ms: ms(args.executor_shutdown_grace_period),
        recovery_timeout_ms: ms(args.recovery_timeout),
        ..AgentLimits::default()
    };
    let reconfiguration = match args.reconfiguration_policy {
        cli::ReconfigurationPolicy::Equal => ReconfigurationPolicy::Equal,
        cli::ReconfigurationPolicy::Additive => ReconfigurationPolicy::Additive,
    };
    let recover = match args.recover {
        cli::Recover::Reconnect => Recover::Reconnect,
        cli::Recover::Cleanup => Recover::Cleanup,
    };
    Ok(AgentConfig {
        switch_user: root,
        boot_id: boot_id(),
        reconfiguration,
        recover,
        limits,
        ..AgentConfig::new(info, work_dir)
    })
}

/// SIGUSR1: the agent leaves the cluster for good.
async fn leave_when_asked(handle: Handle) {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::user_defined1()) {
        Ok(mut leave) => {
            while leave.recv().await.is_some() {
                tracing::info!("asked to leave the cluster: ending all tasks");
                handle.unregister().await;
            }
        }
        Err(error) => tracing::warn!(%error, "SIGUSR1 will not be heard"),
    }
}

/// Another one after every start of the machine.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn http_router(args: &AgentArgs, handle: &Handle, runtime: &Runtime) -> axum::Router {
    let flags = BTreeMap::from([
        ("ip".to_owned(), args.node.ip.to_string()),
        ("hostname".to_owned(), args.node.ip.to_string()),
        ("port".to_owned(), AGENT_PORT.to_string()),
        ("work_dir".to_owned(), args.node.data_dir.join("slave").display().to_string()),
        ("default_role".to_owned(), if args.public { "slave_public".to_owned() } else { "*".to_owned() }),
        ("attributes".to_owned(), args.attributes.clone()),
        ("resources".to_owned(), args.resources.clone().unwrap_or_default()),
    ]);
    let identity = AgentIdentity {
        build: crate::master::build_info(),
        flags,
        runtime: Arc::new(ContainerCalls::new(
            runtime.clone(),
            args.node.data_dir.join("slave/containers"),
            AgentLimits::default().task_pids_max,
        )),
        authorizer: Arc::new(Everyone),
        logging: crate::logging::level(),
        executors: Some(handle.clone()),
    };
    let handle = handle.clone();
    agent_router(Arc::new(move || handle.view()), identity, FilesConfig { log_file: None })
}

/// Keeps one stream to the leading master, for ever.
async fn stay_connected(handle: Handle, identity: Identity, masters: Vec<std::net::Ipv4Addr>) {
    let mut next_conn = 1;
    let mut pause = RECONNECT_MIN;
    let mut index = 0;
    loop {
        let address = SocketAddr::new(IpAddr::V4(masters[index % masters.len()]), AGENT_STREAM_PORT);
        let options = stream::options();
        match link::connect::<AgentFrame, MasterFrame>(address, &identity, LinkRole::Master, &options).await {
            Ok(conn) => {
                tracing::info!(master = %conn.peer, %address, "connected to the master");
                let number = ConnId(next_conn);
                next_conn += 1;
                let registered = follow_master(&handle, number, conn).await;
                pause = if registered { RECONNECT_MIN } else { (pause * 2).min(RECONNECT_MAX) };
            }
            Err(error) => {
                tracing::warn!(%address, error = chain(&error), "cannot reach the master; trying again");
                pause = (pause * 2).min(RECONNECT_MAX);
            }
        }
        index += 1;
        tokio::time::sleep(pause).await;
    }
}

/// Until the stream ends; whether the master took us on.
async fn follow_master(handle: &Handle, number: ConnId, conn: link::Conn<AgentFrame, MasterFrame>) -> bool {
    let mut receiver = conn.receiver;
    handle.connected(number, Box::new(ToMaster(conn.sender))).await;
    let mut registered = false;
    loop {
        match receiver.recv().await {
            Ok(frame) => match MasterToAgent::try_from(frame) {
                Ok(message) => {
                    registered |= matches!(message, MasterToAgent::Registered { .. });
                    handle.message(number, message).await;
                }
                Err(error) if error.is_unknown() => {
                    tracing::warn!(error = chain(&error), "skipping a message of a newer master");
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "the master's message cannot be read");
                    break;
                }
            },
            Err(error) => {
                tracing::info!(reason = chain(&error), "the stream to the master ended");
                break;
            }
        }
    }
    handle.closed(number).await;
    registered
}
