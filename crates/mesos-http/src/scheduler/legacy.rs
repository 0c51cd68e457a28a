//! The older protocol of libmesos drivers, in which master and driver post messages
//! to each other. It is not spoken here, and whoever tries is told so.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONNECTION;

use crate::routes::Call;

/// Where a driver posts its messages.
pub(crate) const PATHS: &[&str] = &[
    "/master/mesos.internal.AuthenticateMessage",
    "/master/mesos.internal.DeactivateFrameworkMessage",
    "/master/mesos.internal.ExitedExecutorMessage",
    "/master/mesos.internal.FrameworkToExecutorMessage",
    "/master/mesos.internal.KillTaskMessage",
    "/master/mesos.internal.LaunchTasksMessage",
    "/master/mesos.internal.ReconcileTasksMessage",
    "/master/mesos.internal.RegisterFrameworkMessage",
    "/master/mesos.internal.RegisterSlaveMessage",
    "/master/mesos.internal.ReregisterFrameworkMessage",
    "/master/mesos.internal.ReregisterSlaveMessage",
    "/master/mesos.internal.ResourceRequestMessage",
    "/master/mesos.internal.ReviveOffersMessage",
    "/master/mesos.internal.StatusUpdateAcknowledgementMessage",
    "/master/mesos.internal.UnregisterFrameworkMessage",
    "/master/mesos.scheduler.Call",
];

pub(crate) fn refuse(call: &Call) -> Response {
    let from = call.header("libprocess-from").or_else(|| call.header("user-agent")).unwrap_or("unknown");
    // One line for each attempt; a driver waits up to a minute between two.
    tracing::warn!(
        path = call.path,
        from,
        "a client of the libprocess (v0) protocol, which is not spoken here"
    );
    let text = format!(
        "{} belongs to the libprocess (v0) protocol of libmesos drivers, which this master does not speak. Use the v1 \
         HTTP API: POST /api/v1/scheduler. A package whose options have 'service.mesos_api_version' runs with it \
         set to 'V1'; a framework on MesosSchedulerDriver needs a release that is built on the v1 API.\n",
        call.path
    );
    // A driver never reads answers; the connection's end is what it sees.
    (StatusCode::NOT_IMPLEMENTED, [(CONNECTION, "close")], text).into_response()
}
