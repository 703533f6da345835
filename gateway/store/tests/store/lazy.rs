//! Refs whose files are elsewhere: nothing comes until somebody wants to see it, and then once.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use kiln_oci::{Descriptor, Digest, media_type};
use kiln_store::{
    BlobProvider, ByteStream, Compression, CompressionKind, FillError, Filter, LayerBlob,
    LoadError, LostLayer, Providers, PruneOptions, RecordInfo, Ref, Requester, Store,
};

use crate::support::*;

/// Somebody who has blobs, and counts how often they are wanted.
#[derive(Default)]
struct Shelf {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    opened: AtomicUsize,
    /// Sends nothing, and never ends.
    hangs: bool,
    /// What it does not give can be made anew.
    is_cache: bool,
    /// What it is called, if not just so.
    name: &'static str,
}

impl Shelf {
    /// Puts the tar of a layer there.
    fn put(&self, items: &[Item]) -> LayerBlob {
        let tar = archive(items);
        let packed = gzip(&tar);
        let digest = Digest::sha256(&packed);
        let size = packed.len() as u64;
        let descriptor = Descriptor::new(media_type::OCI_LAYER_GZIP, digest.clone(), size);
        self.blobs.lock().unwrap().insert(digest, packed);
        LayerBlob { descriptor, diff_id: Digest::sha256(&tar) }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl BlobProvider for Shelf {
    fn name(&self) -> String {
        if self.name.is_empty() { "a shelf".into() } else { self.name.into() }
    }

    fn open(&self, blob: &Descriptor, _: &Requester) -> ByteStream {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            return stream::pending().boxed();
        }
        match self.blobs.lock().unwrap().get(&blob.digest) {
            Some(bytes) => {
                let pieces: Vec<_> =
                    bytes.chunks(50).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
                stream::iter(pieces).boxed()
            }
            None => stream::iter([Err("it is gone".into())]).boxed(),
        }
    }

    fn has_lost(&self, _: &(dyn Error + 'static)) -> bool {
        self.is_cache
    }
}

/// Finds a shelf, or nobody.
struct Find(Option<Arc<Shelf>>);

#[async_trait]
impl Providers for Find {
    async fn find(&self, _: &Descriptor) -> Vec<Arc<dyn BlobProvider>> {
        self.0.iter().map(|shelf| Arc::clone(shelf) as _).collect()
    }
}

/// Three layers on a shelf, the last of which hides a file of the first.
fn image() -> (Arc<Shelf>, Vec<LayerBlob>) {
    let shelf = Arc::new(Shelf::default());
    let layers = [
        shelf.put(&[directory("d/"), file("d/a", "1"), file("b", "2")]),
        shelf.put(&[file("c", "3")]),
        shelf.put(&[directory("d/"), file("d/.wh.a", ""), file("d/e", "4")]),
    ];
    (shelf, layers.into())
}

async fn lazy(store: &Store, layers: &[LayerBlob], shelf: &Arc<Shelf>) -> Ref {
    store.lazy(layers, &(Arc::clone(shelf) as Arc<dyn BlobProvider>)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looks_into_is_not_fetched_and_many_who_do_fetch_it_once() {
    let (_root, store) = store();
    let (shelf, layers) = image();
    let r = lazy(&store, &layers, &shelf).await;
    let again = lazy(&store, &layers, &shelf).await;
    let number = |r: &Ref| r.layers().iter().map(|layer| layer.number()).collect::<Vec<_>>();
    assert_eq!(number(&r), number(&again), "layers are shared");
    assert!(r.ready().is_none());
    let blobs = store.layer_blobs(&r, Compression::default(), &nobody(), &|_| {}).await.unwrap();
    assert_eq!(blobs, layers, "what they are is known");
    assert_eq!(r.diff_ids().unwrap().len(), 3);
    assert_eq!(r.size().await.unwrap(), 0);
    r.keep(RecordInfo::default()).await.unwrap();
    assert_eq!(shelf.opened(), 0);
    let made = r.layers()[1].made().unwrap();
    let asked = (0..8).map(|at| {
        let r = if at % 2 == 0 { r.clone() } else { again.clone() };
        tokio::spawn(async move { r.files(&nobody()).await.unwrap().lowers() })
    });
    let mut seen = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        seen.push(asked.await.unwrap());
    }
    seen.dedup();
    assert_eq!((seen.len(), shelf.opened()), (1, 3));
    if can_mount() {
        assert_eq!(names(r.mount().await.unwrap().path()), ["b", "c", "d", "d/e"]);
    }
    assert!(r.layers()[2].may_hide() && !r.layers()[0].may_hide(), "now it is known");
    let applied = store.apply(None, &layers[0]).await.unwrap();
    assert_eq!(applied.layers()[0].number(), r.layers()[0].number());
    assert!(r.size().await.unwrap() > 0);
    assert_eq!(r.layers()[1].made(), Some(made), "it is as old as before");
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_and_the_next_begins_anew() {
    let (root, store) = store();
    let (shelf, layers) = image();
    let hanging = Arc::new(Shelf { hangs: true, ..Shelf::default() });
    let r = lazy(&store, &layers, &hanging).await;
    r.keep(RecordInfo::default()).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), r.files(&nobody())).await;
    assert!(waited.is_err() && hanging.opened() > 0);
    assert!(r.ready().is_none());
    // One that can be had replaces the other, who has the same name.
    let again = lazy(&store, &layers, &shelf).await;
    again.files(&nobody()).await.unwrap();
    assert!(r.ready().is_some());
    store.prune(PruneOptions::default(), &mut |_| {}).await.unwrap();
    for name in ["ingest", "trash"] {
        assert_eq!(names(&root.path().join(name)), [""; 0], "{name}");
    }
    let snapshots = std::fs::read_dir(root.path().join("snapshots")).unwrap().count();
    assert_eq!(snapshots, 3, "no half layer is left");
}

#[tokio::test]
async fn an_error_names_the_layer_and_who_should_have_it() {
    let (_root, store) = store();
    let (shelf, mut layers) = image();
    let lost = layers[1].descriptor.digest.clone();
    let bytes = shelf.blobs.lock().unwrap().remove(&lost).unwrap();
    let r = lazy(&store, &layers, &shelf).await;
    let error = r.files(&nobody()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("layer {lost} of a shelf"));
    assert!(
        matches!(&error, FillError::Fetch { source, .. } if source.to_string() == "it is gone")
    );
    assert!(r.layers()[0].is_filled() && !r.layers()[2].is_filled(), "whole layers stay");
    // Other bytes than promised are none.
    shelf.blobs.lock().unwrap().insert(lost.clone(), vec![0; bytes.len()]);
    let error = r.files(&nobody()).await.unwrap_err();
    assert!(matches!(error, FillError::Fetch { layer, .. } if layer == lost));
    // And other files than promised are none.
    shelf.blobs.lock().unwrap().insert(lost, bytes);
    layers[2].diff_id = Digest::sha256("another");
    let error = lazy(&store, &layers, &shelf).await.files(&nobody()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot unpack a shelf");
    r.files(&nobody()).await.unwrap();
}

#[tokio::test]
async fn after_a_restart_it_is_there_for_who_knows_where_to_get_it() {
    let (root, store) = store();
    let (shelf, layers) = image();
    let r = lazy(&store, &layers, &shelf).await;
    r.keep(RecordInfo::default()).await.unwrap();
    let id = r.id().to_owned();
    let usage = store.usage(&Filter::default()).await.unwrap();
    assert_eq!((usage.len(), usage[0].size), (1, 0));
    drop((r, store));
    let store = open(root.path());
    let missing = |found: Result<Ref, LoadError>| matches!(found, Err(LoadError::NotFound(_)));
    assert!(missing(store.load(&id)), "not all of it is here");
    assert!(missing(store.load_lazy(&id, &Find(None)).await));
    let r = store.load_lazy(&id, &Find(Some(shelf.clone()))).await.unwrap();
    assert!(r.ready().is_none());
    // A number that belongs to a layer without files is not given to another.
    let other = apply(&store, None, &[file("other", "")]).await;
    let number = other.layers()[0].number();
    assert!(r.layers().iter().all(|layer| layer.number() != number));
    r.files(&nobody()).await.unwrap();
    drop((r, other, store));
    let store = open(root.path());
    let r = store.load(&id).unwrap();
    assert_eq!(shelf.opened(), 3);
    assert_eq!(names(&r.layers()[1].path()), ["c"]);
    assert!(!r.layers()[1].may_hide(), "what was seen is remembered");
    drop(r);
    store.prune(PruneOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!(names(&root.path().join("snapshots")), [""; 0]);
    assert_eq!(names(&root.path().join("blobs/sha256")), [""; 0]);
}

#[tokio::test]
async fn a_blob_is_had_without_its_files() {
    let (root, store) = store();
    let (shelf, layers) = image();
    let r = lazy(&store, &layers, &shelf).await;
    let digest = &layers[1].descriptor.digest;
    let blob = r.blob(digest, &nobody()).await.unwrap();
    assert_eq!((blob.digest(), shelf.opened()), (digest, 1));
    assert!(r.ready().is_none());
    // In another form it has to come, but not to be unpacked.
    let zstd = Compression { kind: CompressionKind::Zstd, force: true, level: None };
    let made = store.layer_blobs(&r, zstd, &nobody(), &|_| {}).await.unwrap();
    assert!(made.iter().zip(&layers).all(|(made, layer)| made.diff_id == layer.diff_id));
    assert!(made.iter().all(|made| made.descriptor.media_type.ends_with("zstd")));
    assert_eq!(shelf.opened(), 3);
    assert!(r.ready().is_none());
    // A kept ref whose blobs are here needs nobody.
    r.keep(RecordInfo::default()).await.unwrap();
    let id = r.id().to_owned();
    drop((r, blob, store));
    let store = open(root.path());
    let r = store.load(&id).unwrap();
    r.files(&nobody()).await.unwrap();
    assert_eq!(shelf.opened(), 3);
}

#[tokio::test]
async fn what_is_merged_in_its_place_stays_where_it_is() {
    let (_root, store) = store();
    let (shelf, layers) = image();
    let base = lazy(&store, &layers[..1], &shelf).await;
    let whole = lazy(&store, &layers, &shelf).await;
    let merged = store.merge(&[base, whole], &nobody()).await.unwrap();
    assert_eq!((merged.layers().len(), shelf.opened()), (3, 0));
    // What comes to lie on other layers is looked into.
    let other = apply(&store, None, &[file("other", "")]).await;
    let merged = store.merge(&[other, merged], &nobody()).await.unwrap();
    assert_eq!(shelf.opened(), 3);
    assert!(merged.ready().is_some());
}

#[tokio::test]
async fn files_that_came_as_the_machine_went_down_are_not_believed() {
    let (root, store) = store();
    let (shelf, layers) = image();
    let r = lazy(&store, &layers, &shelf).await;
    r.keep(RecordInfo::default()).await.unwrap();
    let (id, number) = (r.id().to_owned(), r.layers()[1].number());
    drop((r, store));
    // A directory that got its name, of which the index was not told any more.
    let files = root.path().join(format!("snapshots/{number}/fs"));
    std::fs::create_dir(&files).unwrap();
    put(&files, "c", "");
    let find = Find(Some(shelf));
    let store = open(root.path());
    let r = store.load_lazy(&id, &find).await.unwrap();
    assert!(r.layers()[1].is_filled(), "it has its name because it is whole");
    drop((r, store));
    // If the machine went down meanwhile, what is in it may never have reached the disk.
    let index = redb::Database::open(root.path().join("metadata.redb")).unwrap();
    let write = index.begin_write().unwrap();
    let texts = redb::TableDefinition::<&str, &str>::new("store.texts");
    write.open_table(texts).unwrap().insert("boot", "another").unwrap();
    let numbers = redb::TableDefinition::<&str, u64>::new("store.numbers");
    let mut numbers = write.open_table(numbers).unwrap();
    // The record itself had reached it.
    let epoch = redb::ReadableTable::get(&numbers, "epoch").unwrap().unwrap().value();
    numbers.insert("settled", epoch).unwrap();
    drop(numbers);
    write.commit().unwrap();
    drop(index);
    let store = open(root.path());
    let r = store.load_lazy(&id, &find).await.unwrap();
    assert!(!r.layers()[1].is_filled());
    r.files(&nobody()).await.unwrap();
    assert_eq!(std::fs::read_to_string(files.join("c")).unwrap(), "3");
}

#[tokio::test]
async fn two_images_may_have_a_layer_in_two_blobs() {
    let (_root, store) = store();
    let shelf = Shelf::default();
    let one = shelf.put(&[file("a", "1")]);
    // The same tar, compressed in another way.
    let mut packed = shelf.blobs.lock().unwrap()[&one.descriptor.digest].clone();
    packed.extend(gzip(b""));
    let digest = Digest::sha256(&packed);
    let size = packed.len() as u64;
    let descriptor = Descriptor::new(media_type::OCI_LAYER_GZIP, digest.clone(), size);
    shelf.blobs.lock().unwrap().insert(digest, packed);
    let other = LayerBlob { descriptor, diff_id: one.diff_id.clone() };
    let shelf = Arc::new(shelf);
    let first = lazy(&store, std::slice::from_ref(&one), &shelf).await;
    first.files(&nobody()).await.unwrap();
    let second = lazy(&store, std::slice::from_ref(&other), &shelf).await;
    assert_eq!(first.layers()[0].number(), second.layers()[0].number(), "the files are shared");
    // What is put on top of it does not change that, nor does keeping it.
    let second = apply(&store, Some(&second), &[file("b", "2")]).await;
    second.keep(RecordInfo::default()).await.unwrap();
    let id = second.id().to_owned();
    drop(second);
    let second = store.load(&id).unwrap();
    let gzip = Compression { kind: CompressionKind::Gzip, level: None, force: false };
    let blob = async |r: &Ref| {
        let blobs = store.layer_blobs(r, gzip, &nobody(), &|_| {}).await.unwrap();
        blobs[0].descriptor.digest.clone()
    };
    assert_eq!(blob(&first).await, one.descriptor.digest);
    assert_eq!(blob(&second).await, other.descriptor.digest);
    let fetched = second.blob(&other.descriptor.digest, &nobody()).await.unwrap();
    assert_eq!(*fetched.digest(), other.descriptor.digest);
    assert_eq!(shelf.opened(), 2, "each once");
}

#[tokio::test]
async fn what_a_cache_has_lost_is_a_miss_until_somebody_else_has_it() {
    let (_root, store) = store();
    let shelf = Arc::new(Shelf { is_cache: true, ..Shelf::default() });
    let layers = [shelf.put(&[file("a", "1")]), shelf.put(&[file("b", "2")])];
    let gone = layers[1].descriptor.digest.clone();
    let bytes = shelf.blobs.lock().unwrap().remove(&gone).unwrap();
    let r = lazy(&store, &layers, &shelf).await;
    r.keep(RecordInfo::default()).await.unwrap();
    assert!(!r.is_doubtful());
    let error = r.files(&nobody()).await.unwrap_err();
    assert!(LostLayer::is_cause_of(&error), "{error:?}");
    assert_eq!(error.to_string(), format!("layer {gone} of a shelf"));
    let found = store.load_lazy(r.id(), &Find(Some(Arc::clone(&shelf)))).await;
    assert!(matches!(found, Err(LoadError::NotFound(_))), "{found:?}");
    // Others of it are looked at before they are believed.
    assert!(lazy(&store, &[shelf.put(&[file("c", "3")])], &shelf).await.is_doubtful());
    // Somebody else has it.
    let other = Arc::new(Shelf { name: "another shelf", ..Shelf::default() });
    other.blobs.lock().unwrap().insert(gone, bytes);
    let found = lazy(&store, &layers, &other).await;
    assert!(found.layers().iter().all(|layer| !layer.is_lost()));
    found.files(&nobody()).await.unwrap();
    store.load_lazy(r.id(), &Find(Some(shelf))).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_such_layer_are_a_loss_of_a_cache_and_a_mistake_of_an_image() {
    for is_cache in [true, false] {
        let (_root, store) = store();
        let shelf = Arc::new(Shelf { is_cache, ..Shelf::default() });
        let other = shelf.put(&[file("a", "1")]);
        let said = LayerBlob { diff_id: Digest::sha256("another"), ..other };
        let r = lazy(&store, &[said], &shelf).await;
        let error = r.files(&nobody()).await.unwrap_err();
        assert_eq!(LostLayer::is_cause_of(&error), is_cache, "{error:?}");
        assert_eq!(r.layers()[0].is_lost(), is_cache);
    }
}
