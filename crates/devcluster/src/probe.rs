//! Asks a starting cluster whether it is there.
//!
//! Responsible for one bounded HTTP GET and for reading the two answers that
//! matter. Not a general client. Invariant: never reads more than a limit and
//! never waits longer than one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use serde::Deserialize;

const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const CONNECT_WAIT: Duration = Duration::from_secs(1);
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// An answer's status and body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Gets `path`; HTTP/1.0, so that the answer is never chunked.
pub fn get(address: SocketAddrV4, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), CONNECT_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\naccept: */*\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: answer.get(end + 4..)?.to_vec() })
}

#[derive(Deserialize)]
struct Slaves {
    slaves: Vec<Slave>,
}

#[derive(Deserialize)]
struct Slave {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    pid: String,
    #[serde(default)]
    active: Option<bool>,
}

/// Names and addresses under which active agents are registered.
pub fn registered(body: &[u8]) -> Option<BTreeSet<String>> {
    let parsed: Slaves = serde_json::from_slice(body).ok()?;
    let mut names = BTreeSet::new();
    for slave in parsed.slaves.into_iter().filter(|s| s.active != Some(false)) {
        // `slave(1)@10.200.0.101:5051`
        if let Some((_, endpoint)) = slave.pid.split_once('@') {
            names.extend(endpoint.rsplit_once(':').map(|(host, _)| host.to_owned()));
        }
        names.insert(slave.hostname);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse(b"HTTP/1.1 200 OK\r\na: b\r\n\r\npong").unwrap();
        assert_eq!(answer, Answer { status: 200, body: b"pong".to_vec() });
        for nonsense in [&b""[..], b"\r\n\r\n", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parse(nonsense), None);
        }
    }

    #[test]
    fn only_active_agents_count() {
        let names = registered(
            br#"{"slaves":[{"hostname":"10.0.0.1","active":true,"pid":"slave(1)@10.0.0.9:5051"},
                {"hostname":"gone","active":false},{"hostname":"agent2"}]}"#,
        )
        .unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.9", "agent2"]);
        assert_eq!(registered(b"[]"), None);
    }
}
