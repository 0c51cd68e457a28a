//! Registries for tests: Debian's `docker-registry`, and one that never answers.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::images::{Image, MANIFEST_TYPE, sha256};
use super::until;

pub struct DebianRegistry {
    /// `127.0.0.1:<port>`.
    pub address: String,
    process: Child,
    dir: tempfile::TempDir,
}

impl DebianRegistry {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A free port now; if another takes it meanwhile the start fails loudly.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            dir.path().join("data").display()
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}; install the package docker-registry"));
        let registry = Self { address, process, dir };
        until("the registry", || std::net::TcpStream::connect(&registry.address).ok()).await;
        registry
    }

    /// How often a path was asked for.
    pub fn count(&self, part: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("\"GET ") && line.contains(part)).count()
    }

    pub async fn push(&self, name: &str, tag: &str, image: &Image) {
        for blob in &image.blobs {
            let started = self.request("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"").await;
            let place = started.lines().find_map(|line| {
                let (header, value) = line.split_once(": ")?;
                header.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
            });
            let place = place.unwrap_or_else(|| panic!("no upload place in {started}"));
            let path = &place[place.find("/v2/").unwrap()..];
            let separator = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{separator}digest={}", sha256(blob));
            let done = self.request("PUT", &path, "application/octet-stream", blob).await;
            assert!(done.starts_with("HTTP/1.1 201"), "{done}");
        }
        let path = format!("/v2/{name}/manifests/{tag}");
        let done = self.request("PUT", &path, MANIFEST_TYPE, &image.manifest).await;
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }

    async fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Accepts connections and says nothing.
pub struct Hanging {
    pub address: String,
    pub connections: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Hanging {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicU32::new(0));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                open.push(stream);
            }
        });
        Self { address, connections, task }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A registry of a few fixed answers: an index, behind a token.
pub struct Guarded {
    pub address: String,
    task: tokio::task::JoinHandle<()>,
}

pub const TOKEN: &str = "let-me-in";

impl Guarded {
    /// Serves the image `guarded` as an index of two platforms.
    pub async fn start(image: &Image) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let foreign = sha256(b"not for this machine");
        let index = serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": [
            {"digest": foreign, "size": 20, "platform": {"os": "linux", "architecture": "s390x"}},
            {"digest": sha256(&image.manifest), "size": image.manifest.len(),
             "platform": {"os": "linux", "architecture": super::images::architecture()}},
        ]}))
        .unwrap();
        let mut answers = vec![("/v2/guarded/manifests/latest".to_owned(), index)];
        answers.push((format!("/v2/guarded/manifests/{}", sha256(&image.manifest)), image.manifest.clone()));
        for blob in &image.blobs {
            answers.push((format!("/v2/guarded/blobs/{}", sha256(blob)), blob.clone()));
        }
        let own = address.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &own, &answers).await;
            }
        });
        Self { address, task }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, own: &str, answers: &[(String, Vec<u8>)]) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_allowed = request.contains(&format!("authorization: bearer {TOKEN}"));
    let (status, header, body) = if path.starts_with("/token?") {
        assert!(
            path.contains("service=tests") && path.contains("scope=repository%3aguarded%3apull"),
            "{path}"
        );
        ("200 OK", String::new(), format!("{{\"token\":\"{TOKEN}\"}}").into_bytes())
    } else if !is_allowed {
        let challenge = format!(
            "Bearer realm=\"http://{own}/token\",service=\"tests\",scope=\"repository:guarded:pull\""
        );
        ("401 Unauthorized", format!("WWW-Authenticate: {challenge}\r\n"), Vec::new())
    } else {
        match answers.iter().find(|(known, _)| *known == path) {
            Some((_, body)) => ("200 OK", String::new(), body.clone()),
            None => ("404 Not Found", String::new(), Vec::new()),
        }
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}
