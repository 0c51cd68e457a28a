//! A stand-in for `dcosd`: the real `dev` commands around a daemon of a few lines.
//!
//! The master answers the two questions that `dev up` asks; agents register with
//! it. Every node answers `GET /ask?<ip>:<port>` (is that node reachable from
//! here?), `/name` (its host name), `/starts` (how often its data directory saw a
//! start) and `/daemonize` (leaves a process behind that has a session of its own).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use devcluster::cli::{self, DevArgs};
use devcluster::gateway::{self, GatewayArgs};
use devcluster::node::{self, NodeArgs};
use devcluster::probe;

const FORGET_AFTER: Duration = Duration::from_millis(1_500);
const REGISTER_EVERY: Duration = Duration::from_millis(150);

#[derive(Parser)]
enum Cli {
    Dev(DevArgs),
    DevNode(NodeArgs),
    DevGateway(GatewayArgs),
    Master(DaemonArgs),
    Agent(DaemonArgs),
}

#[derive(clap::Args)]
struct DaemonArgs {
    #[arg(long)]
    node_name: String,
    #[arg(long)]
    cluster: String,
    #[arg(long)]
    ip: std::net::Ipv4Addr,
    #[arg(long)]
    data_dir: std::path::PathBuf,
    #[arg(long)]
    pki_dir: std::path::PathBuf,
    #[arg(long, default_value_t = 80)]
    http_port: u16,
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    #[arg(long)]
    log_format: Option<String>,
    #[arg(long)]
    public: bool,
    #[arg(long, value_delimiter = ',')]
    masters: Vec<std::net::Ipv4Addr>,
    #[arg(long)]
    cgroup_root: Option<String>,
    #[arg(long, value_delimiter = ',')]
    insecure_registries: Vec<String>,
    #[arg(long)]
    resources: Option<String>,
}

type Seen = Arc<Mutex<BTreeMap<String, Instant>>>;

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Dev(args) => cli::run(args),
        Cli::DevNode(args) => node::run(&args),
        Cli::DevGateway(args) => gateway::run(&args),
        Cli::Master(args) => daemon(&args, args.http_port),
        Cli::Agent(args) => {
            // A fault a test can ask for.
            if args.data_dir.join("refuse-to-start").exists() {
                eprintln!("refusing to start");
                return ExitCode::FAILURE;
            }
            daemon(&args, 5051)
        }
    }
}

fn daemon(args: &DaemonArgs, port: u16) -> ExitCode {
    let counter = args.data_dir.join("starts");
    let starts = std::fs::read_to_string(&counter).ok().and_then(|t| t.parse().ok()).unwrap_or(0_u32) + 1;
    std::fs::write(&counter, starts.to_string()).expect("the data directory is writable");
    println!("{} starts for the {starts}th time", args.node_name);
    let seen = Seen::default();
    let own = (args.node_name.clone(), args.ip);
    for master in args.masters.clone() {
        let (name, ip) = own.clone();
        let master_port = if ip.is_loopback() { std::env::var("STUB_MASTER_PORT").ok() } else { None };
        let master_port = master_port.and_then(|p| p.parse().ok()).unwrap_or(80);
        std::thread::spawn(move || {
            loop {
                let target = std::net::SocketAddrV4::new(master, master_port);
                let _ = probe::get(target, &format!("/register?{name}={ip}"));
                std::thread::sleep(REGISTER_EVERY);
            }
        });
    }
    let listener = TcpListener::bind((args.ip, port)).expect("the address is free");
    for stream in listener.incoming().flatten() {
        let seen = seen.clone();
        std::thread::spawn(move || answer(&stream, &seen, starts));
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: &TcpStream, seen: &Seen, starts: u32) -> Option<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    while reader.read_line(&mut line).ok()? > 2 {}
    let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
    let body = match path {
        "/service/marathon/ping" => "pong".to_owned(),
        "/register" => {
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(query.to_owned(), Instant::now());
            String::new()
        }
        "/mesos/slaves" => slaves(seen),
        "/name" => std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned(),
        "/starts" => starts.to_string(),
        "/ask" => {
            let address: SocketAddr = query.parse().ok()?;
            let reached = TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok();
            reached.to_string()
        }
        "/daemonize" => daemonize()?,
        _ => "?".to_owned(),
    };
    write!(stream, "HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

fn slaves(seen: &Seen) -> String {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |entry: &str, at: &Instant| {
        let (_, ip) = entry.split_once('=').unwrap_or((entry, entry));
        let active = at.elapsed() < FORGET_AFTER;
        format!("{{\"hostname\":\"{ip}\",\"active\":{active},\"pid\":\"slave(1)@{ip}:5051\"}}")
    };
    let all: Vec<_> = seen.iter().map(|(entry, at)| one(entry, at)).collect();
    format!("{{\"slaves\":[{}]}}", all.join(","))
}

/// A grandchild in a session of its own, as a task is; prints its pid.
fn daemonize() -> Option<String> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]).stdin(Stdio::null()).process_group(0);
    let output = command.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
