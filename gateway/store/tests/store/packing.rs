//! Layers become blobs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use kiln_oci::media_type;
use kiln_store::{Compression, CompressionKind, LayerBlob, RecordInfo, Ref, Store};

use crate::support::*;

async fn blobs(store: &Store, r: &Ref, compression: Compression) -> Vec<LayerBlob> {
    store.layer_blobs(r, compression, &nobody(), &|_| {}).await.unwrap()
}

/// A base and a step with everything a step can do.
async fn stack(store: &Store) -> Ref {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(120));
    let base = [
        file("a", "1"),
        file("b", "2"),
        file("d/e", "3"),
        Item { owner: (3_000_000, 5), ..file("ümlaut", "u") },
        Item { device: (1, 3), ..item(b'3', "null") },
    ];
    let base = apply(store, None, &base).await;
    let step = store.prepare(Some(&base.here())).await.unwrap();
    {
        let mounted = step.mount().await.unwrap();
        let path = |name: &str| mounted.path().join(name);
        fs::remove_file(path("b")).unwrap();
        fs::remove_dir_all(path("d")).unwrap();
        put(mounted.path(), "d/f", &"large ".repeat(700_000));
        fs::hard_link(path("d/f"), path("zlink")).unwrap();
        put(mounted.path(), &long, "l");
        std::os::unix::fs::symlink("x".repeat(150), path("far")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path("a"), "user.note", b"n", flags).unwrap();
    }
    step.commit().await.unwrap()
}

#[tokio::test]
async fn a_layer_survives_the_way_through_a_blob() {
    if !can_mount() {
        return;
    }
    let (_one, store) = store();
    let r = stack(&store).await;
    let (_two, other) = super::support::store();
    for kind in [CompressionKind::Gzip, CompressionKind::Zstd, CompressionKind::Uncompressed] {
        let compression = Compression { kind, force: true, level: None };
        let made = blobs(&store, &r, compression).await;
        assert_eq!(made[1].descriptor.media_type, kind.media_type());
        let mut copy = None;
        for layer in &made {
            let bytes = fs::read(store.blob(&layer.descriptor.digest).unwrap().path()).unwrap();
            other.write_blob(bytes).await.unwrap();
            copy = Some(other.apply(copy.as_ref(), layer).await.unwrap());
        }
        let copy = copy.unwrap();
        let (a, b) = (r.mount().await.unwrap(), copy.mount().await.unwrap());
        assert_eq!(tree(a.path()), tree(b.path()));
        assert_eq!(copy.diff_ids(), r.diff_ids());
    }
}

#[tokio::test]
async fn packing_is_deterministic() {
    if !can_mount() {
        return;
    }
    let (root, store) = store();
    let r = stack(&store).await;
    let first = blobs(&store, &r, Compression::default()).await;
    r.keep(RecordInfo::default()).await.unwrap();
    let id = r.id().to_owned();
    drop(r);
    // Without its blobs the layer has to be packed again.
    fs::remove_file(store.blob(&first[1].descriptor.digest).unwrap().path()).unwrap();
    let again = blobs(&store, &store.load(&id).unwrap(), Compression::default()).await;
    assert_eq!(first, again);
    drop(store);
    let store = open(root.path());
    let reports = Mutex::new(Vec::new());
    let note = |report: kiln_store::LayerProgress| reports.lock().unwrap().push(report.bytes);
    let r = store.load(&id).unwrap();
    let looked_up = store.layer_blobs(&r, Compression::default(), &nobody(), &note).await.unwrap();
    assert_eq!(looked_up, first);
    assert_eq!(reports.into_inner().unwrap(), [0, 0], "nothing was read");
}

#[tokio::test]
async fn a_pulled_blob_is_reused_unless_forced() {
    let (_root, store) = store();
    let tar = archive(&[file("f", "x")]);
    let pulled = blob(&store, &tar, gzip(&tar), media_type::DOCKER_LAYER_GZIP).await;
    let r = store.apply(None, &pulled).await.unwrap();
    let zstd = Compression { kind: CompressionKind::Zstd, ..Compression::default() };
    assert_eq!(blobs(&store, &r, zstd).await, std::slice::from_ref(&pulled));
    let forced = blobs(&store, &r, Compression { force: true, ..zstd }).await;
    assert_eq!(forced[0].descriptor.media_type, media_type::OCI_LAYER_ZSTD);
    assert_eq!(forced[0].diff_id, pulled.diff_id, "the same tar");
    assert_eq!(blobs(&store, &r, Compression::default()).await, [pulled]);
}

#[tokio::test]
async fn clamped_times_make_blobs_of_their_own() {
    let (_root, store) = store();
    let step = store.prepare(None).await.unwrap();
    put(&step.overlay().upper, "new", "n");
    let r = step.commit().await.unwrap();
    let compression = Compression::default();
    let clamped =
        store.clamped_layer_blobs(&r, 0, compression, 1000, &nobody(), &|_| {}).await.unwrap();
    let normal = blobs(&store, &r, compression).await;
    assert_ne!(clamped, normal);
    let copy = store.apply(None, &clamped[0]).await.unwrap();
    assert!(tree(&copy.layers()[0].path())["new"].contains(" 1000 "));
    let old = apply(&store, None, &[file("old", "o")]).await;
    let same = store
        .clamped_layer_blobs(&old, 0, compression, 2_000_000_000, &nobody(), &|_| {})
        .await
        .unwrap();
    assert_eq!(same, blobs(&store, &old, compression).await, "nothing is later");
}

#[tokio::test]
async fn layers_with_clamped_times_are_compressed_as_go_does() {
    let (_root, store) = store();
    let step = store.prepare(None).await.unwrap();
    put(&step.overlay().upper, "large", &"text of some length ".repeat(200_000));
    let r = step.commit().await.unwrap();
    for (level, like_go) in [(None, -1), (Some(0), 0), (Some(9), 9)] {
        let compression = Compression { level, ..Compression::default() };
        let made = store.clamped_layer_blobs(&r, 0, compression, 1000, &nobody(), &|_| {}).await;
        let digest = &made.unwrap()[0].descriptor.digest;
        let bytes = fs::read(store.blob(digest).unwrap().path()).unwrap();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
        let mut encoder = kiln_gzip::Encoder::new(Vec::new(), like_go).unwrap();
        encoder.write_all(&tar).unwrap();
        assert!(encoder.finish().unwrap() == bytes, "level {level:?}");
    }
}

#[tokio::test]
async fn other_tools_read_our_blobs() {
    if !can_mount() {
        return;
    }
    let (root, store) = store();
    let r = stack(&store).await;
    let made = blobs(&store, &r, Compression::default()).await;
    let path = store.blob(&made[1].descriptor.digest).unwrap().path().to_owned();
    let listed = std::process::Command::new("tar").arg("-tzf").arg(path).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names: Vec<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    let expected = ["a", ".wh.b", "d/", "d/.wh..wh..opq", "d/f"];
    assert_eq!(names[..5], expected.map(str::to_owned));
    assert!(names.contains(&"zlink".to_owned()) && names.contains(&"far".to_owned()));
    drop(root);
}

#[tokio::test]
async fn a_file_whose_name_would_delete_another_is_refused() {
    let (_root, store) = store();
    for name in ["d/.wh.x", ".wh.d/x", ".wh..wh..opq"] {
        let step = store.prepare(None).await.unwrap();
        put(&step.overlay().upper, "d/x", "stays");
        put(&step.overlay().upper, name, "w");
        let r = step.commit().await.unwrap();
        let error =
            store.layer_blobs(&r, Compression::default(), &nobody(), &|_| {}).await.unwrap_err();
        let named = name.split('/').position(|part| part.starts_with(".wh.")).unwrap();
        let path = name.split('/').take(named + 1).collect::<Vec<_>>().join("/");
        assert!(error.to_string().starts_with(&format!("`/{path}` cannot be stored")), "{error}");
    }
}

#[tokio::test]
async fn holes_are_packed_as_zeros_and_come_out_as_holes() {
    let (_root, store) = store();
    let step = store.prepare(None).await.unwrap();
    let large = fs::File::create(step.overlay().upper.join("large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"middle", 20 << 20).unwrap();
    large.set_len(64 << 20).unwrap();
    let r = step.commit().await.unwrap();
    let mut diff_ids = Vec::new();
    for kind in [CompressionKind::Gzip, CompressionKind::Zstd, CompressionKind::Uncompressed] {
        let compression = Compression { kind, force: true, level: None };
        let made = blobs(&store, &r, compression).await;
        let blob = fs::metadata(store.blob(&made[0].descriptor.digest).unwrap().path()).unwrap();
        let taken = std::os::unix::fs::MetadataExt::blocks(&blob) * 512;
        assert!(taken < 1 << 20, "{taken} bytes");
        diff_ids.push(made[0].diff_id.clone());
        let copy = store.apply(None, &made[0]).await.unwrap();
        let path = copy.layers()[0].path().join("large");
        let metadata = fs::metadata(&path).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata);
        assert!(metadata.len() == 64 << 20 && blocks <= 16, "{blocks} blocks");
        assert!(fs::read(path).unwrap()[20 << 20..].starts_with(b"middle"));
    }
    assert_eq!(diff_ids[0], diff_ids[1]);
}

/// The digest is that of the layer that BuildKit 0.32 makes of the same files.
#[tokio::test]
async fn a_layer_has_the_bytes_that_buildkit_gives_it() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let long = "e".repeat(98);
    let many = |kind, name, device| Item { device, ..item(kind, name) };
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let items = [
        directory("d/"),
        Item { mode: 0o4755, owner: (1000, 1000), ..file("d/f", "f") },
        hard_link("d/g", "d/f"),
        file(&format!("d/{}", "n".repeat(120)), "long"),
        directory(&format!("{long}/")),
        directory(&format!("{long}/{}/", "s".repeat(60))),
        file("ümlaut", "u"),
        Item { records: vec![("linkpath".into(), vec![b'x'; 150])], ..symlink("far", "") },
        symlink("über", "ü"),
        Item { owner: (3_000_000, 5), ..file("many", "") },
        many(b'3', "null", (1, 3)),
        many(b'4', "loop", (7, 300)),
        item(b'6', "pipe"),
        xattr(file("capable", "c"), "security.capability", &capability),
    ];
    let step = store.prepare(None).await.unwrap();
    let root = std::path::Path::new("");
    let mut unpacking = kiln_store::Unpacking::begin(&step.overlay().upper, root, None).unwrap();
    unpacking.tar(&archive(&items)[..]).unwrap();
    unpacking.finish().unwrap();
    let r = step.commit().await.unwrap();
    let plain = Compression { kind: CompressionKind::Uncompressed, ..Compression::default() };
    let digest = blobs(&store, &r, plain).await[0].diff_id.to_string();
    assert_eq!(digest, "sha256:d48ce9c2885a26ac81e425d53ce2f949577fac20642fe1f40d65950db11eb638");
}
