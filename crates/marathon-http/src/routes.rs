//! The route table: what is served, by which methods, with which right.
//!
//! An id in a path may have several segments, so that the table is matched by
//! our own few lines instead of a general router's rules.

use http::Method;

/// The right a caller needs, in the words of DC/OS permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    Open,
    /// `dcos:service:marathon:marathon:services:<id>` read.
    ViewServices,
    /// The same, create.
    CreateServices,
    /// The same, create or update, by whether the app exists.
    CreateOrUpdateServices,
    /// The same, update.
    UpdateServices,
    /// The same, delete.
    DeleteServices,
    /// `dcos:service:marathon:marathon:admin:config` read.
    ViewConfig,
    /// `dcos:service:marathon:marathon:admin:leader` read.
    ViewLeader,
    /// The same, update.
    UpdateLeader,
    /// `dcos:service:marathon:marathon:admin:events` read.
    ViewEvents,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Root,
    Ping,
    ListApps,
    CreateApp,
    PutApps,
    PatchApps,
    RestartApp,
    AppTasks,
    KillAppTasks,
    KillAppTask,
    AppVersions,
    AppVersion,
    GroupApps,
    ShowApp,
    PutApp,
    PatchApp,
    DeleteApp,
    ListTasks,
    KillTasks,
    ListDeployments,
    DeleteDeployment,
    Queue,
    ResetDelay,
    Info,
    Leader,
    Abdicate,
    Events,
    /// Known to the contract, not to this version.
    Missing(&'static str),
}

/// One method of one path.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// `{id}` stands for one or more segments, other braces for one.
    pub path: &'static str,
    pub access: Access,
    pub endpoint: Endpoint,
}

const fn route(method: &'static str, path: &'static str, access: Access, endpoint: Endpoint) -> Route {
    Route { method, path, access, endpoint }
}

const GROUPS: Endpoint = Endpoint::Missing("the groups API");
const PODS: Endpoint = Endpoint::Missing("pods");
const PLUGINS: Endpoint = Endpoint::Missing("plug-ins");
const METRICS: Endpoint = Endpoint::Missing("Marathon's own metrics");

/// Everything that is served; earlier rows win.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Access::Open, Endpoint::Root),
    route("GET", "/ping", Access::Open, Endpoint::Ping),
    route("GET", "/v2/apps", Access::ViewServices, Endpoint::ListApps),
    route("POST", "/v2/apps", Access::CreateServices, Endpoint::CreateApp),
    route("PUT", "/v2/apps", Access::CreateOrUpdateServices, Endpoint::PutApps),
    route("PATCH", "/v2/apps", Access::UpdateServices, Endpoint::PatchApps),
    route("POST", "/v2/apps/{id}/restart", Access::UpdateServices, Endpoint::RestartApp),
    route("GET", "/v2/apps/{id}/tasks", Access::ViewServices, Endpoint::AppTasks),
    route("DELETE", "/v2/apps/{id}/tasks", Access::UpdateServices, Endpoint::KillAppTasks),
    route("DELETE", "/v2/apps/{id}/tasks/{task}", Access::UpdateServices, Endpoint::KillAppTask),
    route("GET", "/v2/apps/{id}/versions", Access::ViewServices, Endpoint::AppVersions),
    route("GET", "/v2/apps/{id}/versions/{version}", Access::ViewServices, Endpoint::AppVersion),
    route("GET", "/v2/apps/*", Access::ViewServices, Endpoint::GroupApps),
    route("GET", "/v2/apps/{id}/*", Access::ViewServices, Endpoint::GroupApps),
    route("GET", "/v2/apps/{id}", Access::ViewServices, Endpoint::ShowApp),
    route("PUT", "/v2/apps/{id}", Access::CreateOrUpdateServices, Endpoint::PutApp),
    route("PATCH", "/v2/apps/{id}", Access::UpdateServices, Endpoint::PatchApp),
    route("DELETE", "/v2/apps/{id}", Access::DeleteServices, Endpoint::DeleteApp),
    route("GET", "/v2/tasks", Access::ViewServices, Endpoint::ListTasks),
    route("POST", "/v2/tasks/delete", Access::UpdateServices, Endpoint::KillTasks),
    route("GET", "/v2/deployments", Access::ViewServices, Endpoint::ListDeployments),
    route("DELETE", "/v2/deployments/{deployment}", Access::UpdateServices, Endpoint::DeleteDeployment),
    route("GET", "/v2/queue", Access::ViewServices, Endpoint::Queue),
    route("DELETE", "/v2/queue/{id}/delay", Access::UpdateServices, Endpoint::ResetDelay),
    route("GET", "/v2/info", Access::ViewConfig, Endpoint::Info),
    route("GET", "/v2/leader", Access::ViewLeader, Endpoint::Leader),
    route("DELETE", "/v2/leader", Access::UpdateLeader, Endpoint::Abdicate),
    route("GET", "/v2/events", Access::ViewEvents, Endpoint::Events),
    route("GET", "/v2/groups", Access::ViewServices, GROUPS),
    route("POST", "/v2/groups", Access::CreateServices, GROUPS),
    route("PUT", "/v2/groups", Access::UpdateServices, GROUPS),
    route("DELETE", "/v2/groups", Access::DeleteServices, GROUPS),
    route("GET", "/v2/groups/{id}", Access::ViewServices, GROUPS),
    route("POST", "/v2/groups/{id}", Access::CreateServices, GROUPS),
    route("PUT", "/v2/groups/{id}", Access::UpdateServices, GROUPS),
    route("DELETE", "/v2/groups/{id}", Access::DeleteServices, GROUPS),
    route("GET", "/v2/pods", Access::ViewServices, PODS),
    route("POST", "/v2/pods", Access::CreateServices, PODS),
    route("GET", "/v2/pods/{id}", Access::ViewServices, PODS),
    route("PUT", "/v2/pods/{id}", Access::UpdateServices, PODS),
    route("DELETE", "/v2/pods/{id}", Access::DeleteServices, PODS),
    route("GET", "/v2/plugins", Access::ViewConfig, PLUGINS),
    route("GET", "/metrics", Access::ViewConfig, METRICS),
    route("GET", "/metrics/prometheus", Access::ViewConfig, METRICS),
];

/// What braces stood for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params {
    /// Joined by slashes, without a leading one.
    pub id: String,
    /// The single segment of another brace.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Endpoint(Endpoint, Params),
    /// The path exists, with these methods.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

/// `path` is decoded.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(params) = matches(route.path, &segments) else { continue };
        if route.method == method {
            return Found::Endpoint(route.endpoint, params);
        }
        if !others.contains(&route.method) {
            others.push(route.method);
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

fn matches(pattern: &str, segments: &[&str]) -> Option<Params> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    // At most one part stands for several segments: it takes what the others leave.
    let spare = segments.len().checked_sub(parts.len())?;
    let mut params = Params::default();
    let mut rest = segments;
    for part in parts {
        let width = if part == "{id}" { spare + 1 } else { 1 };
        let (mine, after) = rest.split_at_checked(width)?;
        rest = after;
        match part {
            "{id}" => params.id = mine.join("/"),
            _ if part.starts_with('{') => params.name = mine.concat(),
            _ if [part] == mine => {}
            _ => return None,
        }
    }
    rest.is_empty().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, endpoint: Endpoint, id: &str, name: &str) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let params = Params { id: id.to_owned(), name: name.to_owned() };
        assert_eq!(find(&method, path), Found::Endpoint(endpoint, params), "{method} {path}");
    }

    #[test]
    fn ids_have_slashes() {
        check("GET", "/v2/apps/a/b", Endpoint::ShowApp, "a/b", "");
        check("GET", "/v2/apps//a/b/", Endpoint::ShowApp, "a/b", "");
        check("HEAD", "/v2/apps/a", Endpoint::ShowApp, "a", "");
        check("GET", "/v2/apps/a/b/tasks", Endpoint::AppTasks, "a/b", "");
        check("DELETE", "/v2/apps/a/b/tasks/t.1", Endpoint::KillAppTask, "a/b", "t.1");
        check("GET", "/v2/apps/a/versions/2019", Endpoint::AppVersion, "a", "2019");
        check("GET", "/v2/apps/a/*", Endpoint::GroupApps, "a", "");
        check("GET", "/v2/apps/*", Endpoint::GroupApps, "", "");
        check("DELETE", "/v2/apps/a/restart", Endpoint::DeleteApp, "a/restart", "");
        check("POST", "/v2/apps/a/restart", Endpoint::RestartApp, "a", "");
        check("DELETE", "/v2/queue//a/b/delay", Endpoint::ResetDelay, "a/b", "");
        check("GET", "/", Endpoint::Root, "", "");
    }

    #[test]
    fn unknown_paths_and_methods() {
        assert_eq!(find(&Method::GET, "/v2/nothing"), Found::Nothing);
        assert_eq!(find(&Method::GET, "/v2"), Found::Nothing);
        let Found::OtherMethods(others) = find(&Method::POST, "/v2/apps/a") else { panic!("another method") };
        assert_eq!(others, ["GET", "PUT", "PATCH", "DELETE"]);
    }

    #[test]
    fn every_row_is_reached() {
        for row in ROUTES {
            let path = row.path.replace("{id}", "some/app").replace(['{', '}'], "");
            let method = Method::from_bytes(row.method.as_bytes()).unwrap();
            let Found::Endpoint(endpoint, _) = find(&method, &path) else { panic!("{path} is not found") };
            assert_eq!(endpoint, row.endpoint, "{} {path} is shadowed", row.method);
        }
    }
}
