//! Layers in a compression from which single files can be read.

use std::fs;
use std::io::Read;

use base64::Engine as _;
use kiln_oci::{Digest, media_type};
use kiln_store::{Compression, CompressionKind, LayerBlob, PackError, RecordInfo, Ref, Store};
use serde_json::Value;

use crate::support::*;

const ESTARGZ: Compression =
    Compression { kind: CompressionKind::Estargz, level: None, force: false };
const FORCED: Compression = Compression { force: true, ..ESTARGZ };

async fn try_blobs(
    store: &Store,
    r: &Ref,
    compression: Compression,
) -> Result<Vec<LayerBlob>, PackError> {
    store.layer_blobs(r, compression, &nobody(), &|_| {}).await
}

async fn blobs(store: &Store, r: &Ref, compression: Compression) -> Vec<LayerBlob> {
    try_blobs(store, r, compression).await.unwrap()
}

fn bytes(store: &Store, layer: &LayerBlob) -> Vec<u8> {
    fs::read(store.blob(&layer.descriptor.digest).unwrap().path()).unwrap()
}

/// Gunzips all members.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut unpacked).unwrap();
    unpacked
}

/// Files of every kind, among them one of three pieces, the last of which is full.
fn items() -> Vec<Item> {
    let large: String =
        (0..12 << 20).map(|i: u32| char::from(b'a' + (i / 999 % 26) as u8)).collect();
    vec![
        directory("d/"),
        file("d/empty", ""),
        Item { mode: 0o4755, owner: (1000, 7), ..file("d/small", "small") },
        file("d/large", &large),
        file("ümlaut", "u"),
        hard_link("d/link", "d/small"),
        symlink("far", "d/large"),
        Item { device: (1, 3), ..item(b'3', "null") },
        item(b'6', "pipe"),
        xattr(file("noted", "n"), "user.note", b"\xff\0"),
    ]
}

/// The table, as whoever fetches parts of the blob finds it.
fn table(blob: &[u8]) -> (Vec<u8>, usize) {
    let footer = &blob[blob.len() - 51..];
    assert!(gunzip(footer).is_empty());
    let at = std::str::from_utf8(&footer[16..32]).unwrap();
    let at = usize::from_str_radix(at, 16).unwrap();
    let tar = gunzip(&blob[at..blob.len() - 51]);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("stargz.index.json"));
    let mut json = Vec::new();
    entry.read_to_end(&mut json).unwrap();
    (json, at)
}

#[tokio::test]
async fn every_file_can_be_read_alone_by_the_table() {
    let (_root, store) = store();
    let r = apply(&store, None, &items()).await;
    let made = blobs(&store, &r, FORCED).await.remove(0);
    assert_eq!(made.descriptor.media_type, media_type::OCI_LAYER_GZIP);
    let blob = bytes(&store, &made);
    let (json, _) = table(&blob);
    let annotations = &made.descriptor.annotations;
    let said = |key: &str| annotations[key].clone();
    assert_eq!(said("containerd.io/snapshot/stargz/toc.digest"), Digest::sha256(&json).to_string());
    let unpacked = gunzip(&blob);
    assert_eq!(said("io.containers.estargz.uncompressed-size"), unpacked.len().to_string());
    assert_eq!(made.diff_id, Digest::sha256(&unpacked), "the table belongs to it");

    let table: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(table["version"], 1);
    let rows = table["entries"].as_array().unwrap();
    let of =
        |name: &str| -> Vec<&Value> { rows.iter().filter(|row| row["name"] == name).collect() };
    for item in items().iter().filter(|item| item.kind == b'0') {
        let name = String::from_utf8(item.name.clone()).unwrap();
        let (mut data, pieces) = (Vec::new(), of(&name));
        for piece in &pieces {
            let Some(offset) = piece["offset"].as_u64() else { continue };
            let at = piece["chunkOffset"].as_u64().unwrap_or(0);
            assert_eq!(at, data.len() as u64);
            let rest = item.data.len() as u64 - at;
            let len = piece["chunkSize"].as_u64().unwrap_or(rest);
            let mut chunk = Vec::new();
            let reader = flate2::read::MultiGzDecoder::new(&blob[offset as usize..]);
            reader.take(len).read_to_end(&mut chunk).unwrap();
            assert_eq!(piece["chunkDigest"], Digest::sha256(&chunk).to_string(), "{name}");
            data.extend(chunk);
        }
        assert!(data == item.data, "{name}");
        assert_eq!(pieces[0]["digest"], Digest::sha256(&data).to_string(), "{name}");
    }
    let kinds: Vec<&str> = of("d/large").iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reg", "chunk", "chunk"]);
    let row = |name: &str| of(name)[0].clone();
    let small = row("d/small");
    assert_eq!(
        (&small["mode"], &small["uid"], &small["gid"]),
        (&0o4755.into(), &1000.into(), &7.into())
    );
    assert_eq!(small["modtime"], "2001-09-09T01:46:40Z");
    assert_eq!(
        (&row("d/link")["type"], &row("d/link")["linkName"]),
        (&"hardlink".into(), &"d/small".into())
    );
    assert_eq!(
        (&row("far")["type"], &row("far")["linkName"]),
        (&"symlink".into(), &"d/large".into())
    );
    assert_eq!((&row("null")["type"], &row("null")["devMinor"]), (&"char".into(), &3.into()));
    assert_eq!((&row("pipe")["type"], &row("d/")["type"]), (&"fifo".into(), &"dir".into()));
    let note = base64::engine::general_purpose::STANDARD.encode(b"\xff\0");
    assert_eq!(row("noted")["xattrs"]["user.note"], note.as_str());
}

#[tokio::test]
async fn a_reader_that_knows_no_tables_sees_the_same_files() {
    let (_one, store) = store();
    let (_two, other) = super::support::store();
    let r = apply(&store, None, &items()).await;
    let made = blobs(&store, &r, FORCED).await.remove(0);
    let blob = bytes(&store, &made);
    let tar = archive(&items());
    assert!(gunzip(&blob).starts_with(&tar), "nothing in it was changed");
    other.write_blob(blob).await.unwrap();
    let copy = other.apply(None, &made).await.unwrap();
    assert_eq!(tree(&r.layers()[0].path()), tree(&copy.layers()[0].path()));

    let path = store.blob(&made.descriptor.digest).unwrap().path().to_owned();
    let listed = std::process::Command::new("tar").arg("-tzf").arg(path).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), items().len(), "{listed}");
}

#[tokio::test]
async fn the_same_layer_has_the_same_blob_however_it_came() {
    let (_root, store) = store();
    let step = store.prepare(None).await.unwrap();
    put(&step.overlay().upper, "d/f", &"large ".repeat(900_000));
    put(&step.overlay().upper, "d/g", "g");
    let r = step.commit().await.unwrap();
    let packed = blobs(&store, &r, ESTARGZ).await;
    let gzip = Compression { force: true, ..Compression::default() };
    let plain = blobs(&store, &r, gzip).await;
    assert_eq!(r.diff_ids().unwrap(), [plain[0].diff_id.clone()], "the layer's own did not change");
    assert_ne!(packed[0].diff_id, plain[0].diff_id);
    assert_eq!(gunzip(&bytes(&store, &plain[0])).len() % 512, 0);
    assert_eq!(
        Digest::sha256(gunzip(&bytes(&store, &plain[0]))),
        plain[0].diff_id,
        "without the table"
    );

    // Looked up from now on, also by who takes whatever there is.
    assert_eq!(blobs(&store, &r, FORCED).await, packed);
    r.keep(RecordInfo::default()).await.unwrap();
    assert_eq!(store.known_layer_blobs(&r, ESTARGZ), Some(packed.clone()));
    let zstd = Compression { kind: CompressionKind::Zstd, ..Compression::default() };
    assert!(store.known_layer_blobs(&r, zstd).is_some());

    // The same from a blob rather than from files.
    let (_two, other) = super::support::store();
    other.write_blob(bytes(&store, &plain[0])).await.unwrap();
    let pulled = other.apply(None, &plain[0]).await.unwrap();
    assert_eq!(blobs(&other, &pulled, ESTARGZ).await, plain, "one that exists is taken");
    assert_eq!(blobs(&other, &pulled, FORCED).await, packed);
    // And from one whose descriptor does not say what it is.
    let (_three, third) = super::support::store();
    third.write_blob(bytes(&store, &packed[0])).await.unwrap();
    let mut bare = packed[0].clone();
    bare.descriptor.annotations.clear();
    let pulled = third.apply(None, &bare).await.unwrap();
    let again = blobs(&third, &pulled, FORCED).await;
    assert_eq!(again[0].descriptor, packed[0].descriptor);
    // There the table belongs to the layer.
    let back = blobs(&third, &pulled, gzip).await;
    assert_eq!(back[0].diff_id, packed[0].diff_id);
}

#[tokio::test]
async fn a_blob_with_a_table_of_ours_is_no_source_of_files_with_another_diff_id() {
    let (_root, store) = store();
    let tar = archive(&[file("f", "x")]);
    let pulled = blob(&store, &tar, gzip(&tar), media_type::OCI_LAYER_GZIP).await;
    let gone = std::sync::Arc::new(Nobody) as std::sync::Arc<dyn kiln_store::BlobProvider>;
    let r = store.lazy(std::slice::from_ref(&pulled), &gone).await.unwrap();
    let made = blobs(&store, &r, FORCED).await;
    assert_ne!(made[0].diff_id, pulled.diff_id);
    fs::remove_file(store.blob(&pulled.descriptor.digest).unwrap().path()).unwrap();
    let error = r.files(&nobody()).await.unwrap_err();
    assert!(matches!(error, kiln_store::FillError::Fetch { .. }), "{error:?}");
}

/// Somebody who has nothing.
struct Nobody;

impl kiln_store::BlobProvider for Nobody {
    fn name(&self) -> String {
        "nobody".into()
    }

    fn open(&self, _: &kiln_oci::Descriptor, _: &kiln_store::Requester) -> kiln_store::ByteStream {
        Box::pin(futures::stream::once(async { Err("gone".into()) }))
    }
}

#[tokio::test]
async fn what_a_table_cannot_say_is_refused_by_name() {
    let (_root, store) = store();
    for (name, words) in [
        (&b"stargz.index.json"[..], "`/stargz.index.json` cannot be compressed as estargz"),
        (b"caf\xe9", "is not UTF-8, which the table of estargz cannot say, so choose another"),
    ] {
        let step = store.prepare(None).await.unwrap();
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        fs::write(step.overlay().upper.join(name), "x").unwrap();
        let r = step.commit().await.unwrap();
        let error = try_blobs(&store, &r, FORCED).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(blobs(&store, &r, Compression::default()).await.len() == 1, "gzip still can");
    }
}
