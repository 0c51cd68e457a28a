//! Images in an OCI layout directory on this node.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::PullError;
use super::manifest::{self, Descriptor, Document, MANIFEST_MAX_BYTES};

const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";

#[derive(Debug, Clone)]
pub struct Layout {
    pub dir: PathBuf,
    pub tag: Option<String>,
    pub reference: String,
}

impl Layout {
    fn missing(&self) -> PullError {
        PullError::NotFound {
            reference: self.reference.clone(),
            place: format!("layout {}", self.dir.display()),
        }
    }

    /// The index entry of the tag, or the only one.
    pub fn find(&self) -> Result<Descriptor, PullError> {
        let path = self.dir.join("index.json");
        if !path.is_file() {
            return Err(self.missing());
        }
        let bytes = read(&path, MANIFEST_MAX_BYTES)?;
        let Document::Index(manifests) = manifest::parse(&bytes, &self.reference)? else {
            return Err(PullError::Malformed {
                reference: self.reference.clone(),
                what: "the file index.json".into(),
                why: "it is no index".into(),
            });
        };
        let tagged = |tag: &str| {
            manifests.iter().find(|entry| {
                // Some tools write the whole name.
                entry
                    .annotations
                    .get(TAG_ANNOTATION)
                    .is_some_and(|name| name == tag || name.ends_with(&format!(":{tag}")))
            })
        };
        let found = match (&self.tag, &manifests[..]) {
            (Some(digest), _) if digest.starts_with("sha256:") => {
                manifests.iter().find(|entry| entry.digest == *digest)
            }
            (Some(tag), _) => tagged(tag),
            (None, [only]) => Some(only),
            (None, _) => tagged("latest"),
        };
        found.cloned().ok_or_else(|| self.missing())
    }

    /// The file of a blob; its content is not checked.
    pub fn blob(&self, digest: &str) -> Result<PathBuf, PullError> {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let path = self.dir.join("blobs/sha256").join(hex);
        if path.is_file() {
            Ok(path)
        } else {
            Err(PullError::Malformed {
                reference: self.reference.clone(),
                what: format!("blob {digest}"),
                why: format!("{} is missing; copy the layout again", path.display()),
            })
        }
    }

    pub fn document(&self, digest: &str, limit: u64) -> Result<Vec<u8>, PullError> {
        read(&self.blob(digest)?, limit)
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PullError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(PullError::io(path))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(PullError::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(PullError::TooLarge {
            what: path.display().to_string(),
            limit: format!("{} MiB", limit >> 20),
        });
    }
    Ok(bytes)
}
