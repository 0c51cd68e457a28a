//! A leading master on a socket of this machine, as `dcosd` puts it together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent_protocol::{AgentFrame, MasterFrame};
use anyhow::{Context, Result, bail, ensure};
use link::pki::ClusterCa;
use link::{CloseCode, CloseReason, Conn, Listener, PeerIdentity, Role, Sender};
use mesos_master::MasterConfig;
use mesos_master::config::MasterLimits;
use mesos_master::shell::{AgentStream, Handle, Service};
use model::Rng;
use model::agent_api::{AgentToMaster, MasterToAgent};
use shell::Clock;
use store::Store;
use tokio::task::JoinHandle;

use super::VERSION;

/// As in `dcosd`.
const QUEUE_FRAMES: usize = 16_384;
/// Longer than in `dcosd`: a busy machine shall show in the delay of [`Delay`], not end the run.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const DELAY_STEP: Duration = Duration::from_millis(5);
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Where the certificates of this run lie.
pub fn pki(scratch: &Path) -> PathBuf {
    scratch.join("pki")
}

pub fn link_options() -> link::Options {
    link::Options { queue_frames: QUEUE_FRAMES, timeout: SILENCE_MAX, ..link::Options::default() }
}

pub struct Master {
    pub address: SocketAddr,
    pub handle: Handle,
    ended: Option<JoinHandle<Result<()>>>,
    lost: Arc<Lost>,
}

/// Streams that broke.
#[derive(Default)]
struct Lost {
    count: AtomicUsize,
    /// They break from now on because the agents end.
    expected: AtomicBool,
}

impl Master {
    pub async fn start(scratch: &Path) -> Result<Self> {
        let clock = Clock::system();
        let now = clock.now();
        let ip = Ipv4Addr::LOCALHOST;
        let authority = ClusterCa::create(pki(scratch), now, VALIDITY).context("making an authority")?;
        let name = PeerIdentity::new(Role::Master, "master").context("naming the master")?;
        let issued = authority.issue(&name, &[ip.into()], now, VALIDITY).context("making a certificate")?;
        let identity = issued.identity().context("the master's certificate")?;

        let config = store::Config::single(scratch.join("store"), ip.to_string());
        let store = Store::open(config).await.context("opening the store")?;
        let mut leadership = store.leadership();
        let term = leadership.wait_for(|now| now.is_me).await.context("leading")?.term;
        let config = MasterConfig {
            master_id: "bench".to_owned(),
            cluster: "bench".to_owned(),
            hostname: ip.to_string(),
            ip: ip.to_string(),
            port: 5050,
            version: VERSION.to_owned(),
            domain: None,
            started: now,
            limits: MasterLimits::default(),
        };
        let (service, handle) =
            Service::load(store, term, config, Rng::new(1), clock).await.context("loading the master")?;
        let address = SocketAddr::new(ip.into(), 0);
        let listener = Listener::bind(address, identity, &[Role::Agent], link_options())
            .await
            .context("listening for agents")?;
        let address = listener.local_addr();
        let lost = Arc::new(Lost::default());
        let accepting = accept(listener, handle.clone(), lost.clone());
        let running = async move {
            tokio::select! {
                result = service.run() => result.context("running the master"),
                result = accepting => result,
            }
        };
        Ok(Self { address, handle, ended: Some(tokio::spawn(running)), lost })
    }

    /// The agents are about to end.
    pub fn release(&self) {
        self.lost.expected.store(true, Ordering::Relaxed);
    }

    /// An error when the master has ended, or has lost an agent.
    pub fn check(&mut self) -> Result<()> {
        use futures_util::FutureExt;
        let lost = self.lost.count.load(Ordering::Relaxed);
        ensure!(lost == 0, "{lost} agents' streams broke; the first is told above");
        let Some(ended) = &mut self.ended else { bail!("the master has ended") };
        match ended.now_or_never() {
            None => Ok(()),
            Some(result) => {
                self.ended = None;
                result.context("the master's task")??;
                bail!("the master has ended")
            }
        }
    }
}

/// How late a timer of the master's process comes at the worst: what a heartbeat may wait.
pub struct Delay(Arc<AtomicU64>);

impl Delay {
    pub fn start() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let written = Arc::downgrade(&worst);
        tokio::spawn(async move {
            loop {
                let begin = Instant::now();
                tokio::time::sleep(DELAY_STEP).await;
                let late = begin.elapsed().saturating_sub(DELAY_STEP);
                let Some(worst) = written.upgrade() else { return };
                worst.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self(worst)
    }

    /// In milliseconds, since it was last asked.
    pub fn worst(&self) -> f64 {
        self.0.swap(0, Ordering::Relaxed) as f64 / 1e3
    }
}

async fn accept(mut listener: Listener, handle: Handle, lost: Arc<Lost>) -> Result<()> {
    loop {
        let conn = listener.accept().await.context("accepting agents")?;
        tokio::spawn(follow(conn, handle.clone(), lost.clone()));
    }
}

async fn follow(conn: Conn<MasterFrame, AgentFrame>, handle: Handle, lost: Arc<Lost>) {
    let mut receiver = conn.receiver;
    let input = handle.agent(Box::new(ToAgent(conn.sender)));
    drop(handle);
    loop {
        let received = tokio::select! {
            received = receiver.recv() => received,
            () = input.ended() => break,
        };
        let message = match received {
            Ok(frame) => AgentToMaster::try_from(frame).map_err(|error| error.to_string()),
            Err(link::RecvError::Closed { .. }) => break,
            Err(error) => Err(error.to_string()),
        };
        match message {
            Ok(message) => {
                if !input.message(message).await {
                    break;
                }
            }
            Err(error) => {
                let first = lost.count.fetch_add(1, Ordering::Relaxed) == 0;
                if first && !lost.expected.load(Ordering::Relaxed) {
                    eprintln!("bench: an agent's stream ended: {error}");
                }
                break;
            }
        }
    }
    input.closed().await;
}

struct ToAgent(Sender<MasterFrame>);

impl AgentStream for ToAgent {
    fn try_send(&self, message: MasterToAgent) -> bool {
        self.0.try_send(&MasterFrame::from(message)).is_ok()
    }

    fn close(&self, reason: &str) {
        let (sender, reason) = (self.0.clone(), CloseReason::new(CloseCode::Other(0), reason));
        tokio::spawn(async move { sender.close(reason).await });
    }
}
