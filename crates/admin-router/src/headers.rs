//! What may pass between the client's connection and the upstream's.
//!
//! Pure functions over header maps. Invariants: headers that describe one connection end
//! here, those that `Connection` names included; everything that says where a request came
//! from is written by this door and never taken from the client.

use std::net::SocketAddr;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, LOCATION,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Our session cookies; upstreams must not see them.
const PRIVATE_COOKIES: [&str; 2] = ["dcos-acs-auth-cookie", "dcos-acs-info-cookie"];

/// Marks a request that another door has already passed on.
pub const DCOS_FORWARDED: HeaderName = HeaderName::from_static("dcos-forwarded");

/// The two ends of the client's connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// True when the client asks for a WebSocket. Other protocols are not offered: an upgrade to
/// HTTP/2 would carry further requests past the route table.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrades = headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrades && connection_names(headers).any(|name| name == UPGRADE)
}

/// Removes what belongs to one connection.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // Two lengths are an attempt to make two readers disagree; the framing wins.
        headers.remove(CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = connection_names(headers).collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    // `Host` is no connection header whatever a client writes; without it the request is void.
    for name in named.into_iter().filter(|name| *name != HOST).chain(fixed) {
        headers.remove(name);
    }
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
}

/// Makes a client's headers fit for an upstream.
pub fn prepare_request(headers: &mut HeaderMap, ends: Ends, plain_body: bool) {
    let websocket = wants_websocket(headers);
    strip_hop_by_hop(headers);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    // The door has answered the expectation itself once it reads the body.
    for name in [EXPECT, FORWARDED] {
        headers.remove(name);
    }
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    if plain_body {
        headers.remove(ACCEPT_ENCODING);
    }
    hide_cookies(headers);
    if let Ok(ip) = HeaderValue::from_str(&ends.peer.ip().to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, ip.clone());
        headers.insert(REAL_IP, ip);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(FORWARDED_PORT, HeaderValue::from(ends.local.port()));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
}

fn hide_cookies(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let pairs = value.as_bytes().split(|b| *b == b';');
            let kept: Vec<&[u8]> = pairs.map(<[u8]>::trim_ascii).filter(|pair| !is_private(pair)).collect();
            let joined = kept.join(&b"; "[..]);
            if joined.is_empty() { None } else { HeaderValue::from_bytes(&joined).ok() }
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

fn is_private(pair: &[u8]) -> bool {
    let name = pair.split(|b| *b == b'=').next().unwrap_or(pair).trim_ascii();
    PRIVATE_COOKIES.iter().any(|private| name.eq_ignore_ascii_case(private.as_bytes()))
}

/// Makes an upstream's headers fit for the client: `prefix` is the public path that was cut
/// off, `upstream` the authority it lives at.
pub fn prepare_response(headers: &mut HeaderMap, prefix: &str, upstream: Option<SocketAddr>) {
    strip_hop_by_hop(headers);
    headers.remove(SERVER);
    let moved =
        headers.get(LOCATION).and_then(|v| v.to_str().ok()).and_then(|l| relocate(l, prefix, upstream));
    if let Some(location) = moved.and_then(|l| HeaderValue::from_str(&l).ok()) {
        headers.insert(LOCATION, location);
    }
}

/// The public form of an upstream's location, if it is one of its own.
fn relocate(location: &str, prefix: &str, upstream: Option<SocketAddr>) -> Option<String> {
    let path = match upstream.and_then(|addr| location.strip_prefix(&format!("http://{addr}"))) {
        Some("") => "/",
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None if location.starts_with('/') && !location.starts_with("//") => location,
        None => return None,
    };
    let after = path.strip_prefix(prefix);
    let already = !prefix.is_empty() && after.is_some_and(|a| a.is_empty() || a.starts_with(['/', '?']));
    Some(if already { path.to_owned() } else { format!("{prefix}{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn ends() -> Ends {
        Ends { peer: "192.0.2.7:5000".parse().unwrap(), local: "192.0.2.1:80".parse().unwrap() }
    }

    #[test]
    fn named_and_fixed_connection_headers_end_here() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other, host"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("te", "trailers"),
            ("host", "a"),
            ("x-kept", "3"),
        ]);
        strip_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["host", "x-kept"]);
    }

    #[test]
    fn of_two_lengths_the_framing_wins() {
        let mut headers = map(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        strip_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
        let mut headers = map(&[("content-length", "5")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers["content-length"], "5");
    }

    #[test]
    fn claims_about_the_origin_are_replaced() {
        let mut headers = map(&[
            ("host", "master:8080"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-user", "root"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("accept-encoding", "gzip"),
        ]);
        prepare_request(&mut headers, ends(), true);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "master:8080");
        assert_eq!(headers["x-forwarded-port"], "80");
        for gone in ["x-forwarded-user", "forwarded", "accept-encoding"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn session_cookies_stay_here_and_others_pass() {
        let mut headers =
            map(&[("cookie", "a=1; dcos-acs-auth-cookie=secret; b=2"), ("cookie", "dcos-acs-info-cookie=x")]);
        prepare_request(&mut headers, ends(), false);
        let left: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2"]);
    }

    #[test]
    fn only_websocket_is_an_upgrade() {
        assert!(wants_websocket(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&map(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")])));
        assert!(!wants_websocket(&map(&[("upgrade", "websocket")])));
    }

    #[test]
    fn locations_of_the_upstream_become_public() {
        let upstream = Some("10.0.0.1:8080".parse().unwrap());
        let check = |location: &str| relocate(location, "/service/x", upstream);
        assert_eq!(check("/foo").as_deref(), Some("/service/x/foo"));
        assert_eq!(check("http://10.0.0.1:8080/foo?a=1").as_deref(), Some("/service/x/foo?a=1"));
        assert_eq!(check("http://10.0.0.1:8080").as_deref(), Some("/service/x/"));
        assert_eq!(check("/service/x/foo").as_deref(), Some("/service/x/foo"));
        assert_eq!(check("/service/xy").as_deref(), Some("/service/x/service/xy"));
        assert_eq!(check("http://10.0.0.1:80801/foo"), None);
        assert_eq!(check("//evil/foo"), None);
        assert_eq!(check("https://example.org/"), None);
    }
}
