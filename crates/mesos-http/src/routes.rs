//! The shape of the route tables, and how a router is made of one.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::Method;

use crate::query::Query;
use crate::reply::{self, Refusal};

/// What a caller must be allowed to do, by the Mesos action names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    Open,
    /// `GET_ENDPOINT_WITH_PATH` of the route's path.
    Endpoint,
    /// `VIEW_FRAMEWORK`, `VIEW_TASK`, `VIEW_EXECUTOR`, `VIEW_ROLE`.
    State,
    /// `VIEW_ROLE`.
    Roles,
    /// `VIEW_FLAGS`.
    Flags,
    /// `VIEW_CONTAINER`.
    Containers,
    /// `ACCESS_SANDBOX` or `ACCESS_MESOS_LOG`, by the path asked for.
    Files,
}

/// One endpoint: its paths, methods and the right it needs.
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
}

/// One request, already known to have an allowed method and a sound query.
pub(crate) struct Call {
    /// As it came here, for redirects.
    pub path_and_query: String,
    pub query: Query,
    pub callback: Option<String>,
}

/// Builds a router that serves exactly the table.
pub(crate) fn router<E, S, F, R>(table: &'static [Route<E>], state: Arc<S>, serve: F) -> Router
where
    E: Copy + Send + Sync + 'static,
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, E, Call) -> R + Copy + Send + Sync + 'static,
    R: Future<Output = Result<Response, Refusal>> + Send,
{
    let mut router = Router::new();
    for route in table {
        for path in route.paths() {
            let state = state.clone();
            let handler = move |request: Request| {
                let state = state.clone();
                async move {
                    if request.method() != Method::HEAD && !route.methods.contains(&request.method().as_str())
                    {
                        return reply::method_not_allowed(route.methods, request.method());
                    }
                    let call = match call(&request) {
                        Ok(call) => call,
                        Err(refusal) => return refusal.into_response(),
                    };
                    serve(state, route.endpoint, call).await.unwrap_or_else(IntoResponse::into_response)
                }
            };
            // Clients escape the parentheses of `/slave(1)` or leave them; the router sees the raw path.
            let escaped = path.replace('(', "%28").replace(')', "%29");
            if escaped != path {
                router = router.route(&escaped, any(handler.clone()));
            }
            router = router.route(path, any(handler));
        }
    }
    router
}

fn call(request: &Request) -> Result<Call, Refusal> {
    let uri = request.uri();
    let query = Query::parse(uri.query())?;
    let callback = query.callback()?;
    let path_and_query = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    Ok(Call { path_and_query, query, callback })
}
