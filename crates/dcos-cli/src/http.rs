//! Requests to the cluster: one connection each, bounded in time and size.
//!
//! Plain HTTP. Not for: retries (a command that changes something must not happen twice).
//! Invariants: the token is sent to the cluster only and printed nowhere.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::error::{Failure, Result};
use crate::json::Doc;
use crate::output::note;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read; a state of 50,000 tasks has about 100 MB.
const MAX_ANSWER_BYTES: usize = 512 << 20;
/// Bytes of a foreign error page that are worth showing.
const SHOWN_ERROR_CHARS: usize = 300;

pub struct Client {
    base: Base,
    cluster: Cluster,
    verbose: u8,
}

/// A URL taken apart.
#[derive(Debug, Clone)]
struct Base {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// An answer, whatever its status.
pub struct Reply {
    pub status: StatusCode,
    pub body: String,
    request: String,
}

impl Client {
    pub fn new(cluster: Cluster, verbose: u8) -> Result<Client> {
        let base = take_apart(&cluster.url)?;
        Ok(Client { base, cluster, verbose })
    }

    /// GET, expecting a JSON document.
    pub async fn get(&self, path: &str) -> Result<Doc> {
        self.send(Method::GET, path, None).await?.json()
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Reply> {
        let target = format!("{}{path}", self.base.path);
        self.exchange(&self.base, method, &target, body, self.cluster.token.as_deref(), self.cluster.timeout)
            .await
    }

    async fn exchange(
        &self,
        base: &Base,
        method: Method,
        target: &str,
        body: Option<String>,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Reply> {
        let shown = format!("{method} http://{}{target}", base.authority);
        if self.verbose > 0 {
            note(&format!("> {shown}"));
        }
        let request = build(base, &method, target, body, token)?;
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(connect(base).await?)).await.map_err(|error| {
                    Failure::new(format!("cluster '{}' hung up", base.authority)).cause(error)
                })?;
            // Ends when the answer is read; its errors reach the answer as well.
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|error| broken(&shown, &error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| broken(&shown, &*error))?.to_bytes();
            Ok::<Reply, Failure>(Reply {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
                request: shown.clone(),
            })
        };
        let reply = tokio::time::timeout(timeout, exchange).await.map_err(|_| {
            Failure::new(format!("{shown} got no answer in {} s", timeout.as_secs()))
                .hint("try again, or allow more time with DCOS_TIMEOUT=<seconds>")
        })??;
        if self.verbose > 0 {
            note(&format!("< {}", reply.status));
        }
        if self.verbose > 1 {
            note(&reply.body);
        }
        Ok(reply)
    }

    /// Reads a document from another server, without our token.
    pub async fn fetch(&self, url: &str) -> Result<String> {
        let base = take_apart(url)?;
        let target = if base.path.is_empty() { "/".to_owned() } else { base.path.clone() };
        let reply = self.exchange(&base, Method::GET, &target, None, None, self.cluster.timeout).await?;
        if reply.status != StatusCode::OK {
            let failure =
                Failure::new(format!("can't read from resource: {url}. Please check that it exists"));
            return Err(failure.cause(format!("it answered {}", reply.status)));
        }
        Ok(reply.body)
    }
}

fn take_apart(url: &str) -> Result<Base> {
    let refuse = |why: &str| Failure::new(format!("'{url}' is not a usable URL: {why}"));
    let hint = "give one like http://127.0.0.1:8000";
    if url.starts_with("https:") {
        return Err(refuse("https is not supported yet").hint(hint));
    }
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|_| refuse("it cannot be read").hint(hint))?;
    if uri.scheme_str() != Some("http") {
        return Err(refuse("only http is supported").hint(hint));
    }
    let authority = uri.authority().ok_or_else(|| refuse("it has no host").hint(hint))?;
    if authority.as_str().contains('@') {
        return Err(refuse("it contains a user name").hint(hint));
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/');
    Ok(Base {
        host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: authority.port_u16().unwrap_or(80),
        authority: authority.as_str().to_owned(),
        path: path.to_owned(),
    })
}

fn build(
    base: &Base,
    method: &Method,
    target: &str,
    body: Option<String>,
    token: Option<&str>,
) -> Result<Request<Full<Bytes>>> {
    let bad = |error: http::Error| Failure::new(format!("'{target}' cannot be asked for")).cause(error);
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, &base.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("dcos/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("token={token}"))
            .map_err(|_| Failure::new("core.dcos_acs_token contains characters that cannot be sent"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::from(body.unwrap_or_default())).map_err(bad)
}

async fn connect(base: &Base) -> Result<TcpStream> {
    let unreachable = |why: String| {
        Failure::new(format!("cluster 'http://{}' is unreachable: {why}", base.authority)).hint(
            "check that it runs (`dcosd dev status` for a local one) and that DCOS_URL or --url is right",
        )
    };
    let connecting = TcpStream::connect((base.host.as_str(), base.port));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => {
            // Latency only; the connection works without it.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(unreachable("connection refused".into()))
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no connection in {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

fn broken(request: &str, error: &dyn std::error::Error) -> Failure {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        cause = format!("{cause}: {inner}");
        source = inner.source();
    }
    Failure::new(format!("{request} was cut off")).cause(cause).hint("try again")
}

impl Reply {
    /// The document of a successful answer.
    pub fn json(self) -> Result<Doc> {
        let reply = self.success()?;
        Doc::parse(&reply.body).map_err(|bad| {
            Failure::new(format!("{} answered something that is not JSON", reply.request))
                .cause(format!("{} at line {} column {}", bad.reason, bad.line, bad.column))
                .hint("is this the URL of a DC/OS cluster?")
        })
    }

    pub fn success(self) -> Result<Reply> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// What an unsuccessful answer says, in our form.
    pub fn refusal(&self) -> Failure {
        let said = Doc::parse(&self.body).ok().filter(|doc| matches!(doc, Doc::Object(_)));
        let message = said.as_ref().map(server_message).unwrap_or_default();
        let shown = if message.is_empty() { strip_page(&self.body) } else { message };
        // The door begins its texts with the status, which is in the cause already.
        let shown = shown.strip_prefix(&format!("{}: ", self.status)).map(str::to_owned).unwrap_or(shown);
        let answered = format!("{} answered {}", self.request, self.status);
        let with_cause = |failure: Failure| match shown.as_str() {
            "" => failure.cause(&answered),
            shown => failure.cause(format!("{shown}\n{answered}")),
        };
        match self.status.as_u16() {
            401 => Failure::new("authentication failed, please run `dcos auth login`").cause(answered),
            403 => with_cause(Failure::new("you are not authorized to perform this operation")),
            409 if said.as_ref().is_some_and(|doc| doc.has("deployments")) => {
                with_cause(Failure::new("changes blocked: deployment already in progress for app"))
                    .hint("wait for it (`dcos marathon deployment list`), or override it with --force")
            }
            502..=504 if self.request.contains("/mesos/") => {
                with_cause(Failure::new("could not connect to the leading mesos master"))
                    .hint("an election or a restart takes moments; try again")
            }
            502..=504 => with_cause(Failure::new("the service behind the cluster's door does not answer"))
                .hint("an election or a restart takes moments; try again"),
            _ if shown.is_empty() => Failure::new(answered),
            status => {
                let details = said.as_ref().map(server_details).unwrap_or_default();
                let failure = Failure::new(shown).cause(answered);
                if details.is_empty() {
                    failure
                } else if matches!(status, 400 | 422) {
                    failure.details(details).hint("correct these fields and send the definition again")
                } else {
                    failure.details(details)
                }
            }
        }
    }
}

fn server_message(doc: &Doc) -> String {
    let texts = [doc.get("message"), doc.get("description"), doc.get("error")];
    texts.iter().map(|text| text.text().trim()).find(|text| !text.is_empty()).unwrap_or_default().to_owned()
}

/// `details: [{path, errors: […]}]`, one line each.
fn server_details(doc: &Doc) -> Vec<String> {
    let mut lines = Vec::new();
    for detail in doc.get("details").items() {
        let path = detail.get("path").text();
        for error in detail.get("errors").items() {
            let text = if error.text().is_empty() { error.compact() } else { error.text().to_owned() };
            lines.push(if path.is_empty() { text } else { format!("{path}: {text}") });
        }
    }
    lines
}

/// The words of a text or HTML error page.
fn strip_page(page: &str) -> String {
    let body =
        page.split("<body").nth(1).map_or(page, |rest| rest.split_once('>').map_or(rest, |(_, rest)| rest));
    let mut words = String::new();
    let mut tag = false;
    for c in body.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => {
                tag = false;
                words.push(' ');
            }
            c if !tag => words.push(if c.is_control() { ' ' } else { c }),
            _ => {}
        }
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(SHOWN_ERROR_CHARS).collect()
}
