//! Simulated agents: each has a connection of its own, and runs every task at once by
//! saying so.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::{AgentFrame, MasterFrame};
use anyhow::{Context, Result, bail};
use clap::Args;
use link::pki::ClusterCa;
use link::{Conn, PeerIdentity, Role};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::{
    AgentId, AgentInfo, ContainerStatus, FrameworkId, Resources, Rng, Source, StatusUpdate, TaskId,
    TaskState, TaskStatus, Time, UpdateId,
};
use shell::Clock;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::{VERSION, allow_files, master};

/// Handshakes at a time.
const CONNECTING_MAX: usize = 64;
/// A day.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);
const RESOURCES: &str =
    "cpus:16;mem:65536;disk:500000;ports:[1025-2180,2182-3887,3889-5049,5052-8079,8082-32000]";

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    pki: PathBuf,
    #[arg(long)]
    agents: usize,
}

pub async fn run(options: &Options) -> Result<()> {
    allow_files(options.agents)?;
    let authority = Arc::new(ClusterCa::load(&options.pki).context("loading the authority")?);
    let clock = Clock::system();
    let (go, going) = watch::channel(false);
    let (connected_sender, mut connected) = mpsc::channel(options.agents);
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut agents = JoinSet::new();
    for number in 0..options.agents {
        let agent = Agent { number, address: options.address, clock: clock.clone(), going: going.clone() };
        let (authority, connecting) = (authority.clone(), connecting.clone());
        let connected = connected_sender.clone();
        agents.spawn(async move {
            let work = async {
                let permit = connecting.acquire_owned().await.context("connecting")?;
                let conn = agent.connect(&authority).await?;
                drop((permit, authority));
                connected.send(()).await.context("telling of it")?;
                drop(connected);
                agent.serve(conn).await
            };
            work.await.with_context(|| format!("agent {number}"))
        });
    }
    let (command_sender, mut commands) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // Nobody listens: the whole process ends.
            let _ = command_sender.blocking_send(line);
        }
    });
    let mut waiting = options.agents;
    loop {
        tokio::select! {
            Some(()) = connected.recv() => {
                waiting -= 1;
                if waiting == 0 {
                    println!("connected");
                }
            }
            Some(ended) = agents.join_next() => {
                ended.context("an agent")??;
                bail!("an agent ended by itself");
            }
            line = commands.recv() => match line.as_deref() {
                Some("register") => drop(go.send(true)),
                Some(other) => bail!("there is no command {other:?}"),
                None => return Ok(()),
            },
        }
    }
}

struct Agent {
    number: usize,
    address: SocketAddr,
    clock: Clock,
    going: watch::Receiver<bool>,
}

type Stream = Conn<AgentFrame, MasterFrame>;

impl Agent {
    async fn connect(&self, authority: &ClusterCa) -> Result<Stream> {
        let name = PeerIdentity::new(Role::Agent, format!("agent-{}", self.number)).context("its name")?;
        let issued = authority
            .issue(&name, &[Ipv4Addr::LOCALHOST.into()], self.clock.now(), VALIDITY)
            .context("its certificate")?;
        let identity = issued.identity().context("its certificate")?;
        link::connect(self.address, &identity, Role::Master, &master::link_options())
            .await
            .context("connecting")
    }

    async fn serve(mut self, conn: Stream) -> Result<()> {
        let Conn { sender, mut receiver, .. } = conn;
        let mut rng = Rng::new(self.number as u64);
        let mut registered = None;
        loop {
            let message = tokio::select! {
                frame = receiver.recv() => {
                    MasterToAgent::try_from(frame.context("receiving")?).context("reading a message")?
                }
                changed = self.going.changed(), if !*self.going.borrow() => {
                    changed.context("the end")?;
                    let register = AgentToMaster::Register(Box::new(self.registration()?));
                    sender.send(&register.into()).await.context("registering")?;
                    continue;
                }
            };
            match message {
                MasterToAgent::Registered { agent_id } => registered = Some(agent_id),
                MasterToAgent::RunTask { framework, task, .. } => {
                    let (Some(agent_id), Some(framework_id)) = (&registered, framework.id) else {
                        bail!("a task before there is an id");
                    };
                    let uuid = UpdateId(rng.next_u128());
                    let update = self.running(agent_id, framework_id, task.id, self.clock.now(), uuid);
                    sender.send(&update.into()).await.context("reporting a task")?;
                }
                MasterToAgent::Shutdown { message } => bail!("refused: {message}"),
                _ => {}
            }
        }
    }

    fn registration(&self) -> Result<Registration> {
        let [_, a, b, c] = u32::try_from(self.number).unwrap_or(u32::MAX).to_be_bytes();
        let ip = Ipv4Addr::new(10, a, b, c).to_string();
        let info = AgentInfo {
            id: None,
            hostname: ip.clone(),
            ip,
            port: 5051,
            resources: Resources::parse(RESOURCES, &model::Role::any()).context("the agent's resources")?,
            attributes: Vec::new(),
            domain: None,
            version: VERSION.to_owned(),
            capabilities: model::AgentCapability::ALL.to_vec(),
        };
        Ok(Registration {
            info,
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
            operations: Vec::new(),
            drain: None,
        })
    }

    fn running(
        &self,
        agent_id: &AgentId,
        framework_id: FrameworkId,
        task_id: TaskId,
        now: Time,
        uuid: UpdateId,
    ) -> AgentToMaster {
        let container = ContainerStatus {
            container_id: format!("{uuid}").into(),
            ip: "10.0.0.1".to_owned(),
            pid: Some(4_242),
            raw: None,
        };
        let status = TaskStatus {
            agent_id: Some(agent_id.clone()),
            uuid: Some(uuid),
            container: Some(container),
            ..TaskStatus::new(task_id, TaskState::Running, now, Source::Executor)
        };
        AgentToMaster::Update(Box::new(StatusUpdate {
            framework_id,
            agent_id: agent_id.clone(),
            status,
            latest_state: TaskState::Running,
        }))
    }
}
