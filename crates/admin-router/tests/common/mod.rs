//! A door on loopback with a resolver whose answers the test sets, and a raw client that
//! sees every byte.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admin_router::{AdminRouter, AgentAddress, Config, Leader, Resolver, Upstream};
use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct View {
    pub agents: Option<HashMap<String, SocketAddr>>,
    pub mesos: Option<Upstream>,
    pub marathon: Option<Upstream>,
    pub leader: Leader,
}

impl Default for View {
    fn default() -> Self {
        View { agents: Some(HashMap::new()), mesos: None, marathon: None, leader: Leader::This }
    }
}

pub struct Fixed(pub Mutex<View>);

impl Fixed {
    fn view(&self) -> View {
        self.0.lock().unwrap().clone()
    }
}

impl Resolver for Fixed {
    fn agent(&self, id: &str) -> AgentAddress {
        match self.view().agents {
            None => AgentAddress::NoView,
            Some(agents) => agents.get(id).map_or(AgentAddress::Unknown, |a| AgentAddress::Known(*a)),
        }
    }
    fn mesos(&self) -> Option<Upstream> {
        self.view().mesos
    }
    fn marathon(&self) -> Option<Upstream> {
        self.view().marathon
    }
    fn leader(&self) -> Leader {
        self.view().leader
    }
}

pub struct Door {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Door {
    pub async fn open(view: View) -> Door {
        Door::with(Config::default(), view).await
    }

    pub async fn with(config: Config, view: View) -> Door {
        let config = Config { http_port: 0, ..config };
        let listening = AdminRouter::new(config, Arc::new(Fixed(Mutex::new(view)))).listen().await.unwrap();
        let addr = listening.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listening.serve(async { _ = stopped.await }));
        Door { addr, stop: Some(stop), serving }
    }

    /// Asks the door to close and waits until it has.
    pub async fn close(mut self) {
        self.begin_close();
        tokio::time::timeout(PATIENCE, &mut self.serving).await.expect("the door closes").unwrap();
    }

    pub fn begin_close(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.addr).await.unwrap(), seen: Vec::new() }
    }

    /// One request with `Connection: close`; the whole answer.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut wire = self.connect().await;
        wire.send(request.replace('\n', "\r\n").as_bytes()).await;
        wire.answer().await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\nHost: door.test\nConnection: close\n\n")).await
    }
}

/// A connection of which the test sees each byte.
pub struct Wire {
    pub stream: TcpStream,
    pub seen: Vec<u8>,
}

impl Wire {
    pub async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the peer reads").unwrap();
    }

    /// Reads until `mark` was seen.
    pub async fn until(&mut self, mark: &str) -> String {
        let read = async {
            while !String::from_utf8_lossy(&self.seen).contains(mark) {
                let count = self.stream.read_buf(&mut self.seen).await.unwrap();
                assert!(count > 0, "closed before {mark:?}; seen {:?}", String::from_utf8_lossy(&self.seen));
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{mark:?} did not come"));
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads to the end of the connection.
    pub async fn answer(&mut self) -> Answer {
        let read = async {
            // A reset after the answer is an end as well.
            while self.stream.read_buf(&mut self.seen).await.is_ok_and(|count| count > 0) {}
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
        let text = String::from_utf8_lossy(&self.seen).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Answer { head: head.to_owned(), body: body.to_owned() }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Serves `router` on loopback for the rest of the test.
pub async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

/// An address on which nothing listens.
pub async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
