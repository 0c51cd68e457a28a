//! How a container's end reads as a task status.

use model::{Reason, TaskState};

use crate::state::{ContainerExit, ExitStatus, KillCause};

pub(crate) const PREEMPTED: &str = "Container was preempted: its revocable resources were taken back";

/// State, reason and message of a task whose container ended.
pub(crate) fn describe(
    exit: &ContainerExit,
    killed: Option<KillCause>,
) -> (TaskState, Option<Reason>, String) {
    if let Some(memory) = &exit.memory {
        return (TaskState::Failed, Some(Reason::ContainerLimitationMemory), memory.clone());
    }
    let message = match exit.status {
        ExitStatus::Code(code) => format!("Command exited with status {code}"),
        ExitStatus::Signal(signal) => format!("Command terminated with signal {}", signal_name(signal)),
        ExitStatus::Unknown => {
            "Command ended while nobody watched it (both the agent and its keeper were gone); its exit status is lost"
                .to_owned()
        }
    };
    match killed {
        None => {}
        Some(KillCause::MaxCompletionTime) => {
            return (TaskState::Failed, Some(Reason::MaxCompletionTimeReached), message);
        }
        Some(KillCause::Preempted) => {
            return (TaskState::Gone, Some(Reason::ContainerPreempted), PREEMPTED.to_owned());
        }
        Some(KillCause::Asked | KillCause::Draining | KillCause::Unhealthy) => {
            return (TaskState::Killed, None, message);
        }
    }
    match exit.status {
        ExitStatus::Code(0) => (TaskState::Finished, None, message),
        ExitStatus::Code(_) | ExitStatus::Signal(_) => (TaskState::Failed, None, message),
        ExitStatus::Unknown => (TaskState::Failed, Some(Reason::ExecutorTerminated), message),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        31 => "Bad system call",
        other => return format!("{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_as_the_original_words() {
        let exit = |status| ContainerExit { status, memory: None };
        let cases = [
            (ExitStatus::Code(0), None, TaskState::Finished, "Command exited with status 0"),
            (ExitStatus::Code(3), None, TaskState::Failed, "Command exited with status 3"),
            (ExitStatus::Signal(9), None, TaskState::Failed, "Command terminated with signal Killed"),
            (
                ExitStatus::Signal(15),
                Some(KillCause::Asked),
                TaskState::Killed,
                "Command terminated with signal Terminated",
            ),
            (
                ExitStatus::Code(0),
                Some(KillCause::MaxCompletionTime),
                TaskState::Failed,
                "Command exited with status 0",
            ),
        ];
        for (status, asked, state, text) in cases {
            let (got, _, message) = describe(&exit(status), asked);
            assert_eq!((got, message.as_str()), (state, text));
        }
        let oom =
            ContainerExit { status: ExitStatus::Signal(9), memory: Some("Memory limit exceeded".into()) };
        assert_eq!(describe(&oom, None).1, Some(Reason::ContainerLimitationMemory));
    }
}
