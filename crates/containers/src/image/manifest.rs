//! The documents of an image: index, manifest, configuration (OCI and Docker schema 2).

use serde::Deserialize;

use super::reference::is_digest;
use super::{ImageConfig, PullError};

pub const MANIFEST_MAX_BYTES: u64 = 4 << 20;
pub const CONFIG_MAX_BYTES: u64 = 8 << 20;
pub const LAYERS_MAX: usize = 128;
/// An index may point to an index once.
pub const INDEX_DEPTH_MAX: usize = 2;
/// What a registry may answer with.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    pub digest: String,
    pub size: u64,
    #[serde(default, rename = "mediaType")]
    pub media_type: String,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Index(Vec<Descriptor>),
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, rename = "schemaVersion")]
    schema: u32,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Reads an index or a manifest.
pub fn parse(bytes: &[u8], reference: &str) -> Result<Document, PullError> {
    let malformed =
        |why: String| PullError::Malformed { reference: reference.into(), what: "the manifest".into(), why };
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if raw.schema == 1 {
        return Err(PullError::Unsupported {
            what: format!("the schema 1 manifest of image {reference}"),
            advice: "push the image again with a current tool",
        });
    }
    let document = match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) => Document::Index(manifests),
        (None, Some(config), Some(layers)) => Document::Manifest { config, layers },
        _ => return Err(malformed("it is neither an index nor a manifest".into())),
    };
    let descriptors: Vec<&Descriptor> = match &document {
        Document::Index(manifests) => manifests.iter().collect(),
        Document::Manifest { config, layers } => std::iter::once(config).chain(layers).collect(),
    };
    if let Some(bad) = descriptors.iter().find(|descriptor| !is_digest(&descriptor.digest)) {
        return Err(malformed(format!(
            "{:?} is no sha256 digest",
            bad.digest.chars().take(100).collect::<String>()
        )));
    }
    match &document {
        Document::Manifest { layers, .. } if layers.len() > LAYERS_MAX => Err(PullError::TooLarge {
            what: format!("the layer count {} of image {reference}", layers.len()),
            limit: format!("{LAYERS_MAX} layers"),
        }),
        _ => Ok(document),
    }
}

/// This machine in the words of images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The index entry for this machine; one without a platform fits any.
pub fn choose<'a>(manifests: &'a [Descriptor], reference: &str) -> Result<&'a Descriptor, PullError> {
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
    };
    let found = manifests
        .iter()
        .find(fits)
        .or_else(|| manifests.iter().find(|descriptor| descriptor.platform.is_none()));
    found.ok_or_else(|| PullError::Platform {
        reference: reference.into(),
        wanted: format!("linux/{}", architecture()),
        found: manifests
            .iter()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .take(20)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    config: Option<RawRun>,
    rootfs: RawRootfs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRun {
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Vec<String>,
}

/// What a configuration says: how to run, and the digests of the unpacked layers, lowest first.
pub fn parse_config(
    bytes: &[u8],
    layers: usize,
    reference: &str,
) -> Result<(ImageConfig, Vec<String>), PullError> {
    let malformed = |why: String| PullError::Malformed {
        reference: reference.into(),
        what: "the configuration".into(),
        why,
    };
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if !raw.architecture.is_empty() && raw.architecture != architecture() {
        return Err(PullError::Platform {
            reference: reference.into(),
            wanted: architecture().into(),
            found: raw.architecture.chars().take(50).collect(),
        });
    }
    let diff_ids = raw.rootfs.diff_ids;
    if diff_ids.len() != layers {
        return Err(malformed(format!("it names {} layers, the manifest {layers}", diff_ids.len())));
    }
    if let Some(bad) = diff_ids.iter().find(|digest| !is_digest(digest)) {
        return Err(malformed(format!(
            "{:?} is no sha256 digest",
            bad.chars().take(100).collect::<String>()
        )));
    }
    let run = raw.config.unwrap_or_default();
    let config = ImageConfig {
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: run.env.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
    };
    Ok((config, diff_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn an_index_is_chosen_from_by_platform() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"digest":"{}","size":1,"platform":{{"os":"linux","architecture":"s390x"}}}},
                {{"digest":"{}","size":2,"platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
            digest('a'),
            digest('b'),
            architecture()
        );
        let Document::Index(manifests) = parse(text.as_bytes(), "x").unwrap() else { panic!("no index") };
        assert_eq!(choose(&manifests, "x").unwrap().digest, digest('b'));
        let error = choose(&manifests[..1], "x").unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#,
            r#"{"schemaVersion":2,"config":{"digest":"md5:1","size":-1},"layers":[]}"#,
            &"[".repeat(100_000),
        ] {
            assert!(parse(text.as_bytes(), "x").is_err(), "{text:.80}");
            assert!(parse_config(text.as_bytes(), 0, "x").is_err(), "{text:.80}");
        }
        let layer = format!(r#"{{"digest":"{}","size":1}}"#, digest('a'));
        let many = vec![layer.clone(); LAYERS_MAX + 1].join(",");
        let text = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[{many}]}}"#);
        assert!(matches!(parse(text.as_bytes(), "x"), Err(PullError::TooLarge { .. })));
    }

    #[test]
    fn a_configuration_may_leave_out_everything_but_layers() {
        let text =
            format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}},"config":null}}"#, digest('a'));
        let (config, diff_ids) = parse_config(text.as_bytes(), 1, "x").unwrap();
        assert_eq!((config, diff_ids), (ImageConfig::default(), vec![digest('a')]));
        assert!(parse_config(text.as_bytes(), 2, "x").is_err());
        let other = r#"{"architecture":"s390x","rootfs":{"diff_ids":[]}}"#;
        assert!(matches!(parse_config(other.as_bytes(), 0, "x"), Err(PullError::Platform { .. })));
    }
}
