//! Throwaway stores, archives written entry by entry, and trees as text.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, media_type};
use kiln_store::{
    ApplyError, Files, Kind, Layer, LayerBlob, MountError, Mounted, RecordInfo, Ref, Requester,
    Store, StoreOptions,
};
use tempfile::TempDir;

/// A store in a directory that goes away with it.
pub(crate) fn store() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    (directory, store)
}

/// Opens a store as tests do.
pub(crate) fn open(root: &Path) -> Store {
    Store::open(root, StoreOptions::default()).unwrap()
}

/// Keeps so many records of a megabyte, oldest first, and gives their ids.
pub(crate) async fn records(store: &Store, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let content = format!("{n:08}").repeat(1 << 17);
        let r = apply(store, None, &[file("f", &content)]).await;
        r.keep(RecordInfo { kind: Kind::Regular, description: "test".into() }).await.unwrap();
        ids.push(r.id().to_owned());
        // Times of use are in milliseconds, and order is by them.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    ids
}

/// Bytes on disk of everything in a store.
pub(crate) async fn used(store: &Store) -> u64 {
    let usage = store.usage(&Default::default()).await.unwrap();
    usage.iter().map(|usage| usage.size).sum::<u64>() + store.overhead()
}

/// Says that a test is skipped, and why.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should see it")]
pub(crate) fn skip(needs: &str) {
    eprintln!("skipped: needs {needs}");
}

/// Whether this process may mount; says so if not.
pub(crate) fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("root");
    }
    root
}

/// One entry of an archive.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) kind: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
    pub(crate) records: Vec<(String, Vec<u8>)>,
    /// The size to claim, if not the true one.
    pub(crate) size: Option<u64>,
}

pub(crate) fn item(kind: u8, name: &str) -> Item {
    Item {
        kind,
        name: name.into(),
        link: Vec::new(),
        data: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        owner: (0, 0),
        mtime: 1_000_000_000,
        device: (0, 0),
        records: Vec::new(),
        size: None,
    }
}

pub(crate) fn file(name: &str, data: &str) -> Item {
    Item { data: data.into(), ..item(b'0', name) }
}

pub(crate) fn directory(name: &str) -> Item {
    item(b'5', name)
}

pub(crate) fn symlink(name: &str, target: &str) -> Item {
    Item { link: target.into(), ..item(b'2', name) }
}

pub(crate) fn hard_link(name: &str, target: &str) -> Item {
    Item { link: target.into(), ..item(b'1', name) }
}

pub(crate) fn xattr(item: Item, name: &str, value: &[u8]) -> Item {
    let mut item = item;
    item.records.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
    item
}

/// The bytes of an archive. Written by hand, because hostile ones cannot be written otherwise.
pub(crate) fn archive(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut records = item.records.clone();
        if item.name.len() > 100 {
            records.push(("path".into(), item.name.clone()));
        }
        if !records.is_empty() {
            let mut bytes = Vec::new();
            for (key, value) in records {
                let rest = key.len() + value.len() + 3;
                let len = (rest..).find(|len| len.to_string().len() + rest == *len).unwrap();
                bytes.extend(format!("{len} {key}=").bytes());
                bytes.extend(value);
                bytes.push(b'\n');
            }
            block(&mut out, &Item { data: bytes, ..super::support::item(b'x', "pax") });
        }
        block(&mut out, item);
    }
    out.extend([0; 1024]);
    out
}

fn block(out: &mut Vec<u8>, item: &Item) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(item.mode);
    header.set_uid(item.owner.0);
    header.set_gid(item.owner.1);
    header.set_mtime(item.mtime);
    header.set_size(item.size.unwrap_or(item.data.len() as u64));
    if item.device != (0, 0) {
        header.set_device_major(item.device.0).unwrap();
        header.set_device_minor(item.device.1).unwrap();
    }
    let old = header.as_old_mut();
    old.linkflag = [item.kind];
    let name = &item.name[..item.name.len().min(100)];
    old.name[..name.len()].copy_from_slice(name);
    let link = &item.link[..item.link.len().min(100)];
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    out.extend(header.as_bytes());
    out.extend(&item.data);
    out.extend(vec![0; item.data.len().next_multiple_of(512) - item.data.len()]);
}

/// Stores bytes as a layer blob.
pub(crate) async fn blob(
    store: &Store,
    tar: &[u8],
    compressed: Vec<u8>,
    media_type: &str,
) -> LayerBlob {
    let blob = store.write_blob(compressed).await.unwrap();
    let descriptor = Descriptor::new(media_type, blob.digest().clone(), blob.size());
    LayerBlob { descriptor, diff_id: Digest::sha256(tar) }
}

/// Applies an archive, not compressed.
pub(crate) async fn try_apply(
    store: &Store,
    parent: Option<&Ref>,
    items: &[Item],
) -> Result<Ref, ApplyError> {
    let tar = archive(items);
    let blob = blob(store, &tar, tar.clone(), media_type::OCI_LAYER).await;
    store.apply(parent, &blob).await
}

pub(crate) async fn apply(store: &Store, parent: Option<&Ref>, items: &[Item]) -> Ref {
    try_apply(store, parent, items).await.unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tree as text, one line per entry: path, kind and mode, owner, content or target.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let what = if kind.is_dir() {
                pending.push(path.clone());
                "dir".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_file() {
                format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
            } else if kind.is_char_device() {
                format!("char {}", metadata.rdev())
            } else {
                "special".to_owned()
            };
            let (uid, gid) = kiln_store::owner::owner(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let mode = metadata.mode() & 0o7777;
            lines.insert(name, format!("{mode:o} {uid}:{gid} {} {what}", metadata.mtime()));
        }
    }
    lines
}

/// The names in a tree.
pub(crate) fn names(root: &Path) -> Vec<String> {
    tree(root).into_keys().collect()
}

/// Writes a file into something prepared.
pub(crate) fn put(root: &Path, name: &str, data: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// What most tests know of refs: that everything is here.
pub(crate) trait Here {
    fn here(&self) -> Files;

    fn mount(&self) -> impl Future<Output = Result<Mounted, MountError>> {
        let files = self.here();
        async move { files.mount().await }
    }
}

impl Here for Ref {
    fn here(&self) -> Files {
        self.ready().expect("all of it is here")
    }
}

/// The same for layers.
pub(crate) trait HerePath {
    fn path(&self) -> PathBuf;
}

impl HerePath for Arc<Layer> {
    fn path(&self) -> PathBuf {
        self.snapshot().expect("it is here").path()
    }
}

/// For whom nothing has to be fetched.
pub(crate) fn nobody() -> Requester {
    Requester::nobody()
}
