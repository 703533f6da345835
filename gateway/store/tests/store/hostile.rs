//! Archives that mean harm: nothing is written outside, and the error says what was wrong.

use std::fs;

use kiln_store::ApplyError;

use crate::support::*;

/// Applies on top of a base with links that lead out, and gives the complaint.
async fn refused(items: &[Item]) -> String {
    let (root, store) = store();
    let outside = root.path().parent().unwrap().join("kiln-was-here");
    let base = [
        symlink("abs", "/etc"),
        symlink("up", "../../../../../../.."),
        symlink("loop", "loop"),
        directory("dir"),
    ];
    let base = apply(&store, None, &base).await;
    let result = try_apply(&store, Some(&base), items).await;
    assert!(!outside.exists());
    match result {
        Err(ApplyError::Entry { problem, .. }) => problem,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted"),
    }
}

#[tokio::test]
async fn malicious_entries_are_refused_with_a_reason() {
    let long = "x/".repeat(2100);
    for (item, problem) in [
        (hard_link("passwd", "../../etc/passwd"), "does not exist"),
        (hard_link("passwd", "abs/passwd"), "does not exist"),
        (hard_link("d", "dir"), "is a directory"),
        (hard_link("root", "/"), "hard link to the root"),
        (file("loop/x", ""), "too many symbolic links"),
        (item(b'3', "white"), "would hide"),
        (item(b'0', "dir/.wh."), "hides nothing"),
        (item(b'0', "dir/.wh..."), "hides nothing"),
        (item(b'Z', "what"), "entries of type 'Z' are not supported"),
        (item(b'V', "label"), "type 'V' (a GNU volume label)"),
        (file("./", ""), "has no name"),
        (Item { owner: (u64::from(u32::MAX), 0), ..file("minus", "") }, "owner 4294967295 is not"),
        (Item { owner: (0, 1 << 32), ..file("large", "") }, "owner 4294967296 is not"),
        (symlink("s", ""), "link to nothing"),
        (file(&long, ""), "longer than 4096"),
        (Item { size: Some(u64::from(u32::MAX)), ..item(b'x', "huge") }, "larger than 1 MiB"),
        (Item { size: Some(u64::from(u32::MAX)), ..item(b'L', "huge") }, "larger than 1 MiB"),
        (Item { data: b"9 path=a\n!".to_vec(), ..item(b'x', "pax") }, "header is malformed"),
    ] {
        let name = String::from_utf8_lossy(&item.name).into_owned();
        let found = refused(&[item]).await;
        assert!(found.contains(problem), "{name}: {found}");
    }
}

#[tokio::test]
async fn going_up_ends_at_the_root() {
    let (root, store) = store();
    let items = [
        directory("dir"),
        file("../one", ""),
        file("dir/../../two", ""),
        file("dir/../three", ""),
        hard_link("dir/../../four", "../../one"),
    ];
    let r = apply(&store, None, &items).await;
    let layer = r.layers()[0].path();
    for name in ["dir", "one", "two", "three", "four"] {
        assert!(layer.join(name).exists(), "{name}");
    }
    assert!(
        !root.path().join("one").exists() && !root.path().parent().unwrap().join("one").exists()
    );
}

#[tokio::test]
async fn a_parent_that_is_a_file_is_refused() {
    let found = refused(&[file("f", ""), file("f/g", "")]).await;
    assert!(found.contains("not a directory"), "{found}");
}

#[tokio::test]
async fn links_lead_to_places_inside_the_layer_only() {
    let (root, store) = store();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.display().to_string();
    let base = [symlink("abs", &absolute), symlink("up", &format!("../../../../..{absolute}"))];
    let base = apply(&store, None, &base).await;
    let inside = [
        file("abs/one", "1"),
        file("up/two", "2"),
        symlink("own", &absolute),
        file("own/three", "3"),
        file("/four", "4"),
        item(b'0', "own/.wh.five"),
    ];
    let r = apply(&store, Some(&base), &inside).await;
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let layer = r.layers()[1].path();
    for name in ["one", "two", "three"] {
        assert!(layer.join(absolute.trim_start_matches('/')).join(name).is_file(), "{name}");
    }
    assert!(layer.join("four").is_file());
}

#[tokio::test]
async fn a_replaced_directory_is_not_written_through() {
    let (root, store) = store();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    let items = [directory("d"), file("d/a", "a"), symlink("d", &target), file("d/b", "b")];
    let r = apply(&store, None, &items).await;
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(r.layers()[0].path().join("d").is_symlink());
}

#[tokio::test]
async fn attributes_of_overlayfs_are_not_taken_from_archives() {
    let (_root, store) = store();
    let evil = xattr(directory("d"), "trusted.overlay.redirect", b"/etc");
    let evil = xattr(xattr(evil, "user.overlay.opaque", b"y"), "user.kiln.owner", b"1:1");
    let r = apply(&store, None, &[xattr(evil, "user.fine", b"yes")]).await;
    let path = r.layers()[0].path().join("d");
    let mut names = [0u8; 256];
    let len = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
    assert_eq!(&names[..len], b"user.fine\0");
}

#[tokio::test]
async fn truncated_and_garbled_archives_fail_and_leave_nothing() {
    let (root, store) = store();
    let whole = archive(&[directory("d"), file("d/f", &"x".repeat(3000)), symlink("s", "d")]);
    for len in [100, 512, 700, 1500, 3000] {
        let tar = &whole[..len];
        let layer = blob(&store, tar, tar.to_vec(), "").await;
        if len != 512 {
            store.apply(None, &layer).await.unwrap_err();
        }
    }
    for at in [0, 130, 150, 512 + 156, 512 + 124] {
        let mut tar = whole.clone();
        tar[at] ^= 0x55;
        let layer = blob(&store, &tar, tar.clone(), "").await;
        store.apply(None, &layer).await.unwrap_err();
    }
    drop(store);
    assert_eq!(fs::read_dir(root.path().join("snapshots")).unwrap().count(), 0);
}
