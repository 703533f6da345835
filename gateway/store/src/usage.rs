//! What takes how much room, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use crate::Store;
use crate::error::{StoreError, blocking};
use crate::filter::Filter;
use crate::index::{Change, DirectoryRow, LayerRow, RecordRow};
use crate::layer::Layer;
use crate::record::{Kind, time};
use crate::store::Inner;

/// One thing the store holds, and the room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The id of the ref or directory; `blob <digest>` for a blob that no layer names, `layer <n>`
    /// for one that only handles of this process keep.
    pub id: String,
    /// What it holds.
    pub kind: Kind,
    /// For people.
    pub description: String,
    /// Bytes on disk of what this record owns: its layers that no other record owns, with their
    /// blobs. Everything is counted once.
    pub size: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub last_used: SystemTime,
    /// How often it was used.
    pub usage_count: u64,
    /// Whether a handle in this process keeps it.
    pub in_use: bool,
    /// Whether other records stand on its layers.
    pub shared: bool,
    /// The records that own the layers it stands on.
    pub parents: Vec<String>,
    /// Whether it is a directory that changes.
    pub mutable: bool,
    /// Whether something that wrote to it was killed.
    pub interrupted: bool,
}

impl Store {
    /// Lists what is stored, oldest use first.
    ///
    /// Without a filter the sizes add up to what `du -s` says of the root, up to what belongs to no record
    /// ([`Store::overhead`]). Layers are measured the first time only.
    pub async fn usage(&self, filter: &Filter) -> Result<Vec<Usage>, StoreError> {
        let mut all = self.inner.usage().await?;
        all.retain(|usage| filter.matches(usage));
        Ok(all)
    }

    /// Bytes on disk of what belongs to no record: the database and the space kept back for deletions, what
    /// is being written or deleted, and what others keep in the root, such as the history of builds.
    pub fn overhead(&self) -> u64 {
        self.inner.overhead()
    }
}

/// All that is in the root.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    /// What is stored, oldest use first.
    pub(crate) list: Vec<Usage>,
    /// Bytes of everything else.
    pub(crate) besides: u64,
    /// What was free on the disk before the count.
    pub(crate) free: u64,
}

impl Count {
    /// Bytes on disk of everything.
    pub(crate) fn used(&self) -> u64 {
        self.besides + self.list.iter().map(|usage| usage.size).sum::<u64>()
    }
}

impl Inner {
    /// Counts every byte of the root.
    pub(crate) async fn count(self: &Arc<Self>) -> Result<Count, StoreError> {
        // Before it begins, so that what is written meanwhile counts rather twice than never.
        let (_, free) = self.disk()?;
        let list = self.usage().await?;
        let store = self.clone();
        let besides = blocking(move || Ok::<_, StoreError>(store.overhead())).await?;
        Ok(Count { list, besides, free })
    }

    /// Everything, oldest use first.
    pub(crate) async fn usage(self: &Arc<Self>) -> Result<Vec<Usage>, StoreError> {
        let touches = self.touches();
        if !touches.is_empty() {
            self.index.note(touches);
        }
        self.index.settle().await?;
        let store = self.clone();
        blocking(move || {
            let mut records = store.index.records()?;
            records.sort_by(|(a, x), (b, y)| (x.created, a).cmp(&(y.created, b)));
            let layers = store.index.layers()?.into_iter().collect();
            let directories = store.index.directories()?;
            let owners = owners(&records, &directories);
            Survey { store, layers, owners, blobs: BTreeSet::new() }.list(records, directories)
        })
        .await
    }

    fn overhead(&self) -> u64 {
        let own = |path: &Path| path.symlink_metadata().map_or(0, |found| found.blocks() * 512);
        let mut total = own(&self.root);
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            total += match entry.file_name().to_str() {
                // Their content belongs to records, or is what is mounted there.
                Some("snapshots") => own(&path) + places_without_files(&path),
                Some("mnt") => own(&path),
                Some("blobs") => own(&path) + own(&path.join("sha256")),
                _ => tree_size(&path),
            };
        }
        total
    }
}

/// Which record owns each layer: the oldest that has it on top, or else the oldest that has it.
fn owners(
    records: &[(String, RecordRow)],
    directories: &[(String, DirectoryRow)],
) -> BTreeMap<u64, String> {
    let mut owners = BTreeMap::new();
    let tops = records.iter().filter_map(|(id, row)| Some((row.layers.last()?, id)));
    let all = records.iter().flat_map(|(id, row)| row.layers.iter().map(move |n| (n, id)));
    let bases = directories.iter().flat_map(|(id, row)| row.base.iter().map(move |n| (n, id)));
    for (number, id) in tops.chain(all).chain(bases) {
        owners.entry(*number).or_insert_with(|| id.clone());
    }
    owners
}

/// The making of a list.
struct Survey {
    store: Arc<Inner>,
    layers: BTreeMap<u64, LayerRow>,
    owners: BTreeMap<u64, String>,
    /// Blobs counted so far, as hexadecimal sums.
    blobs: BTreeSet<String>,
}

impl Survey {
    fn list(
        mut self,
        records: Vec<(String, RecordRow)>,
        directories: Vec<(String, DirectoryRow)>,
    ) -> Result<Vec<Usage>, StoreError> {
        let mut list = Vec::new();
        for (id, row) in records {
            list.push(self.record(id, row)?);
        }
        for (id, row) in directories {
            list.push(self.directory(id, row)?);
        }
        self.unkept(&mut list)?;
        self.loose_blobs(&mut list);
        let parents: BTreeSet<String> =
            list.iter().flat_map(|usage| usage.parents.iter().cloned()).collect();
        for usage in &mut list {
            usage.shared = parents.contains(&usage.id);
        }
        list.sort_by(|a, b| (a.last_used, &a.id).cmp(&(b.last_used, &b.id)));
        Ok(list)
    }

    fn record(&mut self, id: String, row: RecordRow) -> Result<Usage, StoreError> {
        let (size, layers_live) = self.owned(&id, &row.layers)?;
        Ok(Usage {
            kind: row.kind,
            description: row.description,
            size,
            created: time(row.created),
            last_used: time(row.last_used),
            usage_count: row.usage_count,
            in_use: layers_live || self.store.ref_is_live(&id),
            shared: false,
            parents: self.parents(&id, &row.layers),
            mutable: false,
            interrupted: false,
            id,
        })
    }

    fn directory(&mut self, id: String, row: DirectoryRow) -> Result<Usage, StoreError> {
        let in_use = self.store.live().directories.contains(&id);
        let own = match row.size.filter(|_| !in_use) {
            Some(size) => size,
            None => tree_size(&self.store.snapshot(row.number)),
        };
        if !in_use && row.size.is_none() {
            let measured = Change::Measure { id: id.clone(), size: Some(own) };
            self.store.index.note(vec![measured]);
        }
        let (base, _) = self.owned(&id, &row.base)?;
        Ok(Usage {
            kind: row.kind,
            description: row.key,
            size: own + base,
            created: time(row.created),
            last_used: time(row.last_used),
            usage_count: row.usage_count,
            in_use,
            shared: false,
            parents: self.parents(&id, &row.base),
            mutable: true,
            interrupted: !in_use && self.store.is_interrupted(row.number),
            id,
        })
    }

    /// The size of the layers a record owns, and whether a handle keeps one of them.
    fn owned(&mut self, id: &str, layers: &[u64]) -> Result<(u64, bool), StoreError> {
        let (mut size, mut live) = (0, false);
        for &number in layers {
            if self.owners.get(&number).is_none_or(|owner| owner != id) {
                continue;
            }
            let row = self.layers.get(&number).cloned().unwrap_or_default();
            size += match row.size {
                Some(size) => size,
                None => self.measure(number, &row),
            };
            for blob in &row.blobs {
                size += self.blob_size(blob.digest.hex());
            }
            live |= self.store.layer_is_live(number);
        }
        Ok((size, live))
    }

    /// Measures a layer, and notes the result.
    fn measure(&self, number: u64, row: &LayerRow) -> u64 {
        let row = row.clone();
        match Layer::shared(&self.store, number, move || Some(row)) {
            Some(layer) => layer_size(&layer),
            None => 0,
        }
    }

    fn blob_size(&mut self, hex: &str) -> u64 {
        if !self.blobs.insert(hex.to_owned()) {
            return 0;
        }
        let path = self.store.blob_file(hex);
        path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    fn parents(&self, id: &str, layers: &[u64]) -> Vec<String> {
        let mut parents: Vec<String> = Vec::new();
        for owner in layers.iter().filter_map(|number| self.owners.get(number)) {
            if owner != id && !parents.contains(owner) {
                parents.push(owner.clone());
            }
        }
        parents
    }

    /// Layers that only handles of this process keep.
    fn unkept(&mut self, list: &mut Vec<Usage>) -> Result<(), StoreError> {
        let (writing, live): (Vec<u64>, Vec<u64>) = {
            let live = self.store.live();
            let alive = live.layers.iter().filter(|(_, layer)| layer.strong_count() > 0);
            (live.writing.iter().copied().collect(), alive.map(|(number, _)| *number).collect())
        };
        let writing = writing.into_iter().map(|number| (number, true));
        let live = live.into_iter().map(|number| (number, false));
        for (number, mutable) in writing.chain(live) {
            if self.layers.contains_key(&number) {
                continue;
            }
            let path = self.store.snapshot(number);
            let Ok(metadata) = path.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let layer = self.store.live().layers.get(&number).and_then(Weak::upgrade);
            // What is finished is measured once.
            let size = match layer.filter(|layer| layer.is_filled()) {
                Some(layer) => layer_size(&layer),
                None => tree_size(&path),
            };
            list.push(Usage {
                id: format!("layer {number}"),
                kind: Kind::Regular,
                description: "in use, not kept".to_owned(),
                size,
                created: modified,
                last_used: modified,
                usage_count: 1,
                in_use: true,
                shared: false,
                parents: Vec::new(),
                mutable,
                interrupted: false,
            });
        }
        Ok(())
    }

    /// Blobs that no kept layer names.
    fn loose_blobs(&mut self, list: &mut Vec<Usage>) {
        let entries = fs::read_dir(self.store.root.join("blobs/sha256"));
        for entry in entries.into_iter().flatten().flatten() {
            let (Ok(hex), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata())
            else {
                continue;
            };
            if !self.blobs.insert(hex.clone()) {
                continue;
            }
            let digest = format!("sha256:{hex}");
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            list.push(Usage {
                in_use: self.store.blob_is_pinned(&digest),
                id: format!("blob {digest}"),
                kind: Kind::Regular,
                description: "blob".to_owned(),
                size: metadata.blocks() * 512,
                created: written,
                last_used: written,
                usage_count: 1,
                shared: false,
                parents: Vec::new(),
                mutable: false,
                interrupted: false,
            });
        }
    }
}

impl Inner {
    pub(crate) fn ref_is_live(&self, id: &str) -> bool {
        self.live().refs.get(id).is_some_and(|other| other.strong_count() > 0)
    }

    pub(crate) fn layer_is_live(&self, number: u64) -> bool {
        self.live().layers.get(&number).is_some_and(|layer| layer.strong_count() > 0)
    }

    pub(crate) fn blob_is_pinned(&self, digest: &str) -> bool {
        self.live().blobs.get(digest).is_some_and(|pin| pin.strong_count() > 0)
    }
}

/// Bytes on disk of the places of layers that are elsewhere.
fn places_without_files(snapshots: &Path) -> u64 {
    let places = fs::read_dir(snapshots).into_iter().flatten().flatten();
    let places = places.filter(|place| !place.path().join("fs").exists());
    places.map(|place| place.metadata().map_or(0, |found| found.blocks() * 512)).sum()
}

/// Bytes on disk of a layer, counted the first time.
pub(crate) fn layer_size(layer: &Layer) -> u64 {
    if !layer.is_filled() {
        return 0;
    }
    let known = layer.row().size;
    if let Some(size) = known.filter(|_| !layer.is_view()) {
        return size;
    }
    let size = tree_size(&layer.place());
    layer.note(|row| row.size = Some(size));
    size
}

/// Bytes on disk of everything beneath a path; files with several names count once, and what is mounted
/// there does not.
pub(crate) fn tree_size(root: &Path) -> u64 {
    let mut total = 0;
    let mut seen = BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    let device = root.symlink_metadata().map(|found| found.dev()).ok();
    while let Some(path) = pending.pop() {
        // What disappears meanwhile takes no room.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if Some(metadata.dev()) != device {
            continue;
        }
        if metadata.nlink() == 1 || metadata.is_dir() || seen.insert(metadata.ino()) {
            total += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path);
            pending.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    total
}
