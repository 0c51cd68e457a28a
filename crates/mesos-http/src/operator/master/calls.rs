//! The calls of the master's API: what each needs, and who may make it.

use mesos_proto::v1::master::Call;
use mesos_proto::v1::master::call::Type;

use crate::access::{Access, Action};

/// Every call that is known, and what its caller must be allowed to do. Calls
/// that change something are asked about again with what they are about.
pub const CALLS: &[(Type, Access)] = &[
    (Type::GetHealth, Access::Authenticated),
    (Type::GetFlags, Access::Needs(Action::ViewFlags)),
    (Type::GetVersion, Access::Authenticated),
    (Type::GetMetrics, Access::Authenticated),
    (Type::GetLoggingLevel, Access::Authenticated),
    (Type::SetLoggingLevel, Access::Needs(Action::SetLogLevel)),
    (Type::ListFiles, Access::Files),
    (Type::ReadFile, Access::Files),
    (Type::GetState, crate::access::STATE),
    (Type::GetAgents, Access::Filtered(&[Action::ViewRole])),
    (Type::GetFrameworks, Access::Filtered(&[Action::ViewFramework])),
    (Type::GetExecutors, Access::Filtered(&[Action::ViewFramework, Action::ViewExecutor])),
    (Type::GetOperations, Access::Filtered(&[Action::ViewRole])),
    (Type::GetTasks, Access::Filtered(&[Action::ViewFramework, Action::ViewTask])),
    (Type::GetRoles, Access::Filtered(&[Action::ViewRole])),
    (Type::GetWeights, Access::Filtered(&[Action::ViewRole])),
    (Type::UpdateWeights, Access::Needs(Action::UpdateWeight)),
    (Type::GetMaster, Access::Authenticated),
    (Type::Subscribe, crate::access::STATE),
    (Type::ReserveResources, Access::Needs(Action::ReserveResources)),
    (Type::UnreserveResources, Access::Needs(Action::UnreserveResources)),
    (Type::CreateVolumes, Access::Needs(Action::CreateVolume)),
    (Type::DestroyVolumes, Access::Needs(Action::DestroyVolume)),
    (Type::GrowVolume, Access::Needs(Action::ResizeVolume)),
    (Type::ShrinkVolume, Access::Needs(Action::ResizeVolume)),
    (Type::GetMaintenanceStatus, Access::Filtered(&[Action::GetMaintenanceStatus])),
    (Type::GetMaintenanceSchedule, Access::Filtered(&[Action::GetMaintenanceSchedule])),
    (Type::UpdateMaintenanceSchedule, Access::Needs(Action::UpdateMaintenanceSchedule)),
    (Type::StartMaintenance, Access::Needs(Action::StartMaintenance)),
    (Type::StopMaintenance, Access::Needs(Action::StopMaintenance)),
    (Type::DrainAgent, Access::Needs(Action::DrainAgent)),
    (Type::DeactivateAgent, Access::Needs(Action::DeactivateAgent)),
    (Type::ReactivateAgent, Access::Needs(Action::ReactivateAgent)),
    (Type::GetQuota, Access::Filtered(&[Action::GetQuota])),
    (Type::UpdateQuota, Access::Needs(Action::UpdateQuota)),
    (Type::SetQuota, Access::Needs(Action::UpdateQuota)),
    (Type::RemoveQuota, Access::Needs(Action::UpdateQuota)),
    (Type::Teardown, Access::Needs(Action::TeardownFramework)),
    (Type::MarkAgentGone, Access::Needs(Action::MarkAgentGone)),
];

pub(super) fn access(kind: Type) -> Access {
    // The test below keeps the table complete.
    CALLS.iter().find(|(known, _)| *known == kind).map_or(Access::Authenticated, |row| row.1)
}

/// The message that a call of this type must have and this one has not.
pub(super) fn missing(kind: Type, call: &Call) -> Option<String> {
    let there = match kind {
        Type::GetMetrics => call.get_metrics.is_some(),
        Type::SetLoggingLevel => call.set_logging_level.is_some(),
        Type::ListFiles => call.list_files.is_some(),
        Type::ReadFile => call.read_file.is_some(),
        Type::UpdateWeights => call.update_weights.is_some(),
        Type::ReserveResources => call.reserve_resources.is_some(),
        Type::UnreserveResources => call.unreserve_resources.is_some(),
        Type::CreateVolumes => call.create_volumes.is_some(),
        Type::DestroyVolumes => call.destroy_volumes.is_some(),
        Type::GrowVolume => call.grow_volume.is_some(),
        Type::ShrinkVolume => call.shrink_volume.is_some(),
        Type::UpdateMaintenanceSchedule => call.update_maintenance_schedule.is_some(),
        Type::StartMaintenance => call.start_maintenance.is_some(),
        Type::StopMaintenance => call.stop_maintenance.is_some(),
        Type::DrainAgent => call.drain_agent.is_some(),
        Type::DeactivateAgent => call.deactivate_agent.is_some(),
        Type::ReactivateAgent => call.reactivate_agent.is_some(),
        Type::UpdateQuota => call.update_quota.is_some(),
        Type::SetQuota => call.set_quota.is_some(),
        Type::RemoveQuota => call.remove_quota.is_some(),
        Type::Teardown => call.teardown.is_some(),
        Type::MarkAgentGone => call.mark_agent_gone.is_some(),
        Type::Unknown
        | Type::GetHealth
        | Type::GetFlags
        | Type::GetVersion
        | Type::GetLoggingLevel
        | Type::GetState
        | Type::GetAgents
        | Type::GetFrameworks
        | Type::GetExecutors
        | Type::GetOperations
        | Type::GetTasks
        | Type::GetRoles
        | Type::GetWeights
        | Type::GetMaster
        | Type::Subscribe
        | Type::GetMaintenanceStatus
        | Type::GetMaintenanceSchedule
        | Type::GetQuota => true,
    };
    // The name of the message is that of the type, in lower case.
    if there { None } else { Some(kind.as_str_name().to_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_action() {
        for number in 1..200 {
            let Ok(kind) = Type::try_from(number) else { continue };
            let rows = CALLS.iter().filter(|(known, _)| *known == kind).count();
            assert_eq!(rows, 1, "{} stands {rows} times in the table", kind.as_str_name());
        }
    }
}
