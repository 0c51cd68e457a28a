//! What the bytes of the two commonest messages cost: model to bytes and back.

use std::hint::black_box;
use std::time::Duration;

use agent_protocol::{AgentFrame, MasterFrame};
use anyhow::{Context, Result};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::{ContainerStatus, Role, Source, StatusUpdate, TaskState, TaskStatus, Time, UpdateId};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};

use super::load;
use crate::report::Report;

/// Messages of one sample.
const BATCH: usize = 1_000;
const SAMPLES: usize = 50;

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Microseconds per message; what goes in is made before, what comes out is dropped inside.
fn samples<T, R>(mut input: impl FnMut() -> T, mut work: impl FnMut(T) -> R) -> Vec<f64> {
    let mut sample = || {
        let batch: Vec<T> = (0..BATCH).map(|_| input()).collect();
        let begin = cpu();
        for one in batch {
            black_box(work(one));
        }
        cpu().saturating_sub(begin).as_secs_f64() * 1e6 / BATCH as f64
    };
    sample();
    (0..SAMPLES).map(|_| sample()).collect()
}

pub fn measure(report: &mut Report) -> Result<()> {
    let framework = model::FrameworkInfo { id: Some("bench-0000".into()), ..load::info(0) };
    let task = load::plain_task("bench_app.instance-00000001._app.1", "bench-S1".into(), 31_000);
    let run =
        MasterToAgent::RunTask { framework: Box::new(framework), role: Role::any(), task: Box::new(task) };
    let bytes = MasterFrame::from(run.clone()).encode_to_vec();
    MasterToAgent::try_from(MasterFrame::decode(&*bytes)?)
        .context("the message does not survive its bytes")?;
    report.note("RunTask, size", "byte", vec![bytes.len() as f64]);
    let encoded = samples(|| run.clone(), |message| MasterFrame::from(message).encode_to_vec());
    report.note("RunTask, CPU to bytes", "us", encoded);
    let decoded = samples(|| (), |()| MasterFrame::decode(&*bytes).ok().map(MasterToAgent::try_from));
    report.note("RunTask, CPU from bytes", "us", decoded);

    let container = ContainerStatus {
        container_id: "01234567-89ab-cdef-0123-456789abcdef".into(),
        ip: "10.0.0.1".to_owned(),
        pid: Some(4_242),
        raw: None,
    };
    let update = AgentToMaster::Update(Box::new(StatusUpdate {
        framework_id: "bench-0000".into(),
        agent_id: "bench-S1".into(),
        status: TaskStatus {
            agent_id: Some("bench-S1".into()),
            uuid: Some(UpdateId(1)),
            container: Some(container),
            ..TaskStatus::new(
                "bench_app.instance-00000001._app.1".into(),
                TaskState::Running,
                Time::from_millis(1_700_000_000_000),
                Source::Executor,
            )
        },
        latest_state: TaskState::Running,
    }));
    let bytes = AgentFrame::from(update.clone()).encode_to_vec();
    AgentToMaster::try_from(AgentFrame::decode(&*bytes)?)
        .context("the message does not survive its bytes")?;
    report.note("Update, size", "byte", vec![bytes.len() as f64]);
    let encoded = samples(|| update.clone(), |message| AgentFrame::from(message).encode_to_vec());
    report.note("Update, CPU to bytes", "us", encoded);
    let decoded = samples(|| (), |()| AgentFrame::decode(&*bytes).ok().map(AgentToMaster::try_from));
    report.note("Update, CPU from bytes", "us", decoded);
    Ok(())
}
