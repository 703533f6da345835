//! Layers on layers: writable views, merges and differences.

use std::collections::BTreeMap;
use std::fs;

use kiln_store::{PruneOptions, RecordInfo, Store, StoreOptions};

use crate::support::*;

#[tokio::test]
async fn a_step_on_a_parent_adds_changes_and_deletes() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("a", "1"), file("b", "2"), file("d/e", "3")]).await;
    let step = store.prepare(Some(&base.here())).await.unwrap();
    {
        let mounted = step.mount().await.unwrap();
        fs::write(mounted.path().join("a"), "changed").unwrap();
        fs::remove_file(mounted.path().join("b")).unwrap();
        fs::remove_dir_all(mounted.path().join("d")).unwrap();
        put(mounted.path(), "d/f", "new");
    }
    let step = step.commit().await.unwrap();
    let mounted = step.mount().await.unwrap();
    assert_eq!(names(mounted.path()), ["a", "d", "d/f"]);
    assert_eq!(fs::read_to_string(mounted.path().join("a")).unwrap(), "changed");
    let below = base.mount().await.unwrap();
    assert_eq!(names(below.path()), ["a", "b", "d", "d/e"], "the parent is as it was");
    let point = mounted.path().to_owned();
    drop(mounted);
    assert!(!point.exists(), "the mount point goes with the guard");
}

#[tokio::test]
async fn a_stack_too_tall_for_one_page_of_options_is_mounted() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let mut r = apply(&store, None, &[file("f0", "")]).await;
    for n in 1..150 {
        r = apply(&store, Some(&r), &[file(&format!("f{n}"), "")]).await;
    }
    let mounted = r.mount().await.unwrap();
    assert_eq!(names(mounted.path()).len(), 150);
    let step = store.prepare(Some(&r.here())).await.unwrap();
    let mounted = step.mount().await.unwrap();
    fs::remove_file(mounted.path().join("f7")).unwrap();
    assert_eq!(names(mounted.path()).len(), 149);
}

#[tokio::test]
async fn more_layers_than_an_overlay_takes_are_read_and_written_on() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let mut layers = Vec::new();
    for number in 0..600 {
        let own = file(&format!("d/{number}"), "x");
        // Some hide what lies in others, some of which are copied together and some not.
        let gone = if number % 100 == 99 {
            vec![item(b'0', &format!("d/.wh.{}", number - 90))]
        } else {
            Vec::new()
        };
        let items: Vec<Item> =
            [own, file("last", &number.to_string())].into_iter().chain(gone).collect();
        layers.push(apply(&store, layers.last(), &items).await);
    }
    let tall = layers.last().unwrap();
    let shown = tall.mount().await.unwrap();
    assert_eq!(fs::read_dir(shown.path().join("d")).unwrap().count(), 594);
    assert_eq!(fs::read_to_string(shown.path().join("last")).unwrap(), "599");
    let step = store.prepare(Some(&tall.here())).await.unwrap();
    let mounted = step.mount().await.unwrap();
    assert_eq!(tree(mounted.path()), tree(shown.path()));
    put(mounted.path(), "d/1", "changed");
    fs::remove_file(mounted.path().join("d/2")).unwrap();
    drop(mounted);
    let made = step.commit().await.unwrap();
    assert_eq!(names(&made.layers()[600].path()), ["d", "d/1", "d/2"]);
    assert_eq!(fs::read_dir(made.mount().await.unwrap().path().join("d")).unwrap().count(), 593);
    assert_eq!(
        fs::read_to_string(shown.path().join("d/1")).unwrap(),
        "x",
        "the layers are as before"
    );
}

#[tokio::test]
async fn a_merge_stacks_layers_and_shares_them() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("base", "0"), file("both", "0")]).await;
    let a = apply(&store, Some(&base), &[file("a", "a"), file("both", "a")]).await;
    let b = apply(&store, None, &[file("b", "b"), file("both", "b")]).await;
    let merged = store.merge(&[a.clone(), b.clone()], &nobody()).await.unwrap();
    assert_eq!(merged.layers().len(), 3);
    let mounted = merged.mount().await.unwrap();
    assert_eq!(names(mounted.path()), ["a", "b", "base", "both"]);
    assert_eq!(fs::read_to_string(mounted.path().join("both")).unwrap(), "b");
    let twice = store.merge(&[a.clone(), b, a], &nobody()).await.unwrap();
    assert_eq!(twice.layers().len(), 3);
    let mounted = twice.mount().await.unwrap();
    assert_eq!(fs::read_to_string(mounted.path().join("both")).unwrap(), "a");
    let nothing = store.merge(&[], &nobody()).await.unwrap();
    assert!(names(nothing.mount().await.unwrap().path()).is_empty());
}

#[tokio::test]
async fn a_difference_to_an_ancestor_is_the_layers_between() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("d/gone", ""), file("d/stays", "")]).await;
    let top = apply(&store, Some(&base), &[item(b'0', "d/.wh.gone"), file("d/new", "")]).await;
    let diff = store.diff(Some(&base.here()), Some(&top.here())).await.unwrap().unwrap();
    assert_eq!(diff.layers()[0].number(), top.layers()[1].number());
    let mounted = diff.mount().await.unwrap();
    assert_eq!(names(mounted.path()), ["d", "d/new"], "no whiteouts show");
    assert!(store.diff(Some(&top.here()), Some(&top.here())).await.unwrap().is_none());
    let step = store.prepare(Some(&diff.here())).await.unwrap();
    assert_eq!(names(step.mount().await.unwrap().path()), ["d", "d/new"]);
    let other = apply(&store, None, &[file("d/gone", "")]).await;
    let merged = store.merge(&[other, diff], &nobody()).await.unwrap();
    assert_eq!(names(merged.mount().await.unwrap().path()), ["d", "d/new"], "and still hide");
}

#[tokio::test]
async fn any_two_refs_have_a_difference() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let lower = [
        file("same", "s"),
        file("changed", "old"),
        file("gone/deep/x", "x"),
        file("kind", "file"),
        Item { mode: 0o600, ..file("mode", "m") },
        directory("dir"),
    ];
    let upper = [
        file("same", "s"),
        file("changed", "new"),
        file("kind/now/a", "dir"),
        file("mode", "m"),
        hard_link("mode2", "mode"),
        Item { mode: 0o700, ..directory("dir") },
        symlink("link", "same"),
    ];
    let (lower, upper) = (apply(&store, None, &lower).await, apply(&store, None, &upper).await);
    let diff = store.diff(Some(&lower.here()), Some(&upper.here())).await.unwrap().unwrap();
    let written = names(&diff.layers()[0].path());
    assert!(!written.contains(&"same".to_owned()), "{written:?}");
    let merged = store.merge(&[lower.clone(), diff], &nobody()).await.unwrap();
    let (merged, wanted) = (merged.mount().await.unwrap(), upper.mount().await.unwrap());
    assert_eq!(tree(merged.path()), tree(wanted.path()));

    let copy = [file("same", "s")];
    let (a, b) = (apply(&store, None, &copy).await, apply(&store, Some(&lower), &copy).await);
    let none = store.merge(std::slice::from_ref(&a), &nobody()).await.unwrap();
    assert!(store.diff(Some(&none.here()), Some(&a.here())).await.unwrap().is_none());
    let emptied = store.diff(Some(&b.here()), None).await.unwrap().unwrap();
    let all = store.merge(&[b, emptied], &nobody()).await.unwrap();
    assert!(names(all.mount().await.unwrap().path()).is_empty());
}

/// A layer as a copy onto nothing makes it: files, and the directories on the way to them.
async fn copied(store: &Store, name: &str) -> kiln_store::Ref {
    let mut step = store.prepare(None).await.unwrap();
    put(&step.overlay().upper, name, "copied");
    let parents = std::path::Path::new(name).ancestors().skip(1).map(Into::into);
    step.set_implied(parents.collect());
    step.commit().await.unwrap()
}

#[tokio::test]
async fn what_a_merge_puts_into_a_directory_does_not_change_it() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let tmp = Item { mode: 0o1777, owner: (7, 8), mtime: 5, ..directory("tmp/") };
    let home =
        xattr(Item { mode: 0o700, owner: (1000, 1000), ..directory("home/me/") }, "user.x", b"y");
    let base = [
        Item { mode: 0o711, ..directory("./") },
        tmp,
        directory("bin/"),
        home,
        symlink("l", "bin"),
    ];
    let base = apply(&store, None, &base).await;
    let merged = async |name: &str| {
        let copied = copied(&store, name).await;
        let merged = store.merge(&[base.clone(), copied.clone()], &nobody()).await.unwrap();
        (copied, merged)
    };
    let (copied, r) = merged("tmp/sub/f").await;
    let mounted = r.mount().await.unwrap();
    let seen = tree(mounted.path());
    assert_eq!(seen["tmp"], "1777 7:8 5 dir");
    assert!(seen["tmp/sub"].starts_with("755 0:0") && seen["tmp/sub/f"].ends_with("\"copied\""));
    assert_eq!(mode(mounted.path()), 0o711, "not even the root");
    let shared = std::os::unix::fs::MetadataExt::ino;
    let ino = |r: &kiln_store::Ref, at: usize| {
        shared(&fs::metadata(r.layers()[at].path().join("tmp/sub/f")).unwrap())
    };
    assert_eq!(ino(&copied, 0), ino(&r, 1), "files are shared");
    let (_, r) = merged("home/me/f").await;
    assert!(tree(r.mount().await.unwrap().path())["home/me"].starts_with("700 1000:1000"));
    // Exported, the layer says what is so wherever it is unpacked.
    let blobs = store.layer_blobs(&r, Default::default(), &nobody(), &|_| {}).await.unwrap();
    let alone = store.apply(None, &blobs[1]).await.unwrap();
    assert!(tree(&alone.layers()[0].path())["home/me"].starts_with("700 1000:1000"));
    // Merged once more, it takes on what is below it then.
    let other = apply(&store, None, &[Item { mode: 0o750, ..directory("home/me/") }]).await;
    let moved = store.diff(Some(&base.here()), Some(&r.here())).await.unwrap().unwrap();
    let again = store.merge(&[other, moved], &nobody()).await.unwrap();
    assert!(tree(again.mount().await.unwrap().path())["home/me"].starts_with("750 0:0"));
}

#[tokio::test]
async fn a_merge_that_changes_no_directory_shares_the_layer() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[directory("bin/"), symlink("lib", "bin")]).await;
    for name in ["bin/f", "new/f", "lib/f"] {
        let copied = copied(&store, name).await;
        let merged = store.merge(&[base.clone(), copied.clone()], &nobody()).await.unwrap();
        assert_eq!(merged.layers()[1].number(), copied.layers()[0].number(), "{name}");
    }
}

#[tokio::test]
async fn whiteouts_of_nothing_do_not_show_where_a_layer_is_moved_to() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("d/gone", ""), file("e/gone", "")]).await;
    let top = [item(b'0', "d/.wh.gone"), file("d/new", ""), item(b'0', "e/.wh.gone")];
    let top = apply(&store, Some(&base), &top).await;
    let diff = store.diff(Some(&base.here()), Some(&top.here())).await.unwrap().unwrap();
    let other = apply(&store, None, &[file("x", ""), file("e/gone", "")]).await;
    let merged = store.merge(&[other, diff], &nobody()).await.unwrap();
    assert_eq!(names(merged.mount().await.unwrap().path()), ["d", "d/new", "e", "x"]);
}

fn mode(path: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o7777
}

/// What a step on two layers makes, by overlays or by copies: what is seen before and afterwards.
async fn step_on_layers(options: StoreOptions) -> [BTreeMap<String, String>; 2] {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), options).unwrap();
    let base = [
        directory("d"),
        file("d/gone", "1"),
        file("d/stays", "2"),
        directory("e"),
        file("e/old", "3"),
        symlink("l", "d/stays"),
        item(b'6', "pipe"),
        Item { mode: 0o555, ..directory("closed") },
        file("closed/in", "4"),
    ];
    let base = apply(&store, None, &base).await;
    let top = [item(b'0', "d/.wh.gone"), item(b'0', "e/.wh..wh..opq"), file("e/new", "5")];
    let top = apply(&store, Some(&base), &top).await;
    let before = tree(top.mount().await.unwrap().path());
    let step = store.prepare(Some(&top.here())).await.unwrap();
    {
        let mounted = step.mount().await.unwrap();
        assert_eq!(tree(mounted.path()), before);
        let at = |name: &str| mounted.path().join(name);
        fs::write(at("d/stays"), "changed").unwrap();
        fs::remove_dir_all(at("e")).unwrap();
        fs::write(at("e"), "a file now").unwrap();
        fs::remove_file(at("l")).unwrap();
        fs::create_dir(at("l")).unwrap();
        put(mounted.path(), "l/deep/er", "6");
        fs::hard_link(at("l/deep/er"), at("l/again")).unwrap();
        for name in ["d", "d/stays", "e", "l", "l/deep", "l/deep/er", "."] {
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7);
            fs::File::open(at(name)).unwrap().set_modified(time).unwrap();
        }
    }
    let step = step.commit().await.unwrap();
    assert_eq!(step.layers().len(), 3);
    // What was there before is as it was.
    assert_eq!(tree(top.mount().await.unwrap().path()), before);
    let after = tree(step.mount().await.unwrap().path());
    step.keep(RecordInfo::default()).await.unwrap();
    assert_eq!(fs::read_dir(root.path().join("mnt")).unwrap().count(), 0);
    [before, after]
}

#[tokio::test]
async fn copies_show_and_take_in_what_overlays_do() {
    if !can_mount() {
        return;
    }
    let overlays = step_on_layers(StoreOptions::default()).await;
    let copy = StoreOptions { copy: true, ..StoreOptions::default() };
    assert_eq!(step_on_layers(copy).await, overlays);
    // The same for who cannot even read the attributes of overlays.
    let plain =
        StoreOptions { copy: true, in_user_namespace: Some(true), ..StoreOptions::default() };
    assert_eq!(step_on_layers(plain).await, overlays);
    assert_eq!(overlays[1]["e"].split(' ').next(), Some("644"), "{:?}", overlays[1]);
}

#[tokio::test]
async fn a_store_of_other_rights_is_refused_unless_it_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let open = |user_namespace| {
        let options =
            StoreOptions { in_user_namespace: Some(user_namespace), ..StoreOptions::default() };
        Store::open(root.path(), options)
    };
    drop(open(true).unwrap());
    let store = open(false).unwrap();
    apply(&store, None, &[file("a", "a")]).await.keep(RecordInfo::default()).await.unwrap();
    drop(store);
    let error = open(true).unwrap_err().to_string();
    assert!(error.contains("choose another root"), "{error}");
    let store = open(false).unwrap();
    store.prune(PruneOptions { all: true, ..PruneOptions::default() }, &mut |_| {}).await.unwrap();
    drop(store);
    open(true).unwrap();
}

/// What one layer deletes stays deleted, also where it is put on something that its own base did not
/// have: the base that a merge left out because it comes again is remembered.
#[tokio::test]
async fn a_difference_of_nested_merges_keeps_deletions() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let a = apply(&store, None, &[file("A", "a")]).await;
    let ab = apply(&store, Some(&a), &[file("B", "b")]).await;
    let abc = apply(&store, Some(&ab), &[file("C", "c")]).await;
    let abcd = apply(&store, Some(&abc), &[file("D", "d")]).await;
    let e = apply(&store, None, &[file("E", "e")]).await;
    let ae = store.merge(&[a.clone(), e], &nobody()).await.unwrap();
    let ae = apply(&store, Some(&ae), &[item(b'0', ".wh.A")]).await;
    let nested = store.merge(&[abcd, ae], &nobody()).await.unwrap();
    let nested = apply(&store, Some(&nested), &[item(b'0', ".wh.D")]).await;
    // It is remembered beyond this handle.
    nested.keep(RecordInfo::default()).await.unwrap();
    let id = nested.id().to_owned();
    drop(nested);
    let nested = store.load(&id).unwrap();
    let diff = store.diff(Some(&abc.here()), Some(&nested.here())).await.unwrap().unwrap();
    let abd = apply(&store, Some(&ab), &[file("D", "other")]).await;
    let merged = store.merge(&[abd, diff], &nobody()).await.unwrap();
    assert_eq!(names(merged.mount().await.unwrap().path()), ["B", "E"]);
    // A difference to a merge is what was put on it, too.
    let twice = store.merge(&[ab.clone(), a.clone()], &nobody()).await.unwrap();
    let more = apply(&store, Some(&twice), &[file("more", "")]).await;
    let diff = store.diff(Some(&twice.here()), Some(&more.here())).await.unwrap().unwrap();
    assert_eq!(diff.layers().len(), 1);
    assert_eq!(diff.layers()[0].number(), more.layers().last().unwrap().number());
}
