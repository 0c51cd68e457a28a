//! What archives may and may not do.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tar::{Builder, Header};

use super::*;

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Names are written raw: an attacker's tool checks nothing.
    fn add(mut self, kind: EntryType, path: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.add(EntryType::Regular, path, "", 0o644, text.as_bytes())
    }

    fn link(self, path: &str, to: &str) -> Self {
        self.add(EntryType::Symlink, path, to, 0o777, b"")
    }

    fn unpack(self, target: &Path) -> Result<String, Error> {
        self.unpack_within(target, 1 << 20)
    }

    fn unpack_within(self, target: &Path, bytes: u64) -> Result<String, Error> {
        run(&self.0.into_inner().unwrap(), target, bytes)
    }
}

fn run(bytes: &[u8], target: &Path, budget: u64) -> Result<String, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let budget = AtomicU64::new(budget);
    unpack(File::open(file.path()).unwrap(), target, &Limits { entries_max: 100, budget: &budget })
}

fn skip_without_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: owners and devices need root");
    }
    !is_root
}

/// A directory to unpack to, with a file beside it that must not change.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("layer");
    fs::create_dir(&target).unwrap();
    fs::write(dir.path().join("precious"), "intact").unwrap();
    (dir, target)
}

#[test]
fn owners_modes_times_links_and_missing_parents() {
    if skip_without_root() {
        return;
    }
    let (_dir, target) = place();
    Archive::new()
        .add(EntryType::Regular, "usr/bin/tool", "", 0o4755, b"#!")
        .add(EntryType::Link, "usr/bin/alias", "usr/bin/tool", 0, b"")
        .link("bin", "usr/bin")
        .file("./bin/second", "through the link")
        .unpack(&target)
        .unwrap();
    let tool = fs::metadata(target.join("usr/bin/tool")).unwrap();
    assert_eq!(
        (tool.uid(), tool.gid(), tool.mode() & 0o7777, tool.mtime(), tool.nlink()),
        (7, 8, 0o4755, 1_000_000, 2)
    );
    assert_eq!(fs::read_to_string(target.join("usr/bin/second")).unwrap(), "through the link");
}

#[test]
fn climbing_out_is_refused() {
    let (dir, target) = place();
    for path in ["../precious", "a/../../precious", "..", "/../precious", "x/.."] {
        let result = Archive::new().file(path, "owned").unpack(&target);
        assert!(matches!(result, Err(Error::Escape(_))), "{path}: {result:?}");
    }
    let result = Archive::new().add(EntryType::Link, "a", "../precious", 0, b"").unpack(&target);
    assert!(matches!(result, Err(Error::Escape(_))), "{result:?}");
    assert_eq!(fs::read_to_string(dir.path().join("precious")).unwrap(), "intact");
}

#[test]
fn links_stay_inside() {
    if skip_without_root() {
        return;
    }
    let (dir, target) = place();
    let outside = dir.path().to_str().unwrap();
    // Through a link to the directory above, relative and absolute.
    let _ = Archive::new().link("up", "..").file("up/precious", "owned").unpack(&target);
    let _ = Archive::new().link("abs", outside).file("abs/precious", "owned").unpack(&target);
    // Over a link that is the file itself, and a hard link to it.
    let precious = format!("{outside}/precious");
    Archive::new().link("leaf", &precious).file("leaf", "own file").unpack(&target).unwrap();
    let _ = Archive::new()
        .link("l2", &precious)
        .add(EntryType::Link, "hard", "l2", 0, b"")
        .file("hard", "x")
        .unpack(&target);
    // A link in the place of a remembered directory.
    let _ = Archive::new().file("d/a", "1").link("d", outside).file("d/precious", "owned").unpack(&target);
    assert_eq!(fs::read_to_string(dir.path().join("precious")).unwrap(), "intact");
    assert_eq!(fs::read_to_string(target.join("leaf")).unwrap(), "own file");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing new beside the layer");
}

#[test]
fn whiteouts_become_the_overlays() {
    if skip_without_root() {
        return;
    }
    let (_dir, target) = place();
    Archive::new()
        .file("etc/.wh.gone", "")
        .file("var/.wh..wh..opq", "")
        .file(".wh..wh.plnk", "")
        .file("a/.wh...", "")
        .unpack(&target)
        .unwrap();
    let gone = fs::symlink_metadata(target.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(target.join("var"), OPAQUE_ATTRIBUTE, &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert_eq!(fs::read_dir(target.join("a")).unwrap().count(), 0);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    if skip_without_root() {
        return;
    }
    let (_dir, target) = place();
    Archive::new()
        .file("x/deep/file", "1")
        .file("x", "now a file")
        .file("y", "a file")
        .add(EntryType::Directory, "y/", "", 0o750, b"")
        .unpack(&target)
        .unwrap();
    assert_eq!(fs::read_to_string(target.join("x")).unwrap(), "now a file");
    assert_eq!(fs::metadata(target.join("y")).unwrap().permissions().mode() & 0o7777, 0o750);
}

#[test]
fn limits_hold() {
    if skip_without_root() {
        return;
    }
    let (_dir, target) = place();
    let result = Archive::new().file("big", &"x".repeat(5000)).unpack_within(&target, 4096);
    assert!(matches!(result, Err(Error::TooLarge)), "{result:?}");
    let many = (0..101).fold(Archive::new(), |archive, number| archive.file(&number.to_string(), ""));
    assert!(matches!(many.unpack(&target), Err(Error::TooMany(100))));
    // A size that the data does not keep, and one beyond any machine.
    for size in [1 << 16, u64::MAX >> 1] {
        let mut header = Header::new_gnu();
        header.set_path("liar").unwrap();
        header.set_size(size);
        header.set_cksum();
        assert!(run(header.as_bytes(), &target, u64::MAX).is_err());
    }
    // A long name that never ends.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(16 << 20);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(17 << 20, b'a');
    assert!(run(&bytes, &target, u64::MAX).is_err());
}

#[test]
fn damage_is_an_error() {
    let (_dir, target) = place();
    let zstd = [&ZSTD_MAGIC[..], &[0; 600]].concat();
    assert!(matches!(run(&zstd, &target, 1 << 20), Err(Error::Zstd)));
    for bytes in [vec![0x1f, 0x8b, 8, 0, 0], vec![b'x'; 1024], vec![b'x'; 100]] {
        assert!(run(&bytes, &target, 1 << 20).is_err());
    }
}
