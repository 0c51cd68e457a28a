//! Images on this node's disk, and the pulls that bring them there.
//!
//! `<store>/layers/<24 hex digits>` is one unpacked layer, named by the digest
//! of its uncompressed archive (the short form keeps the overlay's options
//! within a page); `<name>.digest` beside it holds the whole digest.
//! `images/<hash of the reference>.json` says what a reference was resolved to,
//! `blobs/sha256/` keeps manifests and configurations. Everything appears by
//! rename after a sync. Pulls of one reference share one run, which ends when
//! nobody waits for it any more.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::layout::Layout;
use super::manifest::{self, CONFIG_MAX_BYTES, Descriptor, Document, INDEX_DEPTH_MAX, MANIFEST_MAX_BYTES};
use super::reference::{self, Place, Version};
use super::registry::{self, Registry};
use super::{Image, ImageConfig, PullError, unpack};
use crate::api::{Config, ImageSource, PullLimits};

const LAYER_NAME_DIGITS: usize = 24;
/// Different images being pulled at a time.
const PULLS_MAX: usize = 64;
const JOIN_ATTEMPTS_MAX: usize = 5;
const COPY_BYTES: usize = 256 << 10;

type Outcome = Option<Result<Arc<Image>, Arc<PullError>>>;

#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    default_registry: String,
    insecure: Vec<String>,
    limits: PullLimits,
    client: OnceLock<Result<reqwest::Client, String>>,
    pulls: Mutex<HashMap<String, watch::Sender<Outcome>>>,
    temporary_next: AtomicU64,
}

/// What a reference stands for, as stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    reference: String,
    manifest: String,
    config: ImageConfig,
    /// Digests of unpacked layers, lowest first.
    layers: Vec<String>,
}

enum Source {
    Layout(Layout),
    Registry(Box<Registry>),
}

impl Store {
    pub fn open(config: &Config) -> io::Result<Self> {
        let dir = fs::canonicalize(&config.image_store_dir)?;
        for name in ["layers", "images", "blobs/sha256", "tmp"] {
            fs::create_dir_all(dir.join(name))?;
        }
        remove_unfinished(&dir.join("tmp"))?;
        let inner = Inner {
            dir,
            default_registry: config.default_registry.clone(),
            insecure: config.insecure_registries.clone(),
            limits: config.pull.clone(),
            client: OnceLock::new(),
            pulls: Mutex::new(HashMap::new()),
            temporary_next: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image, from disk or pulled.
    pub async fn resolve(&self, source: &ImageSource) -> Result<Arc<Image>, Arc<PullError>> {
        let Inner { default_registry, insecure, .. } = &*self.inner;
        let place = reference::parse(&source.reference, default_registry, insecure)?;
        // A layout is read every time: looking at its index costs nothing.
        let always = source.force_pull || matches!(place, Place::Layout { .. });
        if !always && let Some(image) = self.inner.stored(&place) {
            return Ok(Arc::new(image));
        }
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let mut outcome = self.join(place.clone(), &source.reference)?;
            let found = outcome.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
            if let Some(result) = found {
                return result;
            }
            // It was given up by its last waiter in the moment it was joined.
        }
        Err(Arc::new(PullError::Abandoned(source.reference.clone())))
    }

    /// Waits for a running pull of this place, or starts one.
    fn join(&self, place: Place, reference: &str) -> Result<watch::Receiver<Outcome>, PullError> {
        let key = key(&place);
        let mut pulls = self.inner.pulls();
        if let Some(pull) =
            pulls.get(&key).filter(|pull| pull.borrow().is_none() && pull.receiver_count() > 0)
        {
            return Ok(pull.subscribe());
        }
        if pulls.len() >= PULLS_MAX {
            let advice = "wait until some have ended, then launch again";
            return Err(PullError::Unsupported {
                what: format!("pulling more than {PULLS_MAX} images at a time"),
                advice,
            });
        }
        let (sender, receiver) = watch::channel(None);
        pulls.insert(key.clone(), sender.clone());
        drop(pulls);
        let (inner, reference) = (self.inner.clone(), reference.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                result = inner.pull(place, &reference) => {
                    sender.send_replace(Some(result.map(Arc::new).map_err(Arc::new)));
                }
                () = sender.closed() => {}
            }
            let mut pulls = inner.pulls();
            if pulls.get(&key).is_some_and(|pull| pull.same_channel(&sender)) {
                pulls.remove(&key);
            }
        });
        Ok(receiver)
    }
}

impl Inner {
    fn pulls(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Outcome>>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, place: &Place) -> Option<Image> {
        let bytes = fs::read(self.record_path(place)).ok()?;
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        (stored.reference == key(place)).then(|| self.image(&stored)).flatten()
    }

    /// `None` if a layer is not here.
    fn image(&self, stored: &Stored) -> Option<Image> {
        let mut layers = Vec::with_capacity(stored.layers.len());
        for layer in stored.layers.iter().rev() {
            if !self.has_layer(layer) {
                return None;
            }
            let name = layer_name(layer);
            // A layer that appears twice changes nothing the second time.
            if !layers.contains(&name) {
                layers.push(name);
            }
        }
        Some(Image { config: stored.config.clone(), layers_dir: self.dir.join("layers"), layers })
    }

    fn record_path(&self, place: &Place) -> PathBuf {
        self.dir.join("images").join(format!("{}.json", hex(digest(&SHA256, key(place).as_bytes()).as_ref())))
    }

    fn layer_path(&self, diff_id: &str) -> PathBuf {
        self.dir.join("layers").join(layer_name(diff_id))
    }

    fn has_layer(&self, diff_id: &str) -> bool {
        let path = self.layer_path(diff_id);
        let whole = fs::read_to_string(path.with_extension("digest"));
        whole.is_ok_and(|whole| whole.trim() == diff_id) && path.is_dir()
    }

    fn temporary(&self) -> PathBuf {
        let number = self.temporary_next.fetch_add(1, Ordering::Relaxed);
        self.dir.join("tmp").join(format!("{}-{number}", std::process::id()))
    }

    async fn pull(self: &Arc<Self>, place: Place, reference: &str) -> Result<Image, PullError> {
        let source = Arc::new(self.source(&place, reference)?);
        let (manifest, config, layers) = self.manifest(&source, &place, reference).await?;
        let bytes = self.document(&source, &config.digest, CONFIG_MAX_BYTES, "the configuration").await?;
        let (config, diff_ids) = manifest::parse_config(&bytes, layers.len(), reference)?;
        let budget = Arc::new(AtomicU64::new(self.limits.unpacked_bytes_max));
        for (layer, diff_id) in layers.iter().zip(&diff_ids) {
            if !self.has_layer(diff_id) {
                self.layer(&source, layer, diff_id, budget.clone()).await?;
            }
        }
        let stored = Stored { reference: key(&place), manifest, config, layers: diff_ids };
        let path = self.record_path(&place);
        let text = serde_json::to_vec(&stored).map_err(|error| PullError::io(&path)(error.into()))?;
        // A layout is read for every launch, and seldom changed.
        if fs::read(&path).ok().as_ref() != Some(&text) {
            self.write(&path, &text)?;
        }
        self.image(&stored).ok_or_else(|| PullError::Io {
            path: self.dir.clone(),
            source: io::Error::other("a layer vanished while the image was pulled"),
        })
    }

    fn source(&self, place: &Place, reference: &str) -> Result<Source, PullError> {
        match place {
            Place::Layout { dir, tag } => {
                Ok(Source::Layout(Layout { dir: dir.clone(), tag: tag.clone(), reference: reference.into() }))
            }
            Place::Registry { secure, host, name, .. } => {
                let client = self.client.get_or_init(|| registry::client(&self.limits));
                let client = client.clone().map_err(|reason| PullError::Unreachable {
                    registry: host.clone(),
                    reference: reference.into(),
                    reason,
                })?;
                Ok(Source::Registry(Box::new(Registry {
                    client,
                    secure: *secure,
                    host: host.clone(),
                    name: name.clone(),
                    reference: reference.into(),
                    stall: self.limits.stall_timeout,
                    token: tokio::sync::Mutex::new(None),
                })))
            }
        }
    }

    /// Follows indexes to the manifest for this machine.
    async fn manifest(
        &self,
        source: &Source,
        place: &Place,
        reference: &str,
    ) -> Result<(String, Descriptor, Vec<Descriptor>), PullError> {
        let mut wanted = match (source, place) {
            (Source::Layout(layout), _) => Some(layout.find()?.digest),
            (Source::Registry(_), Place::Registry { version: Version::Digest(digest), .. }) => {
                Some(digest.clone())
            }
            _ => None,
        };
        for _ in 0..=INDEX_DEPTH_MAX {
            let bytes = match (&wanted, source, place) {
                (Some(digest), ..) => {
                    self.document(source, digest, MANIFEST_MAX_BYTES, "the manifest").await?
                }
                (None, Source::Registry(registry), Place::Registry { version, .. }) => {
                    registry.manifest(version.as_str()).await?
                }
                (None, ..) => break,
            };
            match manifest::parse(&bytes, reference)? {
                Document::Manifest { config, layers } => {
                    let digest = sha256(&bytes);
                    self.keep(&digest, &bytes)?;
                    return Ok((digest, config, layers));
                }
                Document::Index(manifests) => {
                    wanted = Some(manifest::choose(&manifests, reference)?.digest.clone())
                }
            }
        }
        Err(PullError::Malformed {
            reference: reference.into(),
            what: "the index".into(),
            why: format!("it leads to no manifest within {INDEX_DEPTH_MAX} steps"),
        })
    }

    /// A small blob, checked and kept.
    async fn document(
        &self,
        source: &Source,
        digest: &str,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, PullError> {
        let bytes = match source {
            Source::Layout(layout) => layout.document(digest, limit)?,
            Source::Registry(registry) if what == "the manifest" => registry.manifest(digest).await?,
            Source::Registry(registry) => registry.blob(digest, limit).await?,
        };
        let found = sha256(&bytes);
        if found != digest {
            return Err(PullError::Digest { what: what.into(), expected: digest.into(), found });
        }
        self.keep(digest, &bytes)?;
        Ok(bytes)
    }

    fn keep(&self, digest: &str, bytes: &[u8]) -> Result<(), PullError> {
        let path = self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        if path.is_file() { Ok(()) } else { self.write(&path, bytes) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), PullError> {
        let temporary = self.temporary();
        let result = File::create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        });
        result.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            PullError::io(path)(error)
        })
    }

    /// Fetches, checks and unpacks one layer.
    async fn layer(
        self: &Arc<Self>,
        source: &Source,
        layer: &Descriptor,
        diff_id: &str,
        budget: Arc<AtomicU64>,
    ) -> Result<(), PullError> {
        let mut scratch = Scratch::default();
        let archive = match source {
            Source::Layout(layout) => layout.blob(&layer.digest)?,
            Source::Registry(registry) => {
                let path = scratch.add(self.temporary());
                let found = format!("sha256:{}", registry.download(layer, &path).await?);
                check_digest(layer, &found)?;
                path
            }
        };
        let is_local = matches!(source, Source::Layout(_));
        let target = scratch.add(self.temporary());
        let (inner, layer, diff_id) = (self.clone(), layer.clone(), diff_id.to_owned());
        // The files go when the work ends, also if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || {
            let _scratch = scratch;
            if is_local {
                check_digest(&layer, &file_digest(&archive)?)?;
            }
            let file = File::open(&archive).map_err(PullError::io(&archive))?;
            fs::create_dir(&target).map_err(PullError::io(&target))?;
            let limits = unpack::Limits { entries_max: inner.limits.entries_max, budget: &budget };
            let found = unpack::unpack(file, &target, &limits).map_err(|error| match error {
                unpack::Error::Zstd => PullError::Unsupported {
                    what: format!("layer {} with zstd compression", layer.digest),
                    advice: "push the image with gzip layers",
                },
                error => PullError::Layer { digest: layer.digest.clone(), why: error.to_string() },
            })?;
            if found != diff_id {
                let what = format!("unpacked layer {}", layer.digest);
                return Err(PullError::Digest { what, expected: diff_id, found });
            }
            inner.install(&target, &diff_id)
        });
        work.await.unwrap_or_else(|error| Err(PullError::Abandoned(error.to_string())))
    }

    /// Makes an unpacked layer visible, once it is on disk.
    fn install(&self, unpacked: &Path, diff_id: &str) -> Result<(), PullError> {
        let path = self.layer_path(diff_id);
        let directory = File::open(unpacked).map_err(PullError::io(unpacked))?;
        rustix::fs::syncfs(&directory).map_err(|errno| PullError::io(unpacked)(errno.into()))?;
        let sidecar = path.with_extension("digest");
        if let Ok(other) = fs::read_to_string(&sidecar)
            && other.trim() != diff_id
        {
            let what = format!("layer {diff_id}, whose short name is taken by {}", other.trim());
            return Err(PullError::Unsupported { what, advice: "build the image anew" });
        }
        self.write(&sidecar, diff_id.as_bytes())?;
        match fs::rename(unpacked, &path) {
            Ok(()) => {}
            // Another image brought the same layer meanwhile.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(PullError::io(path)(error)),
        }
        let layers = self.dir.join("layers");
        File::open(&layers).and_then(|dir| dir.sync_all()).map_err(PullError::io(layers))
    }
}

/// Files and directories to remove in the end.
#[derive(Default)]
struct Scratch(Vec<PathBuf>);

impl Scratch {
    fn add(&mut self, path: PathBuf) -> PathBuf {
        self.0.push(path.clone());
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in &self.0 {
            // Absent after success; what cannot be removed goes at the next start.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// One string per place.
fn key(place: &Place) -> String {
    match place {
        Place::Layout { dir, tag } => format!("oci:{}:{}", dir.display(), tag.as_deref().unwrap_or_default()),
        Place::Registry { host, name, version: Version::Tag(tag), .. } => format!("{host}/{name}:{tag}"),
        Place::Registry { host, name, version: Version::Digest(digest), .. } => {
            format!("{host}/{name}@{digest}")
        }
    }
}

fn layer_name(diff_id: &str) -> String {
    diff_id.trim_start_matches("sha256:").chars().take(LAYER_NAME_DIGITS).collect()
}

fn check_digest(layer: &Descriptor, found: &str) -> Result<(), PullError> {
    if found == layer.digest {
        return Ok(());
    }
    Err(PullError::Digest { what: "a layer".into(), expected: layer.digest.clone(), found: found.into() })
}

fn file_digest(path: &Path) -> Result<String, PullError> {
    let mut file = File::open(path).map_err(PullError::io(path))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match file.read(&mut buffer).map_err(PullError::io(path))? {
            0 => return Ok(format!("sha256:{}", hex(context.finish().as_ref()))),
            count => context.update(&buffer[..count]),
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest(&SHA256, bytes).as_ref()))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What a pull left that was killed; a store may be shared with living ones.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.split_once('-')).and_then(|(pid, _)| pid.parse::<u32>().ok());
        let is_alive =
            pid.is_some_and(|pid| pid != std::process::id() && keeper::process::start_time(pid).is_some());
        if !is_alive {
            let path = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}
