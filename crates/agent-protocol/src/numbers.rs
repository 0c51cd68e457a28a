//! Wire numbers of the model's enums. 0 is never used: it means "not set".
//!
//! A number is given once and for ever; the match on the model's side is
//! exhaustive, so a new variant does not compile until it has its number.

use model::{AgentCapability, Capability, DiskKind, ExecutorKind, OperationState, Reason, Source, TaskState};

/// An enum with stable wire numbers.
pub(crate) trait Numbered: Sized + Copy {
    fn number(self) -> i32;
    fn from_number(number: i32) -> Option<Self>;
}

macro_rules! numbered {
    ($enum:ident { $($variant:ident = $number:literal),+ $(,)? }) => {
        impl Numbered for $enum {
            fn number(self) -> i32 {
                match self { $(Self::$variant => $number),+ }
            }

            fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        #[cfg(test)]
        impl Known for $enum {
            const KNOWN: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}

/// All variants that have a number.
#[cfg(test)]
pub(crate) trait Known: Sized + 'static {
    const KNOWN: &'static [Self];
}

numbered!(TaskState {
    Staging = 1,
    Starting = 2,
    Running = 3,
    Killing = 4,
    Finished = 10,
    Failed = 11,
    Killed = 12,
    Error = 13,
    Lost = 14,
    Dropped = 15,
    Unreachable = 16,
    Gone = 17,
    GoneByOperator = 18,
    Unknown = 19,
});

numbered!(Source { Master = 1, Agent = 2, Executor = 3 });

numbered!(Reason {
    AgentDisconnected = 1,
    AgentRemoved = 2,
    AgentReregistered = 3,
    AgentRestarted = 4,
    AgentUnknown = 5,
    AgentDraining = 6,
    AgentRemovedByOperator = 7,
    CommandExecutorFailed = 9,
    ContainerLaunchFailed = 10,
    ContainerLimitation = 11,
    ContainerLimitationMemory = 12,
    ContainerLimitationDisk = 13,
    ContainerPreempted = 14,
    ContainerUpdateFailed = 15,
    ExecutorRegistrationTimeout = 18,
    ExecutorReregistrationTimeout = 19,
    ExecutorTerminated = 20,
    FrameworkRemoved = 21,
    ExecutorUnregistered = 22,
    GcError = 23,
    InvalidFrameworkId = 24,
    IoSwitchboardExited = 25,
    MasterDisconnected = 26,
    MaxCompletionTimeReached = 27,
    InvalidOffers = 30,
    Reconciliation = 31,
    ResourcesUnknown = 32,
    TaskInvalid = 40,
    TaskKilledDuringLaunch = 41,
    TaskUnknown = 42,
    TaskCheckStatusUpdated = 43,
    TaskGroupInvalid = 44,
    TaskGroupUnauthorized = 45,
    TaskHealthCheckStatusUpdated = 46,
    TaskUnauthorized = 47,
});

numbered!(Capability {
    RevocableResources = 1,
    TaskKillingState = 2,
    GpuResources = 3,
    SharedResources = 4,
    PartitionAware = 5,
    MultiRole = 6,
    ReservationRefinement = 7,
    RegionAware = 8,
});

numbered!(AgentCapability {
    MultiRole = 1,
    HierarchicalRole = 2,
    ReservationRefinement = 3,
    ResourceProvider = 4,
    ResizeVolume = 5,
    AgentOperationFeedback = 6,
    AgentDraining = 7,
    TaskResourceLimits = 8,
});

numbered!(ExecutorKind { Default = 1, Custom = 2 });

numbered!(DiskKind { Path = 1, Mount = 2, Block = 3, Raw = 4 });

numbered!(OperationState {
    Unsupported = 1,
    Pending = 2,
    Finished = 3,
    Failed = 4,
    Error = 5,
    Dropped = 6,
    Unreachable = 7,
    GoneByOperator = 8,
    Recovering = 9,
    Unknown = 10,
});
