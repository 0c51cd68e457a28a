//! HTTP/1.1 by hand over a loopback socket: what is really on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use mesos_proto::recordio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Serves a router until the test ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read and not used yet.
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.send_head(method, path, headers, &body.len().to_string()).await;
        self.stream.write_all(body).await.unwrap();
    }

    pub async fn send_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)], length: &str) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        read.expect("the server says nothing").is_ok_and(|count| count > 0)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub async fn head(&mut self) -> Answer {
        let status = self.line().await.expect("an answer");
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// The next chunk; empty at the end of the body.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line().await?, 16).unwrap();
        while self.buffer.len() < length + 2 {
            if !self.more().await {
                return None;
            }
        }
        let chunk = self.buffer.drain(..length + 2).take(length).collect();
        Some(chunk)
    }

    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if let Some(length) = answer.headers.get("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length && self.more().await {}
            answer.body = self.buffer.drain(..length).collect();
        } else if answer.headers.contains_key("transfer-encoding") {
            while let Some(chunk) = self.chunk().await.filter(|chunk| !chunk.is_empty()) {
                answer.body.extend(chunk);
            }
        }
        answer
    }

    /// The body of an answer whose head was read, as records.
    pub fn records(self) -> Records {
        Records { connection: self, decoder: recordio::Decoder::default(), ready: Default::default() }
    }
}

pub(crate) struct Records {
    connection: Connection,
    decoder: recordio::Decoder,
    ready: std::collections::VecDeque<Vec<u8>>,
}

impl Records {
    /// The next record; `None` when the stream has ended in order.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            let chunk = self.connection.chunk().await.expect("the stream broke");
            if chunk.is_empty() {
                self.decoder.finish().unwrap();
                return None;
            }
            self.ready.extend(self.decoder.feed(&chunk).unwrap());
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut connection = Connection::open(address).await;
    connection.send(method, path, headers, body).await;
    connection.answer().await
}
