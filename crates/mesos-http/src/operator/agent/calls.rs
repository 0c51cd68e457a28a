//! The calls of the agent's API: what each needs, who may make it, its form.

use mesos_proto::v1::agent::Call;
use mesos_proto::v1::agent::call::Type;
use mesos_proto::{ids, v1};

use crate::access::{Access, Action};

/// Every call that is known, and what its caller must be allowed to do. Calls
/// about a container without a parent need the action for standalone ones.
pub const CALLS: &[(Type, Access)] = &[
    (Type::GetHealth, Access::Authenticated),
    (Type::GetFlags, Access::Needs(Action::ViewFlags)),
    (Type::GetVersion, Access::Authenticated),
    (Type::GetMetrics, Access::Authenticated),
    (Type::GetLoggingLevel, Access::Authenticated),
    (Type::SetLoggingLevel, Access::Needs(Action::SetLogLevel)),
    (Type::ListFiles, Access::Files),
    (Type::ReadFile, Access::Files),
    (Type::GetState, Access::Filtered(&[Action::ViewFramework, Action::ViewTask, Action::ViewExecutor])),
    (Type::GetContainers, Access::Filtered(&[Action::ViewContainer, Action::ViewStandaloneContainer])),
    (Type::GetFrameworks, Access::Filtered(&[Action::ViewFramework])),
    (Type::GetExecutors, Access::Filtered(&[Action::ViewFramework, Action::ViewExecutor])),
    (Type::GetOperations, Access::Filtered(&[Action::ViewRole])),
    (Type::GetTasks, Access::Filtered(&[Action::ViewFramework, Action::ViewTask])),
    (Type::GetAgent, Access::Authenticated),
    (Type::GetResourceProviders, Access::Filtered(&[Action::ViewResourceProvider])),
    (Type::LaunchNestedContainer, Access::Needs(Action::LaunchNestedContainer)),
    (Type::WaitNestedContainer, Access::Needs(Action::WaitNestedContainer)),
    (Type::KillNestedContainer, Access::Needs(Action::KillNestedContainer)),
    (Type::RemoveNestedContainer, Access::Needs(Action::RemoveNestedContainer)),
    (Type::LaunchNestedContainerSession, Access::Needs(Action::LaunchNestedContainerSession)),
    (Type::AttachContainerInput, Access::Needs(Action::AttachContainerInput)),
    (Type::AttachContainerOutput, Access::Needs(Action::AttachContainerOutput)),
    (Type::LaunchContainer, Access::Needs(Action::LaunchNestedContainer)),
    (Type::WaitContainer, Access::Needs(Action::WaitNestedContainer)),
    (Type::KillContainer, Access::Needs(Action::KillNestedContainer)),
    (Type::RemoveContainer, Access::Needs(Action::RemoveNestedContainer)),
    (Type::AddResourceProviderConfig, Access::Needs(Action::ModifyResourceProviderConfig)),
    (Type::UpdateResourceProviderConfig, Access::Needs(Action::ModifyResourceProviderConfig)),
    (Type::RemoveResourceProviderConfig, Access::Needs(Action::ModifyResourceProviderConfig)),
    (Type::MarkResourceProviderGone, Access::Needs(Action::MarkResourceProviderGone)),
    (Type::PruneImages, Access::Needs(Action::PruneImages)),
];

/// What this very call needs.
pub(super) fn access(kind: Type, call: &Call) -> Access {
    let standalone = |id: Option<&v1::ContainerId>| id.is_some_and(|id| id.parent.is_none());
    match kind {
        Type::LaunchContainer
            if standalone(call.launch_container.as_ref().map(|call| &call.container_id)) =>
        {
            Access::Needs(Action::LaunchStandaloneContainer)
        }
        Type::WaitContainer if standalone(call.wait_container.as_ref().map(|call| &call.container_id)) => {
            Access::Needs(Action::WaitStandaloneContainer)
        }
        Type::KillContainer if standalone(call.kill_container.as_ref().map(|call| &call.container_id)) => {
            Access::Needs(Action::KillStandaloneContainer)
        }
        Type::RemoveContainer
            if standalone(call.remove_container.as_ref().map(|call| &call.container_id)) =>
        {
            Access::Needs(Action::RemoveStandaloneContainer)
        }
        // The test below keeps the table complete.
        _ => CALLS.iter().find(|(known, _)| *known == kind).map_or(Access::Authenticated, |row| row.1),
    }
}

/// What is wrong with the form, in the original's words.
pub(super) fn check(call: &Call) -> Result<Type, String> {
    if call.r#type.is_none() {
        return Err("Expecting 'type' to be present".to_owned());
    }
    let kind = call.r#type();
    let field = kind.as_str_name().to_lowercase();
    let there = match kind {
        Type::GetMetrics => call.get_metrics.is_some(),
        Type::SetLoggingLevel => call.set_logging_level.is_some(),
        Type::ListFiles => call.list_files.is_some(),
        Type::ReadFile => call.read_file.is_some(),
        Type::LaunchNestedContainer => call.launch_nested_container.is_some(),
        Type::WaitNestedContainer => call.wait_nested_container.is_some(),
        Type::KillNestedContainer => call.kill_nested_container.is_some(),
        Type::RemoveNestedContainer => call.remove_nested_container.is_some(),
        Type::LaunchNestedContainerSession => call.launch_nested_container_session.is_some(),
        Type::AttachContainerInput => call.attach_container_input.is_some(),
        Type::AttachContainerOutput => call.attach_container_output.is_some(),
        Type::LaunchContainer => call.launch_container.is_some(),
        Type::WaitContainer => call.wait_container.is_some(),
        Type::KillContainer => call.kill_container.is_some(),
        Type::RemoveContainer => call.remove_container.is_some(),
        Type::AddResourceProviderConfig => call.add_resource_provider_config.is_some(),
        Type::UpdateResourceProviderConfig => call.update_resource_provider_config.is_some(),
        Type::RemoveResourceProviderConfig => call.remove_resource_provider_config.is_some(),
        Type::MarkResourceProviderGone => call.mark_resource_provider_gone.is_some(),
        Type::PruneImages => call.prune_images.is_some(),
        // These have no message, or one that may be left out.
        Type::Unknown
        | Type::GetHealth
        | Type::GetFlags
        | Type::GetVersion
        | Type::GetLoggingLevel
        | Type::GetState
        | Type::GetContainers
        | Type::GetFrameworks
        | Type::GetExecutors
        | Type::GetOperations
        | Type::GetTasks
        | Type::GetAgent
        | Type::GetResourceProviders => true,
    };
    if !there {
        return Err(format!("Expecting '{field}' to be present"));
    }
    if let Some(id) = container_id(call, kind) {
        ids::check_container(id).map_err(|error| format!("'{field}.container_id' is invalid: {error}"))?;
        let nested = matches!(
            kind,
            Type::LaunchNestedContainer
                | Type::WaitNestedContainer
                | Type::KillNestedContainer
                | Type::RemoveNestedContainer
                | Type::LaunchNestedContainerSession
        );
        if nested && id.parent.is_none() {
            return Err(format!("Expecting '{field}.container_id.parent' to be present"));
        }
    }
    Ok(kind)
}

fn container_id(call: &Call, kind: Type) -> Option<&v1::ContainerId> {
    match kind {
        Type::LaunchNestedContainer => call.launch_nested_container.as_ref().map(|call| &call.container_id),
        Type::WaitNestedContainer => call.wait_nested_container.as_ref().map(|call| &call.container_id),
        Type::KillNestedContainer => call.kill_nested_container.as_ref().map(|call| &call.container_id),
        Type::RemoveNestedContainer => call.remove_nested_container.as_ref().map(|call| &call.container_id),
        Type::LaunchNestedContainerSession => {
            call.launch_nested_container_session.as_ref().map(|call| &call.container_id)
        }
        Type::AttachContainerOutput => call.attach_container_output.as_ref().map(|call| &call.container_id),
        Type::AttachContainerInput => {
            call.attach_container_input.as_ref().and_then(|call| call.container_id.as_ref())
        }
        Type::LaunchContainer => call.launch_container.as_ref().map(|call| &call.container_id),
        Type::WaitContainer => call.wait_container.as_ref().map(|call| &call.container_id),
        Type::KillContainer => call.kill_container.as_ref().map(|call| &call.container_id),
        Type::RemoveContainer => call.remove_container.as_ref().map(|call| &call.container_id),
        _ => None,
    }
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
