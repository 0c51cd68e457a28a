//! Prints the store's figures: start, commits per second, latency and CPU per commit.
//!
//! `cargo run --release -p store --example figures`

use std::time::{Duration, Instant};

use store::local::{LocalHandle, LocalWrite};
use store::{Config, Key, Store, Txn};

const VALUE_BYTES: usize = 512;
const RUN: Duration = Duration::from_secs(3);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// CPU time of the whole process, kernel and user.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

struct Measured {
    latencies: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

async fn measure<F, Fut>(clients: usize, work: F) -> Result<Measured, Failure>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    let (began, cpu_began) = (Instant::now(), cpu());
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let work = work.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut number = 0;
            while began.elapsed() < RUN {
                let sent = Instant::now();
                work(client, number).await?;
                latencies.push(sent.elapsed());
                number += 1;
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(result) = tasks.join_next().await {
        latencies.extend(result??);
    }
    latencies.sort();
    Ok(Measured { latencies, wall: began.elapsed(), cpu: cpu() - cpu_began })
}

fn print(what: &str, clients: usize, measured: &Measured) {
    let count = measured.latencies.len().max(1);
    println!(
        "{what} {clients:>4} clients: {:>8.0}/s  p50 {:>8.3} ms  p99 {:>8.3} ms  CPU {:>6.1} us each",
        count as f64 / measured.wall.as_secs_f64(),
        measured.latencies[count / 2].as_secs_f64() * 1e3,
        measured.latencies[count * 99 / 100].as_secs_f64() * 1e3,
        measured.cpu.as_secs_f64() * 1e6 / count as f64,
    );
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("store-figures-{}", std::process::id()));
    let config = Config::single(dir.join("store"), "127.0.0.1:1");
    for what in ["first start", "restart"] {
        let began = Instant::now();
        let store = Store::open(config.clone()).await?;
        println!("{what}: leading after {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
        store.shutdown().await;
    }
    let store = Store::open(config.clone()).await?;
    for clients in [1, 64, 512] {
        let store = store.clone();
        let measured = measure(clients, move |client, number| {
            let store = store.clone();
            async move {
                let key = Key::new(format!("bench/{client}/{}", number % 16))?;
                store.commit(Txn::new().put(key, vec![7; VALUE_BYTES])).await?;
                Ok(())
            }
        })
        .await?;
        print("store", clients, &measured);
    }
    store.shutdown().await;
    let began = Instant::now();
    let store = Store::open(config).await?;
    println!("restart after the run: leading after {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    store.shutdown().await;

    let local = LocalHandle::open(dir.join("agent.redb")).await?;
    for clients in [1, 64, 512] {
        let local = local.clone();
        let measured = measure(clients, move |client, number| {
            let local = local.clone();
            async move {
                let key = Key::new(format!("bench/{client}/{}", number % 16))?;
                local.apply(vec![LocalWrite::Put { key, value: vec![7; VALUE_BYTES].into() }]).await?;
                Ok(())
            }
        })
        .await?;
        print("local", clients, &measured);
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
