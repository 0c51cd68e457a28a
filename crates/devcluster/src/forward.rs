//! Forwards TCP connections from one network namespace into another.
//!
//! Responsible for a bounded number of two-way byte streams. Not for what is in
//! them. A socket belongs for ever to the namespace of the thread that created
//! it, so a small thread inside the target namespace makes sockets in advance
//! and everything else happens on an ordinary runtime. Invariant: never more
//! than the given number of connections; further ones wait in the kernel's queue.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::error::{Result, system};
use crate::namespaces;

/// Sockets made ahead of need.
const SOCKETS_READY: usize = 4;
const CONNECT_WAIT: Duration = Duration::from_secs(2);
const COPY_BUFFER_BYTES: usize = 16 * 1024;
const REFUSAL_READ_MAX: u64 = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Unconnected sockets of one network namespace.
#[derive(Debug)]
pub struct Sockets(Mutex<mpsc::Receiver<TcpSocket>>);

impl Sockets {
    /// Sockets of the namespace in which the calling thread is now.
    pub fn here() -> Result<Sockets> {
        let (sender, receiver) = mpsc::channel(SOCKETS_READY);
        // A thread starts in the namespaces of the one that starts it.
        std::thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || make_sockets(&sender))
            .map_err(system("starting a thread"))?;
        Ok(Sockets(Mutex::new(receiver)))
    }

    /// Sockets of the network namespace kept at `path`.
    pub fn inside(path: &Path) -> Result<Sockets> {
        namespaces::inside(path, Sockets::here)
    }

    async fn connect(&self, target: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = self.0.lock().await.recv().await;
        let socket = socket.ok_or_else(|| std::io::Error::other("no sockets in this namespace"))?;
        match tokio::time::timeout(CONNECT_WAIT, socket.connect(target)).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

fn make_sockets(sender: &mpsc::Sender<TcpSocket>) {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) {
            Ok(socket) => {
                if sender.blocking_send(TcpSocket::from_std_stream(socket.into())).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot make a socket");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// One place to which connections may go.
#[derive(Debug)]
pub struct Target {
    pub sockets: Arc<Sockets>,
    pub address: SocketAddrV4,
}

/// A forwarder's settings.
#[derive(Debug)]
pub struct Forward {
    /// Tried in turn, beginning with the one that accepted last.
    pub targets: Vec<Target>,
    pub connections_max: usize,
    /// Sent to a client when no target accepts.
    pub refusal: Option<String>,
}

impl Forward {
    /// Forwards for ever what `listener` accepts.
    pub async fn serve(self, listener: TcpListener) {
        let limit = Arc::new(Semaphore::new(self.connections_max));
        let shared = Arc::new((self, AtomicUsize::new(0)));
        loop {
            let Ok(permit) = limit.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((client, _)) => {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        shared.0.carry(client, &shared.1).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn carry(&self, mut client: TcpStream, last: &AtomicUsize) {
        let first = last.load(Ordering::Relaxed);
        for step in 0..self.targets.len() {
            let index = (first + step) % self.targets.len();
            let Some(target) = self.targets.get(index) else { continue };
            if let Ok(mut server) = target.sockets.connect(target.address.into()).await {
                last.store(index, Ordering::Relaxed);
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                let sizes = COPY_BUFFER_BYTES;
                let _ = copy_bidirectional_with_sizes(&mut client, &mut server, sizes, sizes).await;
                return;
            }
        }
        if let Some(text) = &self.refusal {
            refuse(client, text).await;
        }
    }
}

/// Answers a client that speaks HTTP; its request is read, or the answer would be lost with the connection.
async fn refuse(mut client: TcpStream, text: &str) {
    let answer = format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let exchange = async {
        client.write_all(answer.as_bytes()).await?;
        client.shutdown().await?;
        let mut rest = client.take(REFUSAL_READ_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(CONNECT_WAIT, exchange).await;
}

/// A runtime for forwarders: one thread is enough for a development cluster.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("starting a runtime"))
}

/// Makes a listening socket usable on a runtime.
pub fn listener(socket: std::net::TcpListener) -> std::io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
