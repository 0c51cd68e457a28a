//! Who a node is, as its certificate says.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::pki::{CA_CERT_FILE, NODE_CERT_FILE, NODE_KEY_FILE, PkiError, read_private, read_public};

/// Longest node name.
pub const NODE_NAME_MAX_BYTES: usize = 53;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Master,
    Agent,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Agent => "agent",
        }
    }

    /// The name that every certificate of the role carries, whatever the node's address is.
    pub(crate) fn dns_name(self) -> &'static str {
        match self {
            Role::Master => "master.node.dcos.internal",
            Role::Agent => "agent.node.dcos.internal",
        }
    }

    pub(crate) fn server_name(self) -> Result<ServerName<'static>, rustls_pki_types::InvalidDnsNameError> {
        ServerName::try_from(self.dns_name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{name:?} is no node name; 1 to {NODE_NAME_MAX_BYTES} letters, digits, `.`, `_` or `-` are allowed"
    )]
    Name { name: String },
    #[error("{text:?} is no node identity; `master:NAME` or `agent:NAME` is")]
    Identity { text: String },
}

/// A node's role and name; printed and parsed as `agent:private1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIdentity {
    role: Role,
    name: String,
}

impl PeerIdentity {
    pub fn new(role: Role, name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NODE_NAME_MAX_BYTES || !name.chars().all(allowed) {
            return Err(NameError::Name { name });
        }
        Ok(Self { role, name })
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity in a certificate that the TLS layer has already verified.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NameError> {
        let unreadable = || NameError::Identity { text: "an unreadable certificate".to_owned() };
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| unreadable())?;
        let mut names = parsed.subject().iter_common_name();
        let name = names.next().ok_or_else(unreadable)?;
        if names.next().is_some() {
            return Err(unreadable());
        }
        name.as_str().map_err(|_| unreadable())?.parse()
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role, self.name)
    }
}

impl FromStr for PeerIdentity {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (role, name) =
            text.split_once(':').ok_or_else(|| NameError::Identity { text: text.to_owned() })?;
        let role = [Role::Master, Role::Agent]
            .into_iter()
            .find(|known| known.as_str() == role)
            .ok_or_else(|| NameError::Identity { text: text.to_owned() })?;
        Self::new(role, name)
    }
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("reading the node's certificate files")]
    File { source: PkiError },
    #[error("{} is not PEM with {expected}", .path.display())]
    Pem { path: PathBuf, expected: &'static str },
    #[error("the certificate does not name a node")]
    Name { source: NameError },
    #[error("the certificate, its key or the CA cannot be used")]
    Tls { source: rustls::Error },
    #[error("the CA cannot be used to verify peers: {reason}")]
    Verifier { reason: String },
}

struct Inner {
    me: PeerIdentity,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A node's certificate, key and the CA it trusts, ready for TLS. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

impl Identity {
    /// Reads `node.crt`, `node.key` and `ca.crt` as [`crate::pki::Issued::write`] leaves them.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let dir = dir.as_ref();
        let file = |source| IdentityError::File { source };
        let certificate = read_public(&dir.join(NODE_CERT_FILE)).map_err(file)?;
        let key = read_private(&dir.join(NODE_KEY_FILE)).map_err(file)?;
        let ca = read_public(&dir.join(CA_CERT_FILE)).map_err(file)?;
        Self::build(dir, &certificate, &key, &ca)
    }

    /// From PEM texts; `ca` may hold several certificates while a CA is replaced.
    pub fn from_pem(certificate: &str, key: &str, ca: &str) -> Result<Self, IdentityError> {
        Self::build(Path::new(""), certificate.as_bytes(), key.as_bytes(), ca.as_bytes())
    }

    fn build(dir: &Path, certificate: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        let pem = |file: &str, expected| IdentityError::Pem { path: dir.join(file), expected };
        let tls = |source| IdentityError::Tls { source };
        let chain = certificates(certificate).ok_or_else(|| pem(NODE_CERT_FILE, "certificates"))?;
        let first = chain.first().ok_or_else(|| pem(NODE_CERT_FILE, "certificates"))?;
        let me = PeerIdentity::of_certificate(first).map_err(|source| IdentityError::Name { source })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| pem(NODE_KEY_FILE, "a private key"))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(ca).ok_or_else(|| pem(CA_CERT_FILE, "certificates"))? {
            roots.add(root).map_err(tls)?;
        }
        let roots = Arc::new(roots);
        // The provider is named, never looked up: a process-wide default may be another one.
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13];
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| IdentityError::Verifier { reason: error.to_string() })?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(tls)?;
        // Connections live long: tickets would only cost memory and weaken forward secrecy.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(tls)?;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { inner: Arc::new(Inner { me, server: Arc::new(server), client: Arc::new(client) }) })
    }

    pub fn me(&self) -> &PeerIdentity {
        &self.inner.me
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner.server)
    }

    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.inner.client)
    }
}

/// Only the name: the key must not reach a log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.inner.me)
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_print_and_parse() {
        let agent: PeerIdentity = "agent:private1".parse().unwrap();
        assert_eq!(
            (agent.role(), agent.name(), agent.to_string().as_str()),
            (Role::Agent, "private1", "agent:private1")
        );
        for bad in ["", "agent", "agent:", "robot:x", "agent:a b", "agent:a:b", "Agent:x", "agent:ä"] {
            assert!(bad.parse::<PeerIdentity>().is_err(), "{bad:?}");
        }
        assert!(PeerIdentity::new(Role::Agent, "x".repeat(53)).is_ok());
        assert!(PeerIdentity::new(Role::Agent, "x".repeat(54)).is_err());
    }
}
