//! A stub cluster that records what it is asked, and runs of the real program against it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

type Handler = Box<dyn Fn(&str, &str) -> (u16, String) + Send + Sync>;

/// Answers fixed bodies; a key is `METHOD /path?query`.
pub struct Stub {
    pub addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    fixed: HashMap<String, (u16, String)>,
    /// Asked when nothing fixed fits.
    handler: Option<Handler>,
    asked: Mutex<Vec<String>>,
}

impl Stub {
    pub fn new(fixed: &[(&str, u16, &str)]) -> Stub {
        Stub::start(fixed, None)
    }

    pub fn start(fixed: &[(&str, u16, &str)], handler: Option<Handler>) -> Stub {
        let fixed =
            fixed.iter().map(|(key, status, body)| ((*key).into(), (*status, (*body).into()))).collect();
        let state = Arc::new(State { fixed, handler, asked: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Stub { addr, state }
    }

    /// What was asked: `METHOD target body`, in order.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests that change something.
    pub fn changes(&self) -> Vec<String> {
        self.asked().into_iter().filter(|line| !line.starts_with("GET ")).collect()
    }

    pub fn dcos(&self, args: &[&str]) -> Ran {
        self.dcos_with(args, "")
    }

    pub fn dcos_with(&self, args: &[&str], stdin: &str) -> Ran {
        run(args, &[("DCOS_URL", &format!("http://{}", self.addr))], stdin)
    }
}

fn serve(stream: &TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let mut length = 0;
    if reader.read_line(&mut first).is_err() {
        return;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let key = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let line = format!("{key} {body}").trim_end().to_owned();
    state.asked.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let (status, answer) = match (state.fixed.get(&key), &state.handler) {
        (Some(fixed), _) => fixed.clone(),
        (None, Some(handler)) => handler(&key, &body),
        (None, None) => (404, format!("404 Not Found: the stub has no `{key}`.")),
    };
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    let mut stream = stream;
    // A program that was satisfied earlier may have left.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
}

#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (code, out, err));
    }
}

/// Runs the program with nothing of the tester's environment but `vars`.
pub fn run(args: &[&str], vars: &[(&str, &str)], stdin: &str) -> Ran {
    let mut child = command(args, vars).spawn().unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn command(args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_dcos")));
    command.args(args).env_clear().envs(vars.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
