//! Sessions and attachments: output as records of `ProcessIO`, input as records
//! of calls.
//!
//! A session lives as long as its output stream: when the client goes, or the
//! output ends, the container is destroyed. Input ends with an empty piece of
//! data, which closes the standard input of a process without a terminal and does
//! nothing to one with.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use mesos_proto::media::{Body as Media, Format};
use mesos_proto::v1::agent as wire;
use mesos_proto::v1::agent::call::attach_container_input::Type as InputType;
use mesos_proto::v1::agent::process_io::{self, control, data};
use mesos_proto::{ApiMessage, recordio, v1};
use model::ContainerId;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::containers::{new_container, refused, window_size};
use super::invalid;
use super::runtime::{ContainerError, ContainerInput, ContainerRuntime, Launched, Output, OutputStream};
use crate::agent::Served;
use crate::body::{self, Records};
use crate::convert;
use crate::reply::Refusal;

/// Longest piece of output in one record.
const PIECE_BYTES_MAX: usize = 64 * 1024;

// ---- output

pub(super) async fn session(served: &Served, call: wire::Call, wanted: Media) -> Result<Response, Refusal> {
    let Some(launch) = call.launch_nested_container_session else {
        return Err(invalid("Expecting 'launch_nested_container_session' to be present"));
    };
    let mut container = new_container(launch.container_id, launch.command, launch.container)?;
    container.session = true;
    let id = container.id.clone();
    let runtime = served.identity.runtime.clone();
    // Whatever happens from here on, the container goes with its stream.
    let guard = Guard { runtime: runtime.clone(), id: id.clone(), armed: true };
    match runtime.launch(container).await {
        Ok(Launched::Now) => {}
        Ok(Launched::Before) => {
            guard.disarm();
            return Err(Refusal::bad_request(format!(
                "Container {id} runs already: choose a new id for every session"
            )));
        }
        Err(error) => {
            guard.disarm();
            return Err(match error {
                ContainerError::NotFound(parent) => {
                    Refusal::bad_request(format!("Parent container {parent} does not exist"))
                }
                ContainerError::Failed(text) => Refusal::bad_request(text),
                other => refused(other),
            });
        }
    }
    let output = runtime.attach_output(id).await.map_err(refused)?;
    Ok(stream(output, wanted, served.heartbeat, Some(guard)))
}

pub(super) async fn attach_output(
    served: &Served,
    call: wire::Call,
    wanted: Media,
) -> Result<Response, Refusal> {
    let Some(attach) = call.attach_container_output else {
        return Err(invalid("Expecting 'attach_container_output' to be present"));
    };
    let id = convert::container_id(&attach.container_id);
    let output = served.identity.runtime.attach_output(id).await.map_err(refused)?;
    Ok(stream(output, wanted, served.heartbeat, None))
}

/// Destroys the container of a session when its stream is dropped.
struct Guard {
    runtime: Arc<dyn ContainerRuntime>,
    id: ContainerId,
    armed: bool,
}

impl Guard {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (runtime, id) = (self.runtime.clone(), self.id.clone());
        // Without a runtime the process is at its end, and so are its sessions.
        let Ok(tokio) = tokio::runtime::Handle::try_current() else { return };
        tokio.spawn(async move {
            if let Err(error) = runtime.destroy(id.clone()).await {
                tracing::warn!(container = %id, %error, "the container of a session was not destroyed");
            }
        });
    }
}

struct Stream {
    output: Output,
    rest: Option<(OutputStream, Bytes)>,
    heartbeat: Interval,
    every: Duration,
    format: Format,
    /// Only held.
    _guard: Option<Guard>,
}

fn stream(output: Output, wanted: Media, every: Duration, guard: Option<Guard>) -> Response {
    let mut heartbeat = interval_at(Instant::now() + every, every);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let format = wanted.format();
    let stream = Stream { output, rest: None, heartbeat, every, format, _guard: guard };
    let records = futures_util::stream::unfold(stream, |mut stream| async move {
        let record = stream.next().await?;
        Some((record, stream))
    });
    body::stream(records, wanted.content_type(), wanted.message_content_type())
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        let piece = match self.rest.take() {
            Some(rest) => Some(rest),
            None => tokio::select! {
                biased;
                piece = self.output.recv() => Some(piece?),
                _ = self.heartbeat.tick() => None,
            },
        };
        let record = match piece {
            Some((from, mut data)) => {
                if data.len() > PIECE_BYTES_MAX {
                    self.rest = Some((from, data.split_off(PIECE_BYTES_MAX)));
                }
                data_record(from, data)
            }
            None => heartbeat_record(self.every),
        };
        Some(Bytes::from(recordio::encode(&record.to_body(self.format))))
    }
}

fn data_record(from: OutputStream, data: Bytes) -> wire::ProcessIo {
    let kind = match from {
        OutputStream::Stdout => data::Type::Stdout,
        OutputStream::Stderr => data::Type::Stderr,
    };
    wire::ProcessIo {
        r#type: Some(wire::process_io::Type::Data as i32),
        data: Some(process_io::Data { r#type: Some(kind as i32), data: Some(data) }),
        control: None,
    }
}

fn heartbeat_record(every: Duration) -> wire::ProcessIo {
    let interval = v1::DurationInfo { nanoseconds: i64::try_from(every.as_nanos()).unwrap_or(i64::MAX) };
    wire::ProcessIo {
        r#type: Some(wire::process_io::Type::Control as i32),
        data: None,
        control: Some(process_io::Control {
            r#type: Some(control::Type::Heartbeat as i32),
            tty_info: None,
            heartbeat: Some(control::Heartbeat { interval: Some(interval) }),
        }),
    }
}

// ---- input

pub(super) async fn attach_input(
    served: &Served,
    format: Format,
    first: wire::Call,
    mut records: Records,
) -> Result<Response, Refusal> {
    let attach = first.attach_container_input.unwrap_or_default();
    if attach.r#type() != InputType::ContainerId {
        return Err(Refusal::bad_request(
            "Expecting 'attach_container_input.type' to be CONTAINER_ID".to_owned(),
        ));
    }
    let Some(id) = &attach.container_id else {
        return Err(invalid("Expecting 'attach_container_input.container_id' to be present"));
    };
    let id = convert::container_id(id);
    let runtime = &served.identity.runtime;
    let Some(_held) = served.inputs.take(&id) else {
        return Err(Refusal {
            status: StatusCode::CONFLICT,
            message: "Multiple input connections are not allowed".to_owned(),
        });
    };
    let mut input = runtime.attach_input(id.clone()).await.map_err(refused)?;
    let mut ended = runtime.wait(id);
    loop {
        let record = tokio::select! {
            record = records.next() => record,
            // Nobody reads any more: the client hears so before it has sent all.
            _ = &mut ended => return Ok(StatusCode::OK.into_response()),
        };
        let record = record.map_err(|error| {
            Refusal::bad_request(format!("Failed to decode a record of the request body: {error}"))
        })?;
        // The stream's end is no end of the input: the client may attach again.
        let Some(record) = record else { return Ok(StatusCode::OK.into_response()) };
        let message = super::parse(format, &record)?;
        let io = process_io(message).map_err(Refusal::bad_request)?;
        carry_out(&mut *input, io).await?;
    }
}

/// One thing to do with the input.
#[derive(Debug, PartialEq)]
enum Io {
    Data(Bytes),
    End,
    Resize(super::runtime::WindowSize),
    Nothing,
}

async fn carry_out(input: &mut dyn ContainerInput, io: Io) -> Result<(), Refusal> {
    match io {
        Io::Nothing => Ok(()),
        Io::Data(data) => input.write(data).await.map_err(failed_write),
        Io::End if input.has_tty() => Ok(()),
        Io::End => input.close().await.map_err(failed_write),
        Io::Resize(size) => input
            .resize(size)
            .await
            .map_err(|error| Refusal::bad_request(format!("Unable to set the window size: {error}"))),
    }
}

fn failed_write(error: ContainerError) -> Refusal {
    Refusal::internal(format!("Failed writing to stdin: {error}"))
}

fn process_io(call: wire::Call) -> Result<Io, String> {
    let text = |text: &str| Err(text.to_owned());
    let Some(attach) = call.attach_container_input else {
        return text("Expecting 'attach_container_input' to be present");
    };
    if attach.r#type() != InputType::ProcessIo {
        return text("Expecting 'attach_container_input.type' to be PROCESS_IO");
    }
    let Some(io) = attach.process_io else {
        return text("Expecting 'attach_container_input.process_io' to be present");
    };
    match io.r#type() {
        process_io::Type::Unknown => text("Expecting 'process_io.type' to be DATA or CONTROL"),
        process_io::Type::Data => {
            let Some(data) = io.data else { return text("Expecting 'process_io.data' to be present") };
            if data.r#type() != data::Type::Stdin {
                return text("Expecting 'process_io.data.type' to be STDIN");
            }
            let Some(data) = data.data else {
                return text("Expecting 'process_io.data.data' to be present");
            };
            Ok(if data.is_empty() { Io::End } else { Io::Data(data) })
        }
        process_io::Type::Control => {
            let Some(control) = io.control else {
                return text("Expecting 'process_io.control' to be present");
            };
            match control.r#type() {
                control::Type::Heartbeat => Ok(Io::Nothing),
                control::Type::Unknown => {
                    text("Expecting 'process_io.control.type' to be TTY_INFO or HEARTBEAT")
                }
                control::Type::TtyInfo => {
                    let Some(tty) = control.tty_info else {
                        return text("Expecting 'process_io.control.tty_info' to be present");
                    };
                    let Some(size) = tty.window_size else {
                        return text("Expecting 'tty_info.window_size' to be present");
                    };
                    window_size(&size).map(Io::Resize)
                }
            }
        }
    }
}
