//! Layers hold what was changed, and no more.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_store::{Ref, Store};

use crate::support::*;

/// What a layer has, relative to its root.
fn own(r: &Ref) -> Vec<String> {
    names(&r.layers().last().unwrap().path())
}

/// A step that does something in the mounted directory.
async fn step(store: &Store, parent: &Ref, points: &[&str], act: impl FnOnce(&Path)) -> Ref {
    let mut step = store.prepare(Some(&parent.here())).await.unwrap();
    {
        let mounted = step.mount().await.unwrap();
        act(mounted.path());
    }
    step.set_mount_points(points.iter().map(PathBuf::from).collect());
    step.commit().await.unwrap()
}

/// Makes a file and removes it again, without a trace in the times of its directory.
fn stub(root: &Path, name: &str) {
    let path = root.join(name);
    let directory = fs::File::open(path.parent().unwrap()).unwrap();
    let before = directory.metadata().unwrap().modified().unwrap();
    fs::write(&path, "").unwrap();
    fs::remove_file(&path).unwrap();
    directory.set_times(fs::FileTimes::new().set_modified(before)).unwrap();
}

#[tokio::test]
async fn a_directory_that_only_a_mount_point_touched_is_not_in_the_layer() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base =
        apply(&store, None, &[directory("etc/"), file("etc/hosts", ""), directory("a/")]).await;
    let points = ["etc/resolv.conf", "a/b/c", "../etc", "/etc"];
    let r = step(&store, &base, &points, |root| stub(root, "etc/resolv.conf")).await;
    assert_eq!(own(&r), [""; 0]);
    // What is written there stays, and so does what was changed about the directory.
    let r = step(&store, &base, &points, |root| fs::write(root.join("etc/new"), "").unwrap()).await;
    assert_eq!(own(&r), ["etc", "etc/new"]);
    let changed = |root: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        stub(root, "etc/resolv.conf");
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    let r = step(&store, &base, &points, changed).await;
    assert_eq!(own(&r), ["etc"]);
    let r = step(&store, &base, &points, |root| fs::create_dir(root.join("new")).unwrap()).await;
    assert_eq!(own(&r), ["new"]);
}

#[tokio::test]
async fn a_difference_has_nothing_that_was_moved_away_and_back() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[directory("d/"), file("d/one", "1"), file("two", "2")]).await;
    let r = step(&store, &base, &[], |root| {
        fs::rename(root.join("d/one"), root.join("three")).unwrap();
        fs::rename(root.join("three"), root.join("d/one")).unwrap();
        fs::write(root.join("new"), "").unwrap();
    })
    .await;
    assert_eq!(own(&r), ["d", "d/one", "new"], "the layer itself has what the kernel copied");
    let difference = store.diff(Some(&base.here()), Some(&r.here())).await.unwrap().unwrap();
    assert_eq!(own(&difference), ["new"]);
}

#[tokio::test]
async fn a_directory_that_is_made_anew_hides_what_it_replaced_and_no_more() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[directory("d/"), file("d/old", ""), file("d/kept", "")]).await;
    let anew = step(&store, &base, &[], |root| {
        fs::remove_dir_all(root.join("d")).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/new"), "").unwrap();
    })
    .await;
    let other =
        apply(&store, None, &[directory("d/"), file("d/other", ""), file("d/old", "")]).await;
    let difference = store.diff(Some(&base.here()), Some(&anew.here())).await.unwrap().unwrap();
    for upper in [anew, difference] {
        let merged = store.merge(&[other.clone(), upper], &nobody()).await.unwrap();
        let mounted = merged.mount().await.unwrap();
        assert_eq!(names(mounted.path()), ["d", "d/new", "d/other"]);
    }
}
