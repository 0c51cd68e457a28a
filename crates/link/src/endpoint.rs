//! Connecting and accepting: TCP, TLS, greeting.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::conn::{self, Conn};
use crate::handshake::{self, Greeted, HandshakeError, Terms};
use crate::identity::{Identity, NameError, PeerIdentity, Role};
use crate::options::Options;

/// Handshakes at one time; further connections wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;
/// Greeted connections that wait for [`Listener::accept`].
const READY_MAX: usize = 64;
/// After the kernel refused to hand out a connection, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes in flight between two ends in memory.
const MEMORY_BUFFER_BYTES: usize = 64 * 1024;

/// Why no connection to a peer came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{address} cannot be reached")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("{address} could not be trusted, or did not trust us")]
    Tls { address: SocketAddr, source: io::Error },
    #[error("the certificate of {address} does not name a node")]
    Certificate { address: SocketAddr, source: NameError },
    #[error("{address} and this node did not come together")]
    Handshake { address: SocketAddr, source: HandshakeError },
    #[error("{address} did not answer within {limit_ms} ms")]
    Timeout { address: SocketAddr, limit_ms: u128 },
}

/// Connects to a node that must have the role `expected`. Which node it is, [`Conn::peer`] says.
pub async fn connect<Tx, Rx>(
    address: SocketAddr,
    identity: &Identity,
    expected: Role,
    options: &Options,
) -> Result<Conn<Tx, Rx>, ConnectError>
where
    Tx: Message,
    Rx: Message + Default,
{
    match tokio::time::timeout(options.handshake_timeout, open(address, identity, expected, options)).await {
        Ok(opened) => opened.map(|(stream, greeted)| conn::start(stream, greeted, options)),
        Err(_) => Err(ConnectError::Timeout { address, limit_ms: options.handshake_timeout.as_millis() }),
    }
}

async fn open(
    address: SocketAddr,
    identity: &Identity,
    expected: Role,
    options: &Options,
) -> Result<(TlsStream<TcpStream>, Greeted), ConnectError> {
    let tls_error = |source| ConnectError::Tls { address, source };
    let tcp = TcpStream::connect(address).await.map_err(|source| ConnectError::Tcp { address, source })?;
    tcp.set_nodelay(true).map_err(|source| ConnectError::Tcp { address, source })?;
    let name = expected.server_name().map_err(|error| tls_error(io::Error::other(error)))?;
    let connector = TlsConnector::from(identity.client_config());
    let tls = connector.connect(name, tcp).await.map_err(tls_error)?;
    let mut stream = TlsStream::Client(tls);
    let certified = certified(&stream).map_err(|source| ConnectError::Certificate { address, source })?;
    let terms = Terms {
        me: identity.me().clone(),
        certified: Some(certified),
        allowed: vec![expected],
        initiator: true,
    };
    let greeted = handshake::greet(&mut stream, terms, options)
        .await
        .map_err(|source| ConnectError::Handshake { address, source })?;
    Ok((stream, greeted))
}

fn certified(stream: &TlsStream<TcpStream>) -> Result<PeerIdentity, NameError> {
    let (_, session) = stream.get_ref();
    let first: Option<&CertificateDer<'static>> = session.peer_certificates().and_then(|chain| chain.first());
    // Cannot happen after a mutual handshake; refused all the same.
    let first = first.ok_or_else(|| NameError::Identity { text: "no certificate".to_owned() })?;
    PeerIdentity::of_certificate(first)
}

/// Why a listener could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} cannot be listened on")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the listener has ended")]
    Ended,
}

/// Accepts nodes of the allowed roles. Strangers cost a line in the log and nothing else.
pub struct Listener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Greeted)>,
    options: Options,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    pub async fn bind(
        address: SocketAddr,
        identity: Identity,
        allowed: &[Role],
        options: Options,
    ) -> Result<Self, BindError> {
        let bind = |source| BindError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (ready_tx, ready) = mpsc::channel(READY_MAX);
        let door = Door {
            acceptor: TlsAcceptor::from(identity.server_config()),
            me: identity.me().clone(),
            allowed: allowed.to_vec(),
            options: options.clone(),
            ready: ready_tx,
        };
        let task = tokio::spawn(accept_all(listener, Arc::new(door))).abort_handle();
        Ok(Self { address, ready, options, task })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next node that has shown who it is. Cancel-safe.
    pub async fn accept<Tx, Rx>(&mut self) -> Result<Conn<Tx, Rx>, BindError>
    where
        Tx: Message,
        Rx: Message + Default,
    {
        let (stream, greeted) = self.ready.recv().await.ok_or(BindError::Ended)?;
        Ok(conn::start(stream, greeted, &self.options))
    }
}

struct Door {
    acceptor: TlsAcceptor,
    me: PeerIdentity,
    allowed: Vec<Role>,
    options: Options,
    ready: mpsc::Sender<(TlsStream<TcpStream>, Greeted)>,
}

async fn accept_all(listener: TcpListener, door: Arc<Door>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    // Dropping the set with this task ends handshakes under way.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        while tasks.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let door = Arc::clone(&door);
        tasks.spawn(async move {
            let _permit = permit;
            let limit = door.options.handshake_timeout;
            match tokio::time::timeout(limit, door.let_in(stream)).await {
                Ok(Ok(greeted)) => {
                    // The listener may be gone; then the connection closes.
                    let _ = door.ready.send(greeted).await;
                }
                Ok(Err(reason)) => tracing::warn!(%from, %reason, "a connection was refused"),
                Err(_) => {
                    tracing::warn!(%from, limit_ms = limit.as_millis(), "a connection did not greet in time")
                }
            }
        });
    }
}

impl Door {
    async fn let_in(&self, tcp: TcpStream) -> Result<(TlsStream<TcpStream>, Greeted), String> {
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = self.acceptor.accept(tcp).await.map_err(|error| error.to_string())?;
        let mut stream = TlsStream::Server(tls);
        let certified = certified(&stream).map_err(|error| error.to_string())?;
        let terms = Terms {
            me: self.me.clone(),
            certified: Some(certified),
            allowed: self.allowed.clone(),
            initiator: false,
        };
        let greeted = handshake::greet(&mut stream, terms, &self.options).await.map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        Ok((stream, greeted))
    }
}

/// Two connected ends without sockets and TLS, greeting included.
pub async fn memory_pair<A, B>(
    one: PeerIdentity,
    other: PeerIdentity,
    options: &Options,
) -> Result<(Conn<A, B>, Conn<B, A>), HandshakeError>
where
    A: Message + Default,
    B: Message + Default,
{
    let (mut near, mut far) = tokio::io::duplex(MEMORY_BUFFER_BYTES);
    let terms = |me: &PeerIdentity, peer: &PeerIdentity, initiator| Terms {
        me: me.clone(),
        certified: None,
        allowed: vec![peer.role()],
        initiator,
    };
    let (near_greeted, far_greeted) = tokio::try_join!(
        handshake::greet(&mut near, terms(&one, &other, true), options),
        handshake::greet(&mut far, terms(&other, &one, false), options),
    )?;
    Ok((conn::start(near, near_greeted, options), conn::start(far, far_greeted, options)))
}
