//! The route table: every path the door answers, and what each will ask of the caller.
//!
//! Pure matching; first row wins. Not for: carrying a request out (`dispatch`). Invariant:
//! `dispatch` has no way to an upstream except through a row, so a row without an auth
//! action cannot exist. Patterns: a literal segment, `{id}`/`{name}` for one segment of
//! letters, digits and `-` (`{name}`: also `.`), a final `*` for the rest with its `/`.
//! Repeated slashes between matched segments count as one.

use http::{Method, StatusCode};

/// Which methods a row takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// GET and HEAD.
    Read,
    /// Everything that a client can send, except CONNECT and TRACE.
    Any,
}

impl Methods {
    pub fn allow(self, method: &Method) -> bool {
        match self {
            Methods::Read => matches!(*method, Method::GET | Method::HEAD),
            Methods::Any => !matches!(*method, Method::CONNECT | Method::TRACE),
        }
    }
}

/// What the caller must prove, once identity is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthAction {
    /// Anyone, also without a token.
    Open,
    /// Any valid token.
    Authenticated,
    /// A valid token with action `full` on this resource.
    Resource(&'static str),
    /// Nobody from outside: always 404.
    Internal,
}

/// What happens to a request of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Landing,
    DcosVersion,
    Metadata,
    /// To the same path with a `/` at its end, keeping the query.
    AddSlash(StatusCode),
    Marathon,
    Mesos,
    Agent,
    /// The leading master's door, as `/system/v1<rest>`.
    LeaderSystem,
    /// A service that nothing provides yet.
    NoService,
    Hidden,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub methods: Methods,
    pub pattern: &'static str,
    pub auth: AuthAction,
    pub target: Target,
}

const fn row(methods: Methods, pattern: &'static str, auth: AuthAction, target: Target) -> Route {
    Route { methods, pattern, auth, target }
}

const MARATHON: AuthAction = AuthAction::Resource("dcos:adminrouter:service:marathon");
const MESOS: AuthAction = AuthAction::Resource("dcos:adminrouter:ops:mesos");
const SLAVE: AuthAction = AuthAction::Resource("dcos:adminrouter:ops:slave");
const LEADER: AuthAction = AuthAction::Resource("dcos:adminrouter:system:leader");
const METADATA: AuthAction = AuthAction::Resource("dcos:adminrouter:ops:metadata");

/// Every route of a master's door.
pub const ROUTES: &[Route] = &[
    row(Methods::Read, "/", AuthAction::Open, Target::Landing),
    row(Methods::Read, "/dcos-metadata/dcos-version.json", AuthAction::Open, Target::DcosVersion),
    row(Methods::Read, "/metadata", METADATA, Target::Metadata),
    row(Methods::Any, "/internal/*", AuthAction::Internal, Target::Hidden),
    row(Methods::Any, "/marathon", MARATHON, Target::AddSlash(StatusCode::TEMPORARY_REDIRECT)),
    row(Methods::Any, "/marathon/*", MARATHON, Target::Marathon),
    row(Methods::Any, "/service/marathon", MARATHON, Target::AddSlash(StatusCode::MOVED_PERMANENTLY)),
    row(Methods::Any, "/service/marathon/*", MARATHON, Target::Marathon),
    row(
        Methods::Any,
        "/service/{name}",
        AuthAction::Authenticated,
        Target::AddSlash(StatusCode::MOVED_PERMANENTLY),
    ),
    row(Methods::Any, "/service/*", AuthAction::Authenticated, Target::NoService),
    row(Methods::Any, "/mesos", MESOS, Target::AddSlash(StatusCode::MOVED_PERMANENTLY)),
    row(Methods::Any, "/mesos/*", MESOS, Target::Mesos),
    row(Methods::Any, "/agent/{id}", SLAVE, Target::Agent),
    row(Methods::Any, "/agent/{id}/*", SLAVE, Target::Agent),
    row(Methods::Any, "/slave/{id}", SLAVE, Target::Agent),
    row(Methods::Any, "/slave/{id}/*", SLAVE, Target::Agent),
    row(Methods::Any, "/system/v1/leader/mesos/*", LEADER, Target::LeaderSystem),
    row(Methods::Any, "/system/v1/leader/marathon/*", LEADER, Target::LeaderSystem),
];

/// A path found in the table.
#[derive(Debug, Clone, Copy)]
pub struct Found<'p> {
    pub route: &'static Route,
    /// The one captured segment, if the pattern has one.
    pub captured: Option<&'p str>,
    /// What `*` stands for, beginning with exactly one `/`; `/` where there is none.
    pub rest: &'p str,
    /// The part of the path before `rest`.
    pub prefix: &'p str,
}

/// The first row whose pattern fits `path`.
pub fn find(path: &str) -> Option<Found<'_>> {
    ROUTES.iter().find_map(|route| fit(route, path))
}

fn fit<'p>(route: &'static Route, path: &'p str) -> Option<Found<'p>> {
    let mut left = path;
    let mut captured = None;
    for part in route.pattern.split('/').filter(|part| !part.is_empty()) {
        let inner = left.trim_start_matches('/');
        if part == "*" {
            let slashes = left.len() - inner.len();
            let cut = path.len() - left.len();
            return (slashes > 0).then(|| Found {
                route,
                captured,
                rest: &left[slashes - 1..],
                prefix: &path[..cut],
            });
        }
        if inner.len() == left.len() {
            return None;
        }
        let (segment, after) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
        match part {
            "{id}" if is_name(segment, "-") => captured = Some(segment),
            "{name}" if is_name(segment, "-.") => captured = Some(segment),
            literal if literal == segment => {}
            _ => return None,
        }
        left = after;
    }
    let ends = if route.pattern == "/" { left.bytes().all(|b| b == b'/') } else { left.is_empty() };
    ends.then_some(Found { route, captured, rest: "/", prefix: path })
}

fn is_name(segment: &str, also: &str) -> bool {
    !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, pattern: &str, rest: &str, captured: Option<&str>) {
        let found = find(path).unwrap_or_else(|| panic!("{path} is not in the table"));
        assert_eq!((found.route.pattern, found.rest, found.captured), (pattern, rest, captured), "{path}");
    }

    #[test]
    fn paths_find_their_rows() {
        check("/", "/", "/", None);
        check("/mesos", "/mesos", "/", None);
        check("/mesos/", "/mesos/*", "/", None);
        check("/mesos/master/state", "/mesos/*", "/master/state", None);
        check("//mesos//state", "/mesos/*", "/state", None);
        check("/service/marathon/v2/apps//web", "/service/marathon/*", "/v2/apps//web", None);
        check("/marathon/v2/apps/%2Fa%2Fb", "/marathon/*", "/v2/apps/%2Fa%2Fb", None);
        check("/agent/ab-12-S0/files/read", "/agent/{id}/*", "/files/read", Some("ab-12-S0"));
        check("/slave/ab-12-S0", "/slave/{id}", "/", Some("ab-12-S0"));
        check("/slave/a-S0/slave%281%29/state", "/slave/{id}/*", "/slave%281%29/state", Some("a-S0"));
        check("/service/foo.bar", "/service/{name}", "/", Some("foo.bar"));
        check("/service/group/app/x", "/service/*", "/group/app/x", None);
        check("/system/v1/leader/mesos/logs/v2", "/system/v1/leader/mesos/*", "/logs/v2", None);
    }

    #[test]
    fn strangers_are_not_found() {
        for path in [
            "/exhibitor",
            "/mesosphere",
            "/mesos_dns/v1/hosts/x",
            "/agent/a_b/state",
            "/agent/",
            "/%6desos/state",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn only_named_routes_are_open_and_every_pattern_is_reachable() {
        let open: Vec<_> = ROUTES.iter().filter(|r| r.auth == AuthAction::Open).map(|r| r.pattern).collect();
        assert_eq!(open, ["/", "/dcos-metadata/dcos-version.json"]);
        for route in ROUTES {
            let sample = route.pattern.replace("{id}", "a-S0").replace("{name}", "a.b").replace('*', "x/y");
            let found = find(&sample).map(|f| f.route.pattern);
            assert_eq!(found, Some(route.pattern), "shadowed by an earlier row");
        }
    }
}
