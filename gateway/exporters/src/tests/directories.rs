//! Tars of files, and directories on the client's machine.

use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_tar_has_all_that_a_file_system_has() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.layer(None, &[("a/one", "1"), ("gone", "x")]).await;
    let base = base.ready();
    let writable = fixture.context.store.prepare(base.as_ref()).await.unwrap();
    let mounted = writable.mount().await.unwrap();
    let root = mounted.path();
    fs::remove_file(root.join("gone")).unwrap();
    fs::write(root.join("a/two"), "two").unwrap();
    fs::hard_link(root.join("a/two"), root.join("b")).unwrap();
    symlink("/a/one", root.join("link")).unwrap();
    rustix::fs::setxattr(root.join("b"), "user.k", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    drop(mounted);
    let result = BuildResult::single(Some(writable.commit().await.unwrap()));
    fixture.export(&result, "tar", &[("source-date-epoch", "1000")]).await.unwrap();
    let bytes = fixture.stream();
    let (names, contents) = untar(&bytes);
    assert_eq!(names, ["a/", "a/one", "a/two", "b", "link"]);
    assert_eq!(contents["a/two"], b"two");
    let mut archive = tar::Archive::new(&bytes[..]);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1000);
        let kind = entry.header().entry_type();
        match &*entry.path_bytes().into_owned() {
            b"b" => {
                assert!(kind.is_hard_link());
                assert_eq!(entry.link_name_bytes().unwrap(), &b"a/two"[..]);
            }
            b"link" => assert_eq!(entry.link_name_bytes().unwrap(), &b"/a/one"[..]),
            b"a/two" => {
                let mut extensions = entry.pax_extensions().unwrap().unwrap();
                let extension = extensions.next().unwrap().unwrap();
                assert_eq!(extension.key().unwrap(), "SCHILY.xattr.user.k");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn platforms_get_directories_of_their_own() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let result = by_platform(&[("linux/amd64", Some(files)), ("linux/arm/v7", None)]);
    fixture.export(&result, "tar", &[]).await.unwrap();
    let (names, _) = untar(&fixture.stream());
    assert_eq!(
        names,
        [
            "linux_amd64/",
            "linux_amd64/app/",
            "linux_amd64/app/run",
            "linux_amd64/etc/",
            "linux_amd64/etc/os-release",
            "linux_amd64/old",
            "linux_arm_v7/",
        ]
    );

    fixture.export(&result, "local", &[]).await.unwrap();
    let sent = fixture.client.directories.lock().unwrap();
    assert_eq!(sent[0].1[..2], ["linux_amd64", "linux_amd64/app"]);
    assert_eq!(sent[1].1, ["linux_arm_v7"]);
    assert!(sent.iter().all(|(directory, _)| !directory.whole));
    // Nothing of the mounts is left.
    assert!(sent.iter().all(|(directory, _)| !directory.path.exists()));
}

#[tokio::test]
async fn a_client_that_deletes_gets_all_platforms_at_once() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let other = fixture.layer(None, &[("etc/other", "o")]).await;
    let result = by_platform(&[("linux/amd64", Some(files)), ("linux/arm64", Some(other))]);
    fixture.export(&result, "local", &[("mode", "delete")]).await.unwrap();
    let unsplit = [("mode", "delete"), ("platform-split", "false")];
    fixture.export(&result, "local", &unsplit).await.unwrap();
    let sent = fixture.client.directories.lock().unwrap();
    let names = |at: usize| sent[at].1.iter().map(String::as_str).collect::<Vec<_>>();
    assert!(
        names(0).contains(&"linux_amd64/app/run") && names(0).contains(&"linux_arm64/etc/other")
    );
    assert_eq!(names(1), ["app", "app/run", "etc", "etc/os-release", "etc/other", "old"]);
    assert!(sent.len() == 2 && sent.iter().all(|(directory, _)| directory.whole));
    assert!(sent.iter().all(|(directory, _)| !directory.path.exists()));
}

#[tokio::test]
async fn without_directories_of_their_own_platforms_may_not_share_files() {
    let fixture = Fixture::new();
    let first = fixture.layer(None, &[("bin/a", "1")]).await;
    let second = fixture.layer(None, &[("bin/b", "2")]).await;
    let unsplit = [("platform-split", "false")];
    let fine = by_platform(&[("linux/amd64", Some(first.clone())), ("linux/arm64", Some(second))]);
    fixture.export(&fine, "tar", &unsplit).await.unwrap();
    assert_eq!(untar(&fixture.stream()).0, ["bin/", "bin/a", "bin/b"]);

    let third = fixture.layer(None, &[("bin/a", "3")]).await;
    let clash = by_platform(&[("linux/amd64", Some(first)), ("linux/arm64", Some(third))]);
    for kind in ["tar", "local"] {
        let error = fixture.export(&clash, kind, &unsplit).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot overwrite bin/a from linux/amd64 with linux/arm64 when split option is disabled"
        );
    }
    assert!(fixture.client.streams.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_single_result_is_the_clients_directory_itself() {
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.layer(None, &[("bin/a", "1")]).await));
    fixture
        .export(&result, "local", &[("source-date-epoch", "7"), ("mode", "delete")])
        .await
        .unwrap();
    fixture.export(&BuildResult::single(None), "local", &[]).await.unwrap();
    let sent = fixture.client.directories.lock().unwrap();
    assert_eq!(sent[0].1, ["bin", "bin/a"]);
    assert_eq!(sent[0].0.epoch_seconds, Some(7));
    assert!(sent[0].0.whole, "the client deletes");
    assert!(sent[1].1.is_empty());
}

#[tokio::test]
async fn one_export_of_many_is_one_vertex_each() {
    let mut fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.layer(None, &[("a", "1")]).await));
    let parse = |id: &str, kind: &str| Export::parse(id, kind, &BTreeMap::new()).unwrap();
    let exports = [parse("0", "tar"), parse("1", "oci")];
    export(&exports, &result, &fixture.context).await.unwrap();
    let mut titles = BTreeMap::new();
    while let Ok(progress) = fixture.progress.try_recv() {
        if let Progress::Vertex(vertex) = progress {
            titles.insert(vertex.name, (vertex.digest, vertex.completed.is_some()));
        }
    }
    let digest = |n| kiln_oci::Digest::sha256(format!("session-export-{n}"));
    assert_eq!(titles["exporting to client tarball"], (digest(0), true));
    assert_eq!(titles["exporting to oci image format"], (digest(1), true));
    let streams = fixture.client.streams.lock().unwrap();
    let mut ids: Vec<&str> = streams.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["0", "1"]);
}

#[tokio::test]
async fn deep_directories_do_not_exhaust_the_stack() {
    let fixture = Fixture::new();
    let deep = "d/".repeat(1900) + "file";
    let result = BuildResult::single(Some(fixture.layer(None, &[(&deep, "x")]).await));
    fixture.export(&result, "tar", &[]).await.unwrap();
    let (names, contents) = untar(&fixture.stream());
    assert_eq!(names.len(), 1901);
    assert_eq!(contents[&deep], b"x");
}
