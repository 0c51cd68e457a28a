//! Images in a registry that speaks the OCI distribution (Docker v2) protocol.
//!
//! Anonymous, with the bearer token challenge. Every wait has a limit, every
//! body too; a digest in a URL is the digest of what is used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use reqwest::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::PullError;
use super::manifest::{self, Descriptor};
use super::store::hex;
use crate::api::PullLimits;

const TOKEN_MAX_BYTES: u64 = 256 << 10;
const REDIRECTS_MAX: usize = 5;

/// One repository of one registry, for one pull.
pub struct Registry {
    pub client: Client,
    pub secure: bool,
    pub host: String,
    pub name: String,
    pub reference: String,
    pub stall: Duration,
    pub token: tokio::sync::Mutex<Option<Arc<str>>>,
}

/// A client for all registries; redirects never lead from TLS to plain text.
pub fn client(limits: &PullLimits) -> Result<Client, String> {
    // Another part of the program may have installed it: the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let was_secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if was_secure && attempt.url().scheme() != "https" {
            attempt.error("redirected from https to plain http")
        } else {
            attempt.follow()
        }
    });
    Client::builder()
        .connect_timeout(limits.connect_timeout)
        .redirect(redirects)
        .user_agent(concat!("dcosd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// An index or manifest by tag or digest.
    pub async fn manifest(&self, version: &str) -> Result<Vec<u8>, PullError> {
        let response = self.get(&format!("manifests/{version}"), "the manifest").await?;
        self.body(response, "the manifest", manifest::MANIFEST_MAX_BYTES).await
    }

    pub async fn blob(&self, digest: &str, limit: u64) -> Result<Vec<u8>, PullError> {
        let what = format!("blob {digest}");
        let response = self.get(&format!("blobs/{digest}"), &what).await?;
        self.body(response, &what, limit).await
    }

    /// Writes a blob to a new file and returns the digest of what came.
    pub async fn download(&self, layer: &Descriptor, path: &Path) -> Result<String, PullError> {
        let what = format!("layer {}", layer.digest);
        let mut response = self.get(&format!("blobs/{}", layer.digest), &what).await?;
        let mut file = tokio::fs::File::create_new(path).await.map_err(PullError::io(path))?;
        let mut context = Context::new(&SHA256);
        let mut received = 0u64;
        while let Some(chunk) = self.chunk(&mut response).await? {
            received += chunk.len() as u64;
            if received > layer.size {
                return Err(PullError::TooLarge {
                    what,
                    limit: format!("{} bytes its manifest names", layer.size),
                });
            }
            context.update(&chunk);
            file.write_all(&chunk).await.map_err(PullError::io(path))?;
        }
        file.flush().await.map_err(PullError::io(path))?;
        Ok(hex(context.finish().as_ref()))
    }

    async fn body(&self, mut response: Response, what: &str, limit: u64) -> Result<Vec<u8>, PullError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                let what = format!("{what} of image {}", self.reference);
                return Err(PullError::TooLarge { what, limit: format!("{} KiB", limit >> 10) });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, PullError> {
        match timeout(self.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.stalled()),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> PullError {
        PullError::Unreachable {
            registry: self.host.clone(),
            reference: self.reference.clone(),
            reason: chain(error),
        }
    }

    fn stalled(&self) -> PullError {
        PullError::Stalled {
            registry: self.host.clone(),
            reference: self.reference.clone(),
            seconds: self.stall.as_secs(),
        }
    }

    async fn send(&self, url: Url, token: Option<&str>) -> Result<Response, PullError> {
        let mut request = self.client.get(url).header(ACCEPT, manifest::ACCEPT);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        match timeout(self.stall, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.stalled()),
        }
    }

    async fn get(&self, path: &str, what: &str) -> Result<Response, PullError> {
        let scheme = if self.secure { "https" } else { "http" };
        let url = format!("{scheme}://{}/v2/{}/{path}", self.host, self.name);
        let url = Url::parse(&url).map_err(|error| PullError::Unreachable {
            registry: self.host.clone(),
            reference: self.reference.clone(),
            reason: error.to_string(),
        })?;
        let token = self.token.lock().await.clone();
        let mut response = self.send(url.clone(), token.as_deref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let token = self.authorize(&response).await?;
            response = self.send(url, Some(&token)).await?;
        }
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(PullError::NotFound {
                reference: self.reference.clone(),
                place: format!("registry {}", self.host),
            }),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(self.denied(status.to_string()))
            }
            status => Err(PullError::Status {
                registry: self.host.clone(),
                reference: self.reference.clone(),
                what: what.into(),
                status: status.as_u16(),
            }),
        }
    }

    fn denied(&self, reason: String) -> PullError {
        PullError::Denied { registry: self.host.clone(), reference: self.reference.clone(), reason }
    }

    /// Answers a bearer challenge.
    async fn authorize(&self, response: &Response) -> Result<Arc<str>, PullError> {
        let header = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = header
            .and_then(challenge)
            .ok_or_else(|| self.denied("it asks for credentials, which this node has none of".into()))?;
        let mut url =
            Url::parse(&challenge.realm).map_err(|error| self.denied(format!("token address: {error}")))?;
        // A token asked for in plain text is as good as public.
        if self.secure && url.scheme() != "https" {
            return Err(self.denied("its token address is not https".into()));
        }
        if let Some(service) = &challenge.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let scope = challenge.scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
        url.query_pairs_mut().append_pair("scope", &scope);
        let response = self.send(url, None).await?;
        if !response.status().is_success() {
            return Err(self.denied(format!("its token service answered {}", response.status())));
        }
        let bytes = self.body(response, "the token", TOKEN_MAX_BYTES).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token: Arc<str> =
            token.ok_or_else(|| self.denied("its token service sent no token".into()))?.into();
        *self.token.lock().await = Some(token.clone());
        Ok(token)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

/// Reads `Bearer realm="…",service="…",scope="…"`; other schemes are `None`.
fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            "scope" => scope = Some(value.to_owned()),
            _ => {}
        }
        rest = remaining.trim_start().trim_start_matches(',');
    }
    Some(Challenge { realm: realm?, service, scope })
}

/// An error with its causes, which are what tells.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let found = challenge(
            r#"Bearer realm="https://auth.test/token",service="reg, one",scope="repository:a:pull,push""#,
        );
        let expected = Challenge {
            realm: "https://auth.test/token".into(),
            service: Some("reg, one".into()),
            scope: Some("repository:a:pull,push".into()),
        };
        assert_eq!(found, Some(expected));
        assert_eq!(challenge("bearer realm=x,service=y").map(|found| found.realm), Some("x".into()));
        for text in ["", "Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(challenge(text), None, "{text}");
        }
    }
}
