//! Accounting, and what goes.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use kiln_oci::media_type;
use kiln_store::{Kind, PruneOptions, RecordInfo, Ref, Sharing, Store};

use crate::support::*;

async fn keep(r: &Ref, kind: Kind) {
    r.keep(RecordInfo { kind, description: "test".into() }).await.unwrap();
}

async fn prune(store: &Store, options: PruneOptions) -> Vec<String> {
    let mut removed = Vec::new();
    store.prune(options, &mut |usage| removed.push(usage.id)).await.unwrap();
    removed
}

#[tokio::test]
async fn usage_agrees_with_du() {
    let (root, store) = store();
    let tar = archive(
        &(0..300).map(|n| file(&format!("d/f{n}"), &"x".repeat(n * 100))).collect::<Vec<_>>(),
    );
    let layer = blob(&store, &tar, gzip(&tar), media_type::OCI_LAYER_GZIP).await;
    let base = store.apply(None, &layer).await.unwrap();
    let top =
        apply(&store, Some(&base), &[file("big", &"y".repeat(3_000_000)), hard_link("l", "big")])
            .await;
    let merged = store.merge(&[base.clone(), top.clone()], &nobody()).await.unwrap();
    for r in [&base, &top, &merged] {
        keep(r, Kind::Regular).await;
    }
    let directory =
        store.directory("k", Kind::ExecCacheMount, Sharing::Shared, None).await.unwrap();
    put(&directory.path(), "cache", &"z".repeat(500_000));
    let temporary = apply(&store, None, &[file("t", &"t".repeat(400_000))]).await;
    store.write_blob("config ".repeat(9000)).await.unwrap();
    for _ in 0..2 {
        let usage = store.usage(&Default::default()).await.unwrap();
        let sum: u64 = usage.iter().map(|usage| usage.size).sum::<u64>() + store.overhead();
        let du = Command::new("du").args(["-s", "-B1"]).arg(root.path()).output().unwrap();
        let du = String::from_utf8(du.stdout).unwrap();
        let du: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
        let off = sum.abs_diff(du);
        assert!(off * 50 < du, "usage says {sum}, du says {du}");
    }
    drop(temporary);
    assert!(root.path().metadata().unwrap().nlink() > 2);
}

#[tokio::test]
async fn what_a_handle_uses_stays() {
    let (_root, store) = store();
    let base = apply(&store, None, &[file("a", "a")]).await;
    let app = apply(&store, Some(&base), &[file("b", "b")]).await;
    let frontend = apply(&store, None, &[file("c", "c")]).await;
    keep(&base, Kind::Regular).await;
    keep(&app, Kind::Regular).await;
    keep(&frontend, Kind::Frontend).await;
    let ids = [&base, &app, &frontend].map(|r| r.id().to_owned());
    let only_refs =
        || PruneOptions { filter: vec!["description==test".into()], ..Default::default() };
    assert!(prune(&store, only_refs()).await.is_empty());
    drop((base, frontend));
    assert!(prune(&store, only_refs()).await.is_empty(), "the base is beneath something in use");
    let usage = store.usage(&Default::default()).await.unwrap();
    let base = usage.iter().find(|usage| usage.id == ids[0]).unwrap();
    assert!(base.shared);
    drop(app);
    assert_eq!(prune(&store, only_refs()).await, [&*ids[1], &*ids[0]]);
    let all = PruneOptions { all: true, ..only_refs() };
    assert_eq!(prune(&store, all).await, [&*ids[2]]);
    assert!(store.load(&ids[0]).is_err());
}

#[tokio::test]
async fn a_handle_on_a_layer_outlives_its_record() {
    let (_root, store) = store();
    let base = apply(&store, None, &[file("a", "a")]).await;
    keep(&base, Kind::Regular).await;
    let step = store.prepare(Some(&base.here())).await.unwrap();
    let path = base.layers()[0].path();
    drop(base);
    prune(&store, PruneOptions::default()).await;
    assert!(path.join("a").exists());
    drop(step);
    prune(&store, PruneOptions::default()).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn pruning_everything_frees_the_disk() {
    let (root, store) = store();
    for n in 0..5 {
        let r = apply(&store, None, &[file("f", &format!("{n}").repeat(100_000))]).await;
        store.layer_blobs(&r, Default::default(), &nobody(), &|_| {}).await.unwrap();
        keep(&r, Kind::Regular).await;
    }
    drop(store.directory("k", Kind::ExecCacheMount, Sharing::Locked, None).await.unwrap());
    prune(&store, PruneOptions { all: true, ..Default::default() }).await;
    assert!(store.usage(&Default::default()).await.unwrap().is_empty());
    for name in ["snapshots", "blobs/sha256", "trash", "ingest", "mnt"] {
        assert_eq!(std::fs::read_dir(root.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test]
async fn collecting_by_policies_keeps_what_is_within_their_bounds() {
    let (_root, store) = store();
    let r = apply(&store, None, &[file("a", "a")]).await;
    keep(&r, Kind::Regular).await;
    let id = r.id().to_owned();
    drop(r);
    let bounds = PruneOptions {
        reserved_space: 100_000_000,
        max_used_space: 200_000_000,
        ..PruneOptions::default()
    };
    let policies = [bounds.clone(), PruneOptions { all: true, ..bounds }];
    assert!(store.disk_size().unwrap() > 0);
    store.collect(&policies, &mut |usage| panic!("removed {usage:?}")).await.unwrap();
    store.load(&id).unwrap();
}

#[tokio::test]
async fn collection_counts_every_byte_of_the_root_and_leaves_headroom() {
    let (root, store) = store();
    let other = store.private_directory("history").unwrap();
    std::fs::write(other.join("log"), vec![1; 1 << 20]).unwrap();
    let ids = records(&store, 8).await;
    let bound = used(&store).await;
    let policies = [PruneOptions { max_used_space: bound, ..Default::default() }];
    let mut removed = Vec::new();
    store.collect(&policies, &mut |usage| removed.push(usage.id)).await.unwrap();
    assert!(!removed.is_empty() && removed == ids[..removed.len()], "{removed:?} of {ids:?}");
    let du = Command::new("du").args(["-s", "-B1"]).arg(root.path()).output().unwrap();
    let du = String::from_utf8(du.stdout).unwrap();
    let du: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
    assert!(du <= bound - bound / 8, "{du} of {bound}");
    // By hand only records count, and there is no headroom.
    let mut removed = Vec::new();
    store.prune(policies[0].clone(), &mut |usage| removed.push(usage.id)).await.unwrap();
    assert!(removed.is_empty());
}

#[tokio::test]
async fn policies_for_some_records_only_count_records_as_they_do_by_hand() {
    let (_root, store) = store();
    records(&store, 2).await;
    let sizes = store.usage(&Default::default()).await.unwrap();
    let sum = sizes.iter().map(|usage| usage.size).sum();
    let choosy = PruneOptions {
        filter: vec!["description==test".into()],
        max_used_space: sum,
        ..Default::default()
    };
    store.collect(&[choosy], &mut |usage| panic!("removed {usage:?}")).await.unwrap();
}
