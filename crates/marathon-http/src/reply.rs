//! Answers and refusals, in the shapes that clients of Marathon know.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, LOCATION, PRAGMA};
use http::{HeaderName, HeaderValue, StatusCode};
use marathon::{ApiError, DeploymentRef, PathId, Violation};
use serde_json::{Value, json};

use crate::Identity;
use crate::request::encode_path;
use crate::wire::shape::ShapeError;

const DEPLOYMENT_ID: HeaderName = HeaderName::from_static("marathon-deployment-id");
const LEADER: HeaderName = HeaderName::from_static("x-marathon-leader");

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Value,
    allow: Option<String>,
}

impl Refusal {
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self { status, body, allow: None }
    }

    pub fn message(status: StatusCode, message: &str) -> Self {
        Self::json(status, json!({ "message": message }))
    }

    pub fn not_found(message: &str) -> Self {
        Self::message(StatusCode::NOT_FOUND, message)
    }

    pub fn method_not_allowed(allowed: &[&str]) -> Self {
        let allow = allowed.join(", ");
        let message = format!("this path is served by {allow} only");
        let refusal = Self::message(StatusCode::METHOD_NOT_ALLOWED, &message);
        Self { allow: Some(allow), ..refusal }
    }

    pub fn group_not_found(id: &PathId) -> Self {
        Self::not_found(&format!("Group '{id}' does not exist"))
    }

    pub fn into_response(self) -> Response {
        let mut response = answer(self.status, &self.body);
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            response.headers_mut().insert(http::header::ALLOW, allow);
        }
        response
    }
}

impl From<Vec<ShapeError>> for Refusal {
    fn from(errors: Vec<ShapeError>) -> Self {
        let errors = errors.into_iter().map(|error| (error.path, error.key));
        let body = json!({ "message": "Invalid JSON", "details": details(errors) });
        Self::json(StatusCode::UNPROCESSABLE_ENTITY, body)
    }
}

/// Errors by path, in the order of the paths.
fn details(errors: impl Iterator<Item = (String, String)>) -> Value {
    let mut by_path: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, error) in errors {
        by_path.entry(path).or_default().push(error);
    }
    by_path.into_iter().map(|(path, errors)| json!({ "path": path, "errors": errors })).collect()
}

fn invalid(violations: Vec<Violation>) -> Value {
    let errors = violations.into_iter().map(|violation| (violation.path, violation.error));
    json!({ "message": "Object is not valid", "details": details(errors) })
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        let status = match error {
            ApiError::AppNotFound(_)
            | ApiError::VersionNotFound { .. }
            | ApiError::TaskNotFound(_)
            | ApiError::DeploymentNotFound(_)
            | ApiError::NotQueued(_) => StatusCode::NOT_FOUND,
            ApiError::AppExists(_) => StatusCode::CONFLICT,
            ApiError::Locked { deployments } => {
                let ids: Vec<Value> = deployments.into_iter().map(|id| json!({ "id": id })).collect();
                return Self::json(StatusCode::CONFLICT, json!({ "message": message, "deployments": ids }));
            }
            ApiError::TooManyDeployments { .. } | ApiError::TooManyApps { .. } => StatusCode::FORBIDDEN,
            ApiError::Invalid(violations) => {
                return Self::json(StatusCode::UNPROCESSABLE_ENTITY, invalid(violations));
            }
            ApiError::Unprocessable(_) | ApiError::PlanTooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::Overloaded { .. } | ApiError::NotLeading => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::message(status, &message)
    }
}

pub(crate) fn answer(status: StatusCode, body: &Value) -> Response {
    json_bytes(status, body.to_string())
}

pub(crate) fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

fn json_bytes(status: StatusCode, text: String) -> Response {
    typed(status, "application/json", text)
}

pub(crate) fn typed(status: StatusCode, media: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn redirect(to: &'static str) -> Response {
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}

/// `created`: the app that came into being.
pub(crate) fn deployment(deployment: &DeploymentRef, created: Option<&PathId>) -> Response {
    let status = if created.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let body = json!({ "version": deployment.version.to_iso(), "deploymentId": deployment.id });
    with_deployment(answer(status, &body), deployment, created)
}

pub(crate) fn with_deployment(
    mut response: Response,
    deployment: &DeploymentRef,
    created: Option<&PathId>,
) -> Response {
    if let Ok(id) = HeaderValue::from_str(&deployment.id) {
        response.headers_mut().insert(DEPLOYMENT_ID, id);
    }
    let location = created.and_then(|id| HeaderValue::from_str(&encode_path(id.as_str())).ok());
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

pub(crate) fn with_standing_headers(mut response: Response, identity: &Identity) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "0"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("x-xss-protection"), "1; mode=block"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(leader) = HeaderValue::from_str(&format!("{}://{}", identity.scheme, identity.address)) {
        headers.insert(LEADER, leader);
    }
    response
}
