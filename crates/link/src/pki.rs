//! The cluster's certificate authority and the certificates of its nodes.
//!
//! ECDSA P-256. A node's certificate names it in the common name (`agent:private1`)
//! and carries its role's DNS name and its addresses. Keys are files of mode 0600,
//! written whole or not at all; a key that others may read is refused.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::identity::{Identity, IdentityError, PeerIdentity};

pub const CA_CERT_FILE: &str = "ca.crt";
pub const CA_KEY_FILE: &str = "ca.key";
pub const NODE_CERT_FILE: &str = "node.crt";
pub const NODE_KEY_FILE: &str = "node.key";

/// Certificates begin this much in the past, for nodes whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Certificate files larger than this are not read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
const ADDRESSES_MAX: usize = 64;

/// Why certificates could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} exists already; a cluster keeps its CA, remove it only with the whole cluster", .path.display())]
    Exists { path: PathBuf },
    #[error("{} has mode {mode:04o}; a key must be readable by its owner only (chmod 600)", .path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("{} is larger than {FILE_MAX_BYTES} bytes; that is no certificate or key", .path.display())]
    FileTooLarge { path: PathBuf },
    #[error("{} is not {expected}", .path.display())]
    Content { path: PathBuf, expected: &'static str },
    #[error("{count} addresses in one certificate; at most {ADDRESSES_MAX} are allowed")]
    Addresses { count: usize },
    #[error("making a certificate")]
    Make { source: rcgen::Error },
}

fn make(source: rcgen::Error) -> PkiError {
    PkiError::Make { source }
}

/// The authority that every node of one cluster trusts.
pub struct ClusterCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl ClusterCa {
    /// Makes a new authority in `dir`; refuses when there is one.
    pub fn create(dir: impl AsRef<Path>, now: Time, validity: Duration) -> Result<Self, PkiError> {
        let dir = dir.as_ref();
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        if let Some(path) = [&cert_path, &key_path].into_iter().find(|path| path.exists()) {
            return Err(PkiError::Exists { path: path.clone() });
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
        // A name of its own for each authority, so that two can be trusted while one replaces the other.
        let key_id = CertificateParams::default().key_identifier(&key);
        let short: String = key_id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let mut params = params(&format!("DC/OS cluster CA {short}"), now, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        make_dir(dir)?;
        // The key first: a certificate without its key would look like a finished authority.
        write_file(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write_file(&cert_path, certificate.pem().as_bytes(), 0o644)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem: certificate.pem() })
    }

    pub fn load(dir: impl AsRef<Path>) -> Result<Self, PkiError> {
        let dir = dir.as_ref();
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        let text = |path: &Path, bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .map_err(|_| PkiError::Content { path: path.to_path_buf(), expected: "text" })
        };
        let key_pem = text(&key_path, read_private(&key_path)?)?;
        let certificate_pem = text(&cert_path, read_public(&cert_path)?)?;
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|_| PkiError::Content { path: key_path, expected: "a PEM private key" })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(|_| PkiError::Content { path: cert_path, expected: "a PEM certificate" })?;
        Ok(Self { issuer, certificate_pem })
    }

    /// Loads the authority, or makes it on the first start.
    pub fn load_or_create(dir: impl AsRef<Path>, now: Time, validity: Duration) -> Result<Self, PkiError> {
        let dir = dir.as_ref();
        // A key alone is what a crash during creation leaves: nothing was signed with it yet.
        if dir.join(CA_CERT_FILE).exists() {
            return Self::load(dir);
        }
        let key_path = dir.join(CA_KEY_FILE);
        if key_path.exists() {
            fs::remove_file(&key_path).map_err(|source| PkiError::Io { path: key_path, source })?;
        }
        Self::create(dir, now, validity)
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A new key and certificate for a node with these addresses.
    pub fn issue(
        &self,
        node: &PeerIdentity,
        addresses: &[IpAddr],
        now: Time,
        validity: Duration,
    ) -> Result<Issued, PkiError> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(PkiError::Addresses { count: addresses.len() });
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = params(&node.to_string(), now, validity);
        params.subject_alt_names.push(SanType::DnsName(node.role().dns_name().try_into().map_err(make)?));
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every node connects and is connected to.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
        })
    }
}

/// A node's certificate with its key; the key leaves the process only through [`Issued::write`].
pub struct Issued {
    certificate_pem: String,
    key_pem: String,
    ca_pem: String,
}

impl Issued {
    /// Writes what [`Identity::load`] reads.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), PkiError> {
        let dir = dir.as_ref();
        make_dir(dir)?;
        write_file(&dir.join(CA_CERT_FILE), self.ca_pem.as_bytes(), 0o644)?;
        write_file(&dir.join(NODE_KEY_FILE), self.key_pem.as_bytes(), 0o600)?;
        write_file(&dir.join(NODE_CERT_FILE), self.certificate_pem.as_bytes(), 0o644)
    }

    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_pem(&self.certificate_pem, &self.key_pem, &self.ca_pem)
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
}

fn params(common_name: &str, now: Time, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Both ends lie between 1970 and 9999, where the calendar type cannot overflow.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: Time| epoch + Duration::from_secs(time.as_millis() / 1000);
    params.not_before = at(now - CLOCK_SKEW);
    params.not_after = at(now + validity);
    params
}

fn make_dir(dir: &Path) -> Result<(), PkiError> {
    fs::create_dir_all(dir).map_err(|source| PkiError::Io { path: dir.to_path_buf(), source })
}

/// Whole and durable under its name, or not there.
fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let unfinished = path.with_extension("unfinished");
    let written = (|| {
        if unfinished.exists() {
            fs::remove_file(&unfinished)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        match path.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|source| PkiError::Io { path: path.to_path_buf(), source })
}

pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, PkiError> {
    let io_error = |source| PkiError::Io { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(io_error)?.len() > FILE_MAX_BYTES {
        return Err(PkiError::FileTooLarge { path: path.to_path_buf() });
    }
    fs::read(path).map_err(io_error)
}

pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, PkiError> {
    let metadata = fs::metadata(path).map_err(|source| PkiError::Io { path: path.to_path_buf(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PkiError::Permissions { path: path.to_path_buf(), mode });
    }
    read_public(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Time {
        Time::from_millis(1_800_000_000_000)
    }

    #[test]
    fn an_authority_is_made_once_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ca");
        let made = ClusterCa::create(&dir, now(), DAY).unwrap();
        assert!(matches!(ClusterCa::create(&dir, now(), DAY), Err(PkiError::Exists { .. })));
        let loaded = ClusterCa::load(&dir).unwrap();
        assert_eq!(loaded.certificate_pem(), made.certificate_pem());
        assert_eq!(
            ClusterCa::load_or_create(&dir, now(), DAY).unwrap().certificate_pem(),
            made.certificate_pem()
        );
        let mode = |file: &str| fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(CA_KEY_FILE), mode(CA_CERT_FILE)), (0o600, 0o644));
        fs::remove_file(dir.join(CA_CERT_FILE)).unwrap();
        assert_ne!(
            ClusterCa::load_or_create(&dir, now(), DAY).unwrap().certificate_pem(),
            made.certificate_pem()
        );
    }

    #[test]
    fn a_node_s_files_load_and_say_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        ClusterCa::create(dir.path().join("ca"), now(), DAY).unwrap();
        let ca = ClusterCa::load(dir.path().join("ca")).unwrap();
        let node: PeerIdentity = "agent:private1".parse().unwrap();
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        let issued = ca.issue(&node, &[address], now(), DAY).unwrap();
        let files = dir.path().join("node");
        issued.write(&files).unwrap();
        assert_eq!(*Identity::load(&files).unwrap().me(), node);
        assert_eq!(format!("{:?}", Identity::load(&files).unwrap()), "Identity(agent:private1)");

        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate_pem().as_bytes()).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let seconds = |time: Time| i64::try_from(time.as_millis() / 1000).unwrap();
        assert_eq!(parsed.validity().not_before.timestamp(), seconds(now() - CLOCK_SKEW));
        assert_eq!(parsed.validity().not_after.timestamp(), seconds(now() + DAY));
        let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value.general_names);
        assert!(names.contains("agent.node.dcos.internal") && names.contains("[10, 0, 0, 7]"), "{names}");

        fs::set_permissions(files.join(NODE_KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Identity::load(&files).unwrap_err();
        assert!(matches!(
            &refused,
            IdentityError::File { source: PkiError::Permissions { mode: 0o640, .. } }
        ));
        fs::set_permissions(files.join(NODE_KEY_FILE), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(files.join(NODE_CERT_FILE), "rubbish").unwrap();
        assert!(matches!(Identity::load(&files), Err(IdentityError::Pem { .. })));
    }

    #[test]
    fn a_key_of_another_node_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ca = ClusterCa::create(dir.path(), now(), DAY).unwrap();
        let issue = |name: &str| ca.issue(&name.parse().unwrap(), &[], now(), DAY).unwrap();
        let (one, other) = (issue("agent:a"), issue("agent:b"));
        let mixed = Identity::from_pem(&one.certificate_pem, &other.key_pem, &one.ca_pem);
        assert!(matches!(mixed, Err(IdentityError::Tls { .. })));
    }

    #[test]
    fn absurd_times_do_not_panic() {
        let dir = tempfile::tempdir().unwrap();
        let ca = ClusterCa::create(dir.path(), Time::ZERO, Duration::MAX).unwrap();
        ca.issue(&"agent:a".parse().unwrap(), &[], Time::MAX, Duration::MAX).unwrap();
    }
}
