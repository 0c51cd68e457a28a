//! The shape of the route tables, and how a router is made of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, Method};

use crate::access::Access;
use crate::query::Query;
use crate::reply::{self, Refusal};

/// One endpoint: its paths, methods and the right it needs. A path may stand in
/// several rows with different methods.
#[derive(Debug, Clone, Copy)]
pub struct Route<E: 'static> {
    pub path: &'static str,
    /// Old names of the same thing.
    pub aliases: &'static [&'static str],
    pub methods: &'static [&'static str],
    pub access: Access,
    pub(crate) endpoint: E,
}

impl<E> Route<E> {
    /// All paths, the proper one first.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.path).chain(self.aliases.iter().copied())
    }

    fn takes(&self, method: &Method) -> bool {
        let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
        self.methods.contains(&asked)
    }
}

// The rest is for the operator APIs.
#[allow(dead_code)]
/// One request, already known to have an allowed method and a sound query.
pub(crate) struct Call {
    pub method: Method,
    pub headers: HeaderMap,
    pub path: String,
    /// As it came here, for redirects.
    pub path_and_query: String,
    pub query: Query,
    pub callback: Option<String>,
    pub body: Body,
}

#[allow(dead_code)]
impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        // Of several lines of one name the last counts, as in libprocess: mesos-go's client
        // of agents sends two `Accept` lines. What is no text is there, and fits nothing.
        self.headers.get_all(name).iter().next_back().map(|value| value.to_str().unwrap_or("?"))
    }
}

/// Builds a router that serves exactly the table.
pub(crate) fn router<E, S, F, R>(table: &'static [Route<E>], state: Arc<S>, serve: F) -> Router
where
    E: Copy + Send + Sync + 'static,
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, &'static Route<E>, Call) -> R + Copy + Send + Sync + 'static,
    R: Future<Output = Result<Response, Refusal>> + Send,
{
    let mut rows: BTreeMap<&'static str, Vec<&'static Route<E>>> = BTreeMap::new();
    for route in table {
        for path in route.paths() {
            rows.entry(path).or_default().push(route);
        }
    }
    let mut router = Router::new();
    for (path, rows) in rows {
        let rows: Arc<[&'static Route<E>]> = rows.into();
        let state = state.clone();
        let handler = move |request: Request| {
            let (state, rows) = (state.clone(), rows.clone());
            async move {
                let method = request.method();
                // An operator API says 405 itself, after it has said who leads.
                let fits = |row: &&&'static Route<E>| row.takes(method) || row.access == Access::Calls;
                let Some(route) = rows.iter().find(fits).copied() else {
                    let methods: Vec<&str> = rows.iter().flat_map(|row| row.methods).copied().collect();
                    return reply::method_not_allowed(&methods, method);
                };
                let call = match call(request) {
                    Ok(call) => call,
                    Err(refusal) => return refusal.into_response(),
                };
                serve(state, route, call).await.unwrap_or_else(IntoResponse::into_response)
            }
        };
        // Clients escape the parentheses of `/slave(1)` or leave them; the router sees the raw path.
        let escaped = path.replace('(', "%28").replace(')', "%29");
        if escaped != path {
            router = router.route(&escaped, any(handler.clone()));
        }
        router = router.route(path, any(handler));
    }
    router
}

fn call(request: Request) -> Result<Call, Refusal> {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query())?;
    let callback = query.callback()?;
    let path_and_query = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    Ok(Call {
        method: head.method,
        headers: head.headers,
        path: head.uri.path().to_owned(),
        path_and_query,
        query,
        callback,
        body,
    })
}
