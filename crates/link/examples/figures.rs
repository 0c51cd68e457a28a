//! Prints the link's figures: memory per idle connection, handshakes and messages per second.
//!
//! `cargo run --release -p link --example figures [connections]`; the client runs as a
//! process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::pki::ClusterCa;
use link::{Conn, Identity, Listener, Options, Role, connect, memory_pair};
use model::Time;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const MESSAGES: u64 = 200_000;

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
}

fn rss_kib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}

/// User and system time of this process in milliseconds, from the kernel's ticks of 10 ms.
fn cpu_ms() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64, Failure> { Ok(fields.get(index).ok_or("short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) * 10.0)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("client") => {
            let address: SocketAddr = args.next().ok_or("address")?.parse()?;
            let dir: PathBuf = args.next().ok_or("dir")?.into();
            client(address, dir, args.next().ok_or("count")?.parse()?).await
        }
        count => server(count.map_or(Ok(1_000), str::parse)?).await,
    }
}

async fn server(count: usize) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("link-figures-{}", std::process::id()));
    let now = Time::from_millis(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
    let year = Duration::from_secs(365 * 86_400);
    let ca = ClusterCa::create(dir.join("ca"), now, year)?;
    ca.issue(&"agent:a1".parse()?, &[], now, year)?.write(dir.join("agent"))?;
    let master = ca.issue(&"master:m1".parse()?, &[], now, year)?.identity()?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = Listener::bind(address, master, &[Role::Agent], Options::default()).await?;

    let before = rss_kib()?;
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["client", &listener.local_addr().to_string()])
        .arg(dir.join("agent"))
        .arg(count.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut conns: Vec<Conn<Event, Event>> = Vec::new();
    while conns.len() < count {
        conns.push(listener.accept().await?);
    }
    println!("{count} TLS connections accepted in {:.2} s", began.elapsed().as_secs_f64());
    // Readers run, as in a master, so that heartbeats are taken in.
    let mut first = conns.pop().ok_or("no connection")?;
    let mut held = Vec::new();
    for conn in conns {
        let Conn { sender, mut receiver, .. } = conn;
        held.push(sender);
        tokio::spawn(async move { while receiver.recv().await.is_ok() {} });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!(
        "server: {:.1} KiB per idle TLS connection, its reading task included",
        (rss_kib()? - before) / count as f64
    );
    let cpu = cpu_ms()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("server: {:.2} % CPU for {count} idle connections", (cpu_ms()? - cpu) / 50.0);

    let (began, cpu) = (Instant::now(), cpu_ms()?);
    let flood = first.sender.clone();
    let event = Event { body: vec![7; 200] };
    for _ in 0..MESSAGES {
        flood.send(&event).await?;
    }
    // The client answers once it has them all.
    first.receiver.recv().await?;
    let wall = began.elapsed().as_secs_f64();
    println!(
        "one connection: {:.0} messages of 200 bytes/s, {:.2} us CPU each on the sending side",
        MESSAGES as f64 / wall,
        (cpu_ms()? - cpu) * 1e3 / MESSAGES as f64
    );
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"end\n")?;
    }
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            println!("{}", line?);
        }
    }
    child.wait()?;
    drop(held);
    in_memory(count).await?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

async fn client(address: SocketAddr, dir: PathBuf, count: usize) -> Result<(), Failure> {
    let identity = Identity::load(dir)?;
    let options = Options::default();
    let before = rss_kib()?;
    for _ in 0..count {
        let Conn { sender, mut receiver, .. } =
            connect::<Event, Event>(address, &identity, Role::Master, &options).await?;
        tokio::spawn(async move {
            let mut received = 0;
            while receiver.recv().await.is_ok() {
                received += 1;
                if received == MESSAGES && sender.send(&Event::default()).await.is_err() {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("client: {:.1} KiB per idle TLS connection", (rss_kib()? - before) / count as f64);
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

async fn in_memory(count: usize) -> Result<(), Failure> {
    let before = rss_kib()?;
    let mut held = Vec::new();
    for _ in 0..count * 10 {
        let (near, far) =
            memory_pair::<Event, Event>("agent:a1".parse()?, "master:m1".parse()?, &Options::default())
                .await?;
        for conn in [near, far] {
            let Conn { sender, mut receiver, .. } = conn;
            held.push(sender);
            tokio::spawn(async move { while receiver.recv().await.is_ok() {} });
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!(
        "in memory: {:.2} KiB per idle end, its reading task included",
        (rss_kib()? - before) / held.len() as f64
    );
    Ok(())
}
