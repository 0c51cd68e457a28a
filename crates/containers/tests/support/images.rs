//! Images made by the tests themselves, out of Debian's `busybox-static`.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::io::Write;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn busybox() -> Vec<u8> {
    let path = "/bin/busybox";
    fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}; install the package busybox-static"))
}

/// Builds one layer's archive.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub fn entry(mut self, kind: tar::EntryType, path: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        // Written raw: the builder would refuse what an attacker would not.
        let name = &mut header.as_gnu_mut().unwrap().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        let target = &mut header.as_gnu_mut().unwrap().linkname;
        target[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub fn dir(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, "", 0o755, b"")
    }

    pub fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, "", 0o644, data)
    }

    pub fn program(self, path: &str, data: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, "", 0o755, data)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, target, 0o777, b"")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, target, 0o644, b"")
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// busybox with the names the tests use.
pub fn base_layer() -> Vec<u8> {
    let mut layer = Layer::new().dir("bin").dir("etc").dir("tmp").program("bin/busybox", &busybox());
    for name in [
        "sh", "ls", "cat", "id", "mount", "ps", "hostname", "sleep", "touch", "grep", "readlink", "mknod",
        "true", "rm", "mkdir", "dd", "head",
    ] {
        layer = layer.symlink(&format!("bin/{name}"), "busybox");
    }
    layer.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n").finish()
}

/// An image as blobs: the manifest first.
pub struct Image {
    pub manifest: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
}

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// `compress` tells for each layer whether it is stored with gzip.
pub fn image(layers: &[(Vec<u8>, bool)], run: &Value) -> Image {
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    for (layer, compress) in layers {
        blobs.push(if *compress { gzip(layer) } else { layer.clone() });
    }
    let diff_ids: Vec<String> = layers.iter().map(|(layer, _)| sha256(layer)).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": run,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let descriptors: Vec<Value> = blobs
        .iter()
        .map(|blob| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha256(blob), "size": blob.len()}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(&config), "size": config.len()},
        "layers": descriptors,
    });
    blobs.push(config);
    Image { manifest: serde_json::to_vec(&manifest).unwrap(), blobs }
}

/// Writes an OCI layout with one tag.
pub fn write_layout(dir: &Path, tag: &str, image: &Image) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for blob in image.blobs.iter().chain([&image.manifest]) {
        fs::write(blobs.join(sha256(blob).trim_start_matches("sha256:")), blob).unwrap();
    }
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST_TYPE, "digest": sha256(&image.manifest), "size": image.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }]});
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
