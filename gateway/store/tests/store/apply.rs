//! Archives become layers.

use std::fs;
use std::os::unix::fs::MetadataExt;

use kiln_oci::{Digest, media_type};
use kiln_store::{ApplyError, LayerBlob};

use crate::support::*;

#[tokio::test]
async fn every_kind_of_entry_arrives_with_its_attributes() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let r = apply(
        &store,
        None,
        &[
            directory("bin/"),
            Item { mode: 0o4755, owner: (12, 34), ..file("bin/su", "suid") },
            xattr(file("bin/ping", "x"), "user.note", b"hello\0there"),
            symlink("sh", "bin/su"),
            hard_link("bin/su2", "/bin/su"),
            file(&long, "long"),
            Item { device: (1, 3), ..item(b'3', "null") },
            item(b'6', "pipe"),
            Item { mtime: 0, ..directory("empty/") },
        ],
    )
    .await;
    let mounted = r.mount().await.unwrap();
    let tree = tree(mounted.path());
    assert_eq!(tree["bin/su"], "4755 12:34 1000000000 \"suid\"");
    assert_eq!(tree["bin"], "755 0:0 1000000000 dir");
    assert_eq!(tree["empty"], "755 0:0 0 dir");
    assert_eq!(tree["sh"], "777 0:0 1000000000 -> bin/su");
    assert_eq!(tree[&long], "644 0:0 1000000000 \"long\"");
    assert_eq!(tree["null"], "644 0:0 1000000000 char 259");
    let path = |name: &str| mounted.path().join(name);
    let ino = |name: &str| fs::symlink_metadata(path(name)).unwrap().ino();
    assert_eq!(ino("bin/su"), ino("bin/su2"));
    let mut value = [0u8; 64];
    let len = rustix::fs::getxattr(path("bin/ping"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..len], b"hello\0there");
}

#[tokio::test]
async fn whiteouts_and_opaque_directories_hide_what_is_below() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = [file("a/one", "1"), file("a/two", "2"), file("b/one", "1"), file("c/x", "x")];
    let base = apply(&store, None, &base).await;
    let top = [
        item(b'0', "a/.wh.one"),
        item(b'0', "b/.wh..wh..opq"),
        file("b/new", "n"),
        // Gone, and there again as something else.
        item(b'0', ".wh.c"),
        file("c/y", "y"),
        item(b'0', ".wh..wh.plnk"),
    ];
    let top = apply(&store, Some(&base), &top).await;
    let mounted = top.mount().await.unwrap();
    assert_eq!(names(mounted.path()), ["a", "a/two", "b", "b/new", "c", "c/y"]);
}

#[tokio::test]
async fn an_implied_directory_keeps_the_attributes_it_has_below() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let dir = Item { mode: 0o1777, owner: (7, 8), mtime: 5, ..directory("tmp/") };
    let base = apply(&store, None, &[dir, symlink("lib", "usr/lib"), file("usr/lib/a", "")]).await;
    let top = apply(&store, Some(&base), &[file("tmp/x", ""), file("lib/b", "b")]).await;
    let mounted = top.mount().await.unwrap();
    let tree = tree(mounted.path());
    assert_eq!(tree["tmp"], "1777 7:8 5 dir");
    assert!(tree["lib"].ends_with("-> usr/lib"), "the link was followed, not replaced");
    assert!(tree.contains_key("usr/lib/b") && tree.contains_key("usr/lib/a"));
}

#[tokio::test]
async fn a_hard_link_may_name_a_file_of_a_lower_layer() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let low = Item { mode: 0o640, owner: (3, 4), ..file("d/low", "low") };
    let base = apply(&store, None, &[low]).await;
    let top = apply(&store, Some(&base), &[hard_link("e/high", "d/low")]).await;
    let mounted = top.mount().await.unwrap();
    assert_eq!(tree(mounted.path())["e/high"], "640 3:4 1000000000 \"low\"");
    let ino = |name| fs::metadata(mounted.path().join(name)).unwrap().ino();
    assert_eq!(ino("e/high"), ino("d/low"));
}

#[tokio::test]
async fn all_compressions_are_told_apart_by_content() {
    let (_root, store) = store();
    let tar = archive(&[file("f", &"text ".repeat(5000))]);
    let (first, second) = tar.split_at(7777);
    for (compressed, media) in [
        (tar.clone(), media_type::OCI_LAYER_GZIP),
        (gzip(&tar), media_type::OCI_LAYER),
        ([gzip(first), gzip(second)].concat(), media_type::DOCKER_LAYER_GZIP),
        (zstd::encode_all(&tar[..], 3).unwrap(), media_type::OCI_LAYER_ZSTD),
    ] {
        let blob = blob(&store, &tar, compressed, media).await;
        let r = store.apply(None, &blob).await.unwrap();
        assert_eq!(r.diff_ids(), Some(vec![Digest::sha256(&tar)]));
        assert_eq!(names(r.mount().await.unwrap().path()), ["f"]);
    }
}

#[tokio::test]
async fn the_same_chain_is_extracted_once() {
    let (root, store) = store();
    let tar = archive(&[file("f", &"text ".repeat(100_000))]);
    let layer = blob(&store, &tar, gzip(&tar), media_type::OCI_LAYER_GZIP).await;
    let (a, b) = tokio::join!(store.apply(None, &layer), store.apply(None, &layer));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.layers()[0].number(), b.layers()[0].number());
    let c = store.apply(Some(&a), &layer).await.unwrap();
    assert_ne!(c.layers()[1].number(), a.layers()[0].number(), "another place in the chain");
    c.keep(kiln_store::RecordInfo::default()).await.unwrap();
    let number = c.layers()[0].number();
    drop((a, b, c, store));
    let store = open(root.path());
    let again = store.apply(None, &layer).await.unwrap();
    assert_eq!(again.layers()[0].number(), number, "also after a restart");
}

#[tokio::test]
async fn a_layer_that_is_not_what_it_claims_is_refused() {
    let (_root, store) = store();
    let tar = archive(&[file("f", "x")]);
    let good = blob(&store, &tar, gzip(&tar), media_type::OCI_LAYER_GZIP).await;
    let wrong = LayerBlob { diff_id: Digest::sha256("other"), ..good.clone() };
    let error = store.apply(None, &wrong).await.unwrap_err();
    assert!(matches!(error, ApplyError::DiffId { .. }), "{error}");
    let mut absent = good.clone();
    absent.descriptor.digest = Digest::sha256("absent");
    let error = store.apply(None, &absent).await.unwrap_err();
    assert!(matches!(error, ApplyError::NoBlob(_)), "{error}");
    let mut cut = gzip(&tar);
    cut.truncate(cut.len() / 2);
    let cut = blob(&store, &tar, cut, media_type::OCI_LAYER_GZIP).await;
    let error = store.apply(None, &cut).await.unwrap_err();
    assert!(matches!(error, ApplyError::Decompress { .. }), "{error}");
}

#[tokio::test]
async fn a_whiteout_of_nothing_does_not_show() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("old/x", ""), file("bare/y", "")]).await;
    let top = [
        directory("new/"),
        item(b'0', "new/.wh.nothing"),
        file("new/z", ""),
        item(b'0', "old/.wh.x"),
        item(b'0', "old/sub/.wh.nothing"),
        // The whiteout comes first, and then everything below is hidden anyway.
        item(b'0', "bare/.wh.y"),
        item(b'0', "bare/.wh..wh..opq"),
    ];
    let top = apply(&store, Some(&base), &top).await;
    let mounted = top.mount().await.unwrap();
    assert_eq!(names(mounted.path()), ["bare", "new", "new/z", "old", "old/sub"]);
    let alone = apply(&store, None, &[item(b'0', "d/.wh.nothing"), file("d/z", "")]).await;
    assert_eq!(names(alone.mount().await.unwrap().path()), ["d", "d/z"]);
}

/// A file of two mebibytes with `abc` at the start and `wxyz` in the middle, as each version of
/// sparse files says it.
fn sparse() -> Vec<(&'static str, Item)> {
    let record = |key: &str, value: &str| (format!("GNU.sparse.{key}"), value.into());
    let whole = |name: &str, records| Item { records, ..file(name, "abcwxyz") };
    let mut data = b"2\n0\n3\n1048576\n4\n".to_vec();
    data.resize(512, 0);
    data.extend(b"abcwxyz");
    let newest = [("major", "1"), ("minor", "0"), ("name", "1.0"), ("realsize", "2097152")];
    let newest = newest.map(|(key, value)| record(key, value)).to_vec();
    vec![
        (
            "0.0",
            whole(
                "0.0",
                vec![
                    record("size", "2097152"),
                    record("numblocks", "2"),
                    record("offset", "0"),
                    record("numbytes", "3"),
                    record("offset", "1048576"),
                    record("numbytes", "4"),
                ],
            ),
        ),
        (
            "0.1",
            whole(
                "GNUSparseFile.1/0.1",
                vec![
                    record("size", "2097152"),
                    record("numblocks", "2"),
                    record("map", "0,3,1048576,4"),
                    record("name", "0.1"),
                ],
            ),
        ),
        ("1.0", Item { data, records: newest, ..item(b'0', "GNUSparseFile.1/1.0") }),
    ]
}

#[tokio::test]
async fn sparse_files_come_out_whole() {
    let (_root, store) = store();
    for (version, sparse) in sparse() {
        let r = apply(&store, None, &[sparse, file("next", "n")]).await;
        let mounted = r.mount().await.unwrap();
        let big = fs::read(mounted.path().join(version)).unwrap();
        assert_eq!(big.len(), 2 << 20, "{version}");
        let parts = (&big[..3], &big[1 << 20..][..4], big[2_000_000]);
        assert_eq!(parts, (&b"abc"[..], &b"wxyz"[..], 0), "{version}");
        let metadata = fs::metadata(mounted.path().join(version)).unwrap();
        assert!(metadata.blocks() < 64, "{version} has holes");
        assert_eq!(fs::read(mounted.path().join("next")).unwrap(), b"n", "{version}");
    }
}

#[tokio::test]
async fn zeros_take_no_space() {
    let (_root, store) = store();
    let zeros = file("zeros", &"\0".repeat(8 << 20));
    let r = apply(&store, None, &[zeros]).await;
    let metadata = fs::metadata(r.layers()[0].path().join("zeros")).unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (8 << 20, 0));
    let blobs = store.layer_blobs(&r, Default::default(), &nobody(), &|_| {}).await.unwrap();
    assert_eq!(blobs[0].diff_id, r.diff_ids().unwrap()[0]);
}

#[tokio::test]
async fn what_came_before_ustar_and_after_it_is_read() {
    let (_root, store) = store();
    let record = |key: &str, value: &str| (key.to_owned(), value.into());
    let mut times = file("times", "");
    times.records.push(record("mtime", "1700000000.123456789"));
    let mut owner = file("owner", "");
    owner.records.extend([record("uid", "4294967294"), record("gid", "3000000")]);
    let mut noted = file("noted", "");
    noted.records.extend([
        record("LIBARCHIVE.xattr.user.a%20b", "aGVsbG8AdGhlcmU"),
        record("LIBARCHIVE.xattr.user.both", "bm8="),
        record("SCHILY.xattr.user.both", "yes"),
    ]);
    let global =
        Item { data: b"20 comment=of commit\n".to_vec(), ..item(b'g', "pax_global_header") };
    let items = [
        global,
        item(0, "old-directory/"),
        Item { owner: (u64::from(u32::MAX - 1), 5_000_000), ..file("base-256", "") },
        times,
        owner,
        noted,
    ];
    let r = apply(&store, None, &items).await;
    let layer = r.layers()[0].path();
    let stat = |name: &str| fs::metadata(layer.join(name)).unwrap();
    assert!(stat("old-directory").is_dir());
    assert_eq!(kiln_store::owner::owner(&layer.join("base-256")).unwrap(), (4294967294, 5_000_000));
    assert_eq!(kiln_store::owner::owner(&layer.join("owner")).unwrap(), (4294967294, 3_000_000));
    assert_eq!((stat("times").mtime(), stat("times").mtime_nsec()), (1_700_000_000, 123_456_789));
    let xattr = |name: &str| {
        let mut value = [0u8; 64];
        let len = rustix::fs::getxattr(layer.join("noted"), name, &mut value[..]).unwrap();
        String::from_utf8(value[..len].to_vec()).unwrap()
    };
    assert_eq!((xattr("user.a b"), xattr("user.both")), ("hello\0there".into(), "yes".into()));
    assert_eq!(fs::read_dir(layer).unwrap().count(), 5, "a global header is no file");
}
