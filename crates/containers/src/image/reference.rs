//! Reads image references as Mesos and Docker users write them.

use std::net::IpAddr;
use std::path::PathBuf;

use super::PullError;

const LENGTH_MAX: usize = 1024;
const TAG_DEFAULT: &str = "latest";
const HUB: &str = "registry-1.docker.io";

/// Where an image is, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An OCI layout directory; without a tag its only image.
    Layout {
        dir: PathBuf,
        tag: Option<String>,
    },
    Registry {
        secure: bool,
        host: String,
        name: String,
        version: Version,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    Tag(String),
    /// `sha256:<64 hex digits>`.
    Digest(String),
}

impl Version {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

/// Finds the place of `reference`.
pub fn parse(reference: &str, default_registry: &str, insecure: &[String]) -> Result<Place, PullError> {
    let bad = |why| PullError::Reference { reference: reference.chars().take(200).collect(), why };
    if reference.is_empty() || reference.len() > LENGTH_MAX {
        return Err(bad("it is empty or too long"));
    }
    if let Some(layout) = reference.strip_prefix("oci:") {
        return layout_place(layout).ok_or_else(|| bad("an OCI layout needs an absolute path without '..'"));
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
        Some(_) => return Err(bad("after '@' stands sha256: and 64 hexadecimal digits")),
        None => (reference, None),
    };
    let (rest, tag) = match rest.rsplit_once(':') {
        // A colon before a slash belongs to a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(bad("a tag has 1 to 128 letters, digits, '_', '.' and '-'"));
    }
    let (host, name) = match rest.split_once('/') {
        Some((host, name)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), name),
        _ => (None, rest),
    };
    if !is_name(name) {
        return Err(bad(
            "a name has parts of lower-case letters, digits, '.', '_' and '-', separated by '/'",
        ));
    }
    if host.is_some_and(|host| !is_host(host)) {
        return Err(bad("the host is no name or address with an optional port"));
    }
    let version = match (digest, tag) {
        (Some(digest), _) => Version::Digest(digest.to_owned()),
        (None, tag) => Version::Tag(tag.unwrap_or(TAG_DEFAULT).to_owned()),
    };
    match host {
        Some(host) => Ok(registry_place(host, name, version, insecure)),
        None => default_place(default_registry, name, version, insecure)
            .ok_or_else(|| bad("the default registry of this node is no host, URL or file:///directory")),
    }
}

fn layout_place(text: &str) -> Option<Place> {
    let (dir, tag) = match text.rsplit_once(':') {
        Some((dir, tag)) if is_tag(tag) => (dir, Some(tag.to_owned())),
        _ => (text, None),
    };
    let dir = PathBuf::from(dir);
    let plain = dir.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    (dir.is_absolute() && plain).then_some(Place::Layout { dir, tag })
}

fn default_place(registry: &str, name: &str, version: Version, insecure: &[String]) -> Option<Place> {
    if let Some(dir) = registry.strip_prefix("file://") {
        let tag = Some(version.as_str().to_owned());
        return dir.starts_with('/').then(|| Place::Layout { dir: PathBuf::from(dir).join(name), tag });
    }
    let (secure, host) = match registry.split_once("://") {
        Some(("https", host)) => (Some(true), host),
        Some(("http", host)) => (Some(false), host),
        Some(_) => return None,
        None => (None, registry),
    };
    let host = host.trim_end_matches('/');
    if !is_host(host) {
        return None;
    }
    match (registry_place(host, name, version, insecure), secure) {
        (Place::Registry { host, name, version, .. }, Some(secure)) => {
            Some(Place::Registry { secure, host, name, version })
        }
        (place, _) => Some(place),
    }
}

fn registry_place(host: &str, name: &str, version: Version, insecure: &[String]) -> Place {
    let host = if matches!(host, "docker.io" | "index.docker.io") { HUB } else { host };
    let name = if host == HUB && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
    let secure = !is_loopback(host) && !insecure.iter().any(|known| known == host);
    Place::Registry { secure, host: host.to_owned(), name, version }
}

fn is_loopback(host: &str) -> bool {
    let (name, _) = host.rsplit_once(':').unwrap_or((host, ""));
    name == "localhost"
        || name.parse::<IpAddr>().is_ok_and(|address| matches!(address, IpAddr::V4(v4) if v4.is_loopback()))
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "1"));
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        }) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    name.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

/// Whether `text` is `sha256:` and 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reference: &str, expected: &str) {
        let shown = match parse(reference, "https://registry-1.docker.io", &["reg.test:5000".into()]) {
            Ok(Place::Layout { dir, tag }) => format!("{} {}", dir.display(), tag.unwrap_or_default()),
            Ok(Place::Registry { secure, host, name, version }) => {
                format!("{}://{host} {name} {}", if secure { "https" } else { "http" }, version.as_str())
            }
            Err(_) => "invalid".into(),
        };
        assert_eq!(shown, expected, "{reference}");
    }

    #[test]
    fn references() {
        let digest = format!("sha256:{}", "a".repeat(64));
        check("redis", "https://registry-1.docker.io library/redis latest");
        check("group/app:1.0", "https://registry-1.docker.io group/app 1.0");
        check("docker.io/redis", "https://registry-1.docker.io library/redis latest");
        check("127.0.0.1:5000/web:x", "http://127.0.0.1:5000 web x");
        check("127.1.2.3/web", "http://127.1.2.3 web latest");
        check("localhost:5000/a/b", "http://localhost:5000 a/b latest");
        check("reg.test:5000/a", "http://reg.test:5000 a latest");
        check("reg.test/a", "https://reg.test a latest");
        check(&format!("reg.test/a:tag@{digest}"), &format!("https://reg.test a {digest}"));
        check("oci:/images/web", "/images/web ");
        check("oci:/images/web:2", "/images/web 2");
        for bad in [
            "",
            "UPPER",
            "a/../b",
            "a//b",
            "a@sha256:12",
            "a:b:c/",
            "oci:relative",
            "oci:/a/../b",
            "-a",
            "a:",
            "reg.test:99999/a",
            "re g/a",
            "a\0b",
        ] {
            check(bad, "invalid");
        }
    }

    #[test]
    fn a_directory_as_default_registry() {
        let place = parse("web:2", "file:///images", &[]).unwrap();
        assert_eq!(place, Place::Layout { dir: "/images/web".into(), tag: Some("2".into()) });
        assert!(parse("web", "ftp://x", &[]).is_err());
    }
}
