//! Whole transfers between two directories, and senders and receivers that misbehave.

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kiln_filesync::send::MapStat;
use kiln_filesync::{
    Diff, Filter, Limits, Listing, OnProgress, Owner, Patterns, ReceiveError, ReceiveOptions, Root,
    SendError, SendOptions, listing, mode, outgoing, receive, send, walk,
};
use kiln_pb::filetree::packet::PacketType;
use kiln_pb::filetree::{Packet, Stat};
use prost::Message;
use support::transfer;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A channel as the stream of a call that never breaks.
fn stream(
    packets: mpsc::Receiver<Packet>,
) -> impl futures::Stream<Item = Result<Packet, Infallible>> + Unpin {
    ReceiverStream::new(packets).map(Ok)
}

fn ours() -> ReceiveOptions {
    ReceiveOptions { owner: Owner::Ours, ..ReceiveOptions::default() }
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Everything about a tree that must survive, by path.
fn describe(root: &Path) -> BTreeMap<String, Stat> {
    let mut entries = BTreeMap::new();
    walk(&Root::open(root).unwrap(), &Filter::default(), &mut |stat| {
        entries.insert(stat.path.clone(), stat);
        Ok(())
    })
    .unwrap();
    entries
}

fn names(root: &Path, filter: &Filter) -> Vec<String> {
    let mut names = Vec::new();
    walk(&Root::open(root).unwrap(), filter, &mut |stat| {
        names.push(stat.path);
        Ok(())
    })
    .unwrap();
    names
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// A tree with one of everything an unprivileged user can make.
fn varied() -> TempDir {
    let root = TempDir::new().unwrap();
    let path = root.path();
    write(path, "a/file", "content");
    write(path, "a.txt", "");
    write(path, "a/b/large", vec![7u8; 200_000]);
    write(path, "bin/tool", "#!");
    fs::set_permissions(path.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(path.join("a.txt"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    symlink("../a/file", path.join("bin/link")).unwrap();
    symlink("/nowhere", path.join("dangling")).unwrap();
    fs::hard_link(path.join("a/file"), path.join("z-link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789));
    fs::File::open(path.join("a/b/large")).unwrap().set_times(old).unwrap();
    fs::set_permissions(path.join("a/b"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::File::open(path.join("a")).unwrap().set_times(old).unwrap();
    root
}

#[tokio::test]
async fn a_tree_arrives_as_it_was() {
    let (from, to) = (varied(), TempDir::new().unwrap());
    let (sent, received) = transfer(from.path(), to.path(), SendOptions::default(), ours()).await;
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert_eq!(describe(to.path()), describe(from.path()));
    assert!(!to.path().join("socket").exists());
    assert_eq!(received.changed, received.entries);
    assert_eq!((sent.entries, sent.bytes), (received.entries, received.bytes));
    assert_eq!(sent.bytes, 200_000 + 7 + 2);
    let inode = |path| fs::metadata(to.path().join(path)).unwrap().ino();
    assert_eq!(inode("a/file"), inode("z-link"));
    assert_eq!(fs::read(to.path().join("a/b/large")).unwrap(), vec![7u8; 200_000]);
}

#[tokio::test]
async fn holes_arrive_as_holes() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = fs::File::create(from.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 3 << 20).unwrap();
    file.set_len(8 << 20).unwrap();
    fs::File::create(from.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
    transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    assert_eq!(describe(to.path()), describe(from.path()));
    let bytes = |root: &TempDir| fs::read(root.path().join("sparse")).unwrap();
    assert!(bytes(&from) == bytes(&to));
    let blocks = |name: &str| fs::metadata(to.path().join(name)).unwrap().blocks() * 512;
    assert!(blocks("sparse") < 1 << 20 && blocks("hole") == 0, "{}", blocks("sparse"));
}

#[tokio::test]
async fn only_what_changed_crosses_again() {
    let (from, to) = (varied(), TempDir::new().unwrap());
    transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    let again = transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    assert_eq!((again.changed, again.deleted, again.bytes), (0, 0, 0));

    write(from.path(), "bin/tool", "new");
    fs::remove_dir_all(from.path().join("empty")).unwrap();
    fs::remove_file(from.path().join("dangling")).unwrap();
    write(from.path(), "dangling/now/a/directory", "x");
    write(to.path(), "a/stale/file", "gone");
    let third = transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    assert_eq!(third.bytes, 4);
    assert_eq!(third.deleted, 2);
    assert_eq!(describe(to.path()), describe(from.path()));
}

#[tokio::test]
async fn a_changed_file_does_not_change_a_former_hard_link() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "one", "same");
    fs::hard_link(from.path().join("one"), from.path().join("two")).unwrap();
    transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    fs::remove_file(from.path().join("one")).unwrap();
    write(from.path(), "one", "other");
    transfer(from.path(), to.path(), SendOptions::default(), ours()).await.1.unwrap();
    assert_eq!(fs::read_to_string(to.path().join("two")).unwrap(), "same");
    assert_eq!(describe(to.path()), describe(from.path()));
}

#[tokio::test]
async fn merging_keeps_what_is_not_mentioned() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "dir/new", "new");
    write(to.path(), "dir/old", "old");
    write(to.path(), "other", "other");
    let options = ReceiveOptions { merge: true, diff: Diff::None, ..ours() };
    let received =
        transfer(from.path(), to.path(), SendOptions::default(), options).await.1.unwrap();
    assert_eq!(received.deleted, 0);
    assert_eq!(names(to.path(), &Filter::default()), ["dir", "dir/new", "dir/old", "other"]);
}

#[tokio::test]
async fn of_many_doubtful_files_a_few_are_asked_for() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for number in 0..300 {
        write(from.path(), &format!("{number}"), "x");
    }
    let doubt = ReceiveOptions { diff: Diff::Doubt { since: 0 }, ..ours() };
    let again =
        |options: ReceiveOptions| transfer(from.path(), to.path(), SendOptions::default(), options);
    assert_eq!(again(doubt.clone()).await.1.unwrap().changed, 300);
    assert_eq!(again(doubt.clone()).await.1.unwrap().changed, 256);
    assert_eq!(again(ours()).await.1.unwrap().changed, 0);
    // One that is too large is not asked for either.
    fs::File::create(from.path().join("0")).unwrap().set_len(20 << 20).unwrap();
    assert_eq!(again(doubt.clone()).await.1.unwrap().bytes, (20 << 20) + 256);
    assert_eq!(again(doubt).await.1.unwrap().bytes, 256);
}

#[tokio::test]
async fn owners_are_reset_and_entries_mapped() {
    let from = varied();
    let map = MapStat::new(|stat| stat.mod_time = 0);
    let options = SendOptions { reset_owner: true, map: Some(map), ..SendOptions::default() };
    let (to_receiver, mut packets) = outgoing();
    let (_requests, at_sender) = mpsc::channel(1);
    let sending = tokio::spawn(send(
        Root::open(from.path()).unwrap(),
        options,
        stream(at_sender),
        to_receiver,
    ));
    while let Some(stat) = packets.next().await.unwrap().stat {
        assert_eq!((stat.uid, stat.gid, stat.mod_time), (0, 0, 0), "{}", stat.path);
    }
    sending.abort();
}

#[tokio::test]
async fn progress_ends_at_the_summary() {
    let (from, to) = (varied(), TempDir::new().unwrap());
    let bytes = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&bytes);
    let progress = OnProgress::new(move |progress| heard.store(progress.bytes, Ordering::SeqCst));
    let options = ReceiveOptions { progress, ..ours() };
    let received =
        transfer(from.path(), to.path(), SendOptions::default(), options).await.1.unwrap();
    assert_eq!(bytes.load(Ordering::SeqCst), received.bytes);
}

#[test]
fn filters_choose_what_travels() {
    let root = TempDir::new().unwrap();
    for path in
        ["a/b/c.go", "a/b/d.txt", "a/x", "node_modules/m/i.js", "node_modules/keep/i.js", "top.go"]
    {
        write(root.path(), path, path);
    }
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (&["a/b/c.go"], &[], &["a", "a/b", "a/b/c.go"]),
        (&["**/*.go"], &[], &["a", "a/b", "a/b/c.go", "top.go"]),
        (&["a"], &["**/*.txt"], &["a", "a/b", "a/b/c.go", "a/x"]),
        (&[], &["node_modules", "a"], &["top.go"]),
        (
            &[],
            &["node_modules", "!node_modules/keep", "a"],
            &["node_modules", "node_modules/keep", "node_modules/keep/i.js", "top.go"],
        ),
        (&[], &["*", "!top*"], &["top.go"]),
        (&["nothing"], &[], &[]),
    ];
    for (include, exclude, expected) in cases {
        let filter = Filter { include: list(include), exclude: list(exclude), ..Filter::default() };
        assert_eq!(names(root.path(), &filter), *expected, "{filter:?}");
    }
}

#[test]
fn followed_links_are_included_and_stay_inside() {
    let root = TempDir::new().unwrap();
    write(root.path(), "real/deep/file", "x");
    write(root.path(), "real/other", "x");
    write(root.path(), "etc/passwd", "ours");
    symlink("real/deep", root.path().join("dir")).unwrap();
    symlink("../../../../etc/passwd", root.path().join("escape")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    let follow = |paths: &[&str]| Filter { follow_paths: list(paths), ..Filter::default() };
    assert_eq!(
        names(root.path(), &follow(&["dir/file"])),
        ["dir", "real", "real/deep", "real/deep/file"]
    );
    assert_eq!(names(root.path(), &follow(&["/escape"])), ["escape", "etc", "etc/passwd"]);
    assert_eq!(names(root.path(), &follow(&["loop", "missing"])), ["loop"]);
    assert_eq!(
        names(root.path(), &follow(&["d*"])),
        ["dir", "real", "real/deep", "real/deep/file"]
    );
    assert_eq!(names(root.path(), &follow(&["."])).len(), 9);
}

#[test]
fn a_link_to_an_excluded_file_is_sent_as_a_file() {
    let root = TempDir::new().unwrap();
    write(root.path(), "a", "x");
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("c")).unwrap();
    let filter = Filter { exclude: list(&["a"]), ..Filter::default() };
    let mut links = Vec::new();
    walk(&Root::open(root.path()).unwrap(), &filter, &mut |stat| {
        links.push((stat.path, stat.linkname, stat.size));
        Ok(())
    })
    .unwrap();
    assert_eq!(links, [("b".to_owned(), String::new(), 1), ("c".to_owned(), "b".to_owned(), 0)]);
}

#[tokio::test]
async fn a_sender_hands_out_nothing_it_did_not_offer() {
    let root = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    write(outside.path(), "secret", "secret");
    write(root.path(), "dir/file", "x");
    symlink(outside.path(), root.path().join("way-out")).unwrap();
    for ids in [vec![0], vec![2], vec![99], vec![1, 1]] {
        let (to_receiver, mut packets) = outgoing();
        let (requests, at_sender) = mpsc::channel(8);
        let root = Root::open(root.path()).unwrap();
        let sending =
            tokio::spawn(send(root, SendOptions::default(), stream(at_sender), to_receiver));
        while packets.next().await.unwrap().stat.is_some() {}
        for id in ids {
            let request = Packet { r#type: PacketType::PacketReq.into(), id, ..Packet::default() };
            requests.send(request).await.unwrap();
        }
        assert!(matches!(sending.await.unwrap(), Err(SendError::BadRequest(_))));
    }
    // A directory that turns into a way out after it was described is not followed either.
    let opened = Root::open(root.path()).unwrap();
    fs::rename(root.path().join("dir"), root.path().join("moved")).unwrap();
    write(outside.path(), "file", "secret");
    symlink(outside.path(), root.path().join("dir")).unwrap();
    assert!(opened.open_file("dir/file").is_err());
    assert!(opened.open_file("../x").is_err());
    assert!(opened.open_file("moved/file").is_ok());
}

fn stat(path: &str, mode: u32) -> Packet {
    let stat = Stat { path: path.into(), mode, ..Stat::default() };
    Packet { stat: Some(stat), ..Packet::default() }
}

fn link(path: &str, mode: u32, target: &str) -> Packet {
    let stat = Stat { path: path.into(), mode, linkname: target.into(), ..Stat::default() };
    Packet { stat: Some(stat), ..Packet::default() }
}

fn data(id: u32, data: &'static [u8]) -> Packet {
    Packet { r#type: PacketType::PacketData.into(), id, data: data.into(), ..Packet::default() }
}

async fn say(to: &Path, packets: Vec<Packet>, options: ReceiveOptions) -> ReceiveError {
    let (sender, at_receiver) = mpsc::channel(packets.len().max(1));
    for packet in packets {
        sender.send(packet).await.unwrap();
    }
    drop(sender);
    let (to_sender, _requests) = outgoing();
    let receiving = receive(to.to_owned(), options, stream(at_receiver), to_sender);
    tokio::time::timeout(Duration::from_secs(10), receiving).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn hostile_senders_are_refused_and_change_nothing_outside() {
    let base = TempDir::new().unwrap();
    write(base.path(), "outside/file", "untouched");
    let to = base.path().join("to");
    fs::create_dir(&to).unwrap();
    let directory = mode::DIRECTORY | 0o755;
    let cases: Vec<(&str, Vec<Packet>)> = vec![
        ("leaves the destination", vec![stat("../outside/new", 0o644)]),
        ("is absolute", vec![stat("/tmp/x", 0o644)]),
        ("has a dot", vec![stat("a/./b", 0o644)]),
        ("is empty", vec![stat("", 0o644)]),
        ("goes backwards", vec![stat("b", 0o644), stat("a", 0o644)]),
        ("comes twice", vec![stat("a", 0o644), stat("a", 0o644)]),
        ("has no directory", vec![stat("a/b", 0o644)]),
        ("is in a file", vec![stat("a", 0o644), stat("a/b", 0o644)]),
        (
            "is in a link",
            vec![link("a", mode::SYMLINK | 0o777, "../outside"), stat("a/file", 0o644)],
        ),
        ("links to nothing", vec![link("a", 0o644, "b")]),
        ("links outside", vec![link("a", 0o644, "../outside/file")]),
        (
            "links to a link",
            vec![link("a", mode::SYMLINK | 0o777, "../outside/file"), link("b", 0o644, "a")],
        ),
        ("links to itself", vec![link("a", 0o644, "a")]),
        ("is a socket", vec![stat("a", mode::SOCKET | 0o600)]),
        ("is a riddle", vec![stat("a", mode::IRREGULAR)]),
        ("is a symbolic link to nowhere", vec![link("a", mode::SYMLINK, "")]),
        ("was not asked for", vec![data(0, b"x")]),
        ("is content of a directory", vec![stat("a", directory), data(0, b"x")]),
        ("ends twice", vec![stat("a", 0o644), Packet::default(), Packet::default()]),
        ("stops in the middle", vec![stat("a", 0o644), Packet::default(), data(0, b"half")]),
        ("is too large", vec![stat("a", 0o644), data(0, &[0; (1 << 20) + 1])]),
        (
            "is a request",
            vec![Packet { r#type: PacketType::PacketReq.into(), ..Packet::default() }],
        ),
        ("is unknown", vec![Packet { r#type: 77, ..Packet::default() }]),
    ];
    for (what, packets) in cases {
        let error = say(&to, packets, ours()).await;
        let content = fs::symlink_metadata(to.join("a"))
            .map_or(0, |found| if found.is_file() { found.len() } else { 0 });
        assert_eq!(content, 0, "{what}: {error}");
        assert_eq!(names(&base.path().join("outside"), &Filter::default()), ["file"], "{what}");
    }
    assert_eq!(fs::read_to_string(base.path().join("outside/file")).unwrap(), "untouched");
}

#[tokio::test]
async fn links_that_lie_in_the_destination_are_not_followed() {
    let base = TempDir::new().unwrap();
    write(base.path(), "outside/file", "untouched");
    let to = base.path().join("to");
    fs::create_dir(&to).unwrap();
    symlink("../outside", to.join("dir")).unwrap();
    symlink("../outside/file", to.join("file")).unwrap();
    let from = base.path().join("from");
    write(&from, "dir/new", "new");
    write(&from, "file", "ours");
    let options = ReceiveOptions { merge: true, ..ours() };
    transfer(&from, &to, SendOptions::default(), options).await.1.unwrap();
    assert_eq!(names(&base.path().join("outside"), &Filter::default()), ["file"]);
    assert_eq!(fs::read_to_string(base.path().join("outside/file")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(to.join("dir/new")).unwrap(), "new");
}

#[tokio::test]
async fn limits_hold() {
    let to = TempDir::new().unwrap();
    let limits = Limits { entries: 2, bytes: 10, depth: 2 };
    let options = || ReceiveOptions { limits, ..ours() };
    let error =
        say(to.path(), vec![stat("a", 0o644), stat("b", 0o644), stat("c", 0o644)], options()).await;
    assert_eq!(error.to_string(), "the sender exceeds the limit of 2 entries");
    let error = say(to.path(), vec![stat("a", 0o644), data(0, b"0123456789ab")], options()).await;
    assert_eq!(error.to_string(), "the sender exceeds the limit of 10 bytes");
    let directory = mode::DIRECTORY | 0o755;
    let limits = Limits { depth: 2, ..Limits::default() };
    let options = ReceiveOptions { limits, ..ours() };
    let error = say(
        to.path(),
        vec![stat("a", directory), stat("a/b", directory), stat("a/b/c", directory)],
        options,
    );
    assert!(matches!(
        error.await,
        ReceiveError::TooMuch { what: "directories inside each other", .. }
    ));
}

#[tokio::test]
async fn marks_of_overlay_mounts_do_not_travel() {
    let to = TempDir::new().unwrap();
    let mut packet = stat("a", mode::DIRECTORY | 0o755);
    if let Some(stat) = &mut packet.stat {
        for key in ["user.overlay.opaque", "trusted.overlay.opaque", "user.kept"] {
            stat.xattrs.insert(key.into(), "y".into());
        }
    }
    let (sender, at_receiver) = mpsc::channel(4);
    sender.send(packet).await.unwrap();
    sender.send(Packet::default()).await.unwrap();
    drop(sender);
    let (to_sender, _requests) = outgoing();
    receive(to.path().to_owned(), ours(), stream(at_receiver), to_sender).await.unwrap();
    let entry = describe(to.path()).remove("a").unwrap();
    let mut names = [0u8; 256];
    let length = rustix::fs::listxattr(to.path().join("a"), &mut names[..]).unwrap();
    let text = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!text.contains("overlay"), "{text}");
    if text.is_empty() {
        // The file system of the test directory keeps no attributes of users.
        return;
    }
    assert_eq!(entry.xattrs.keys().collect::<Vec<_>>(), ["user.kept"]);
}

#[tokio::test]
async fn a_missing_file_fails_both_sides_with_its_name() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "here", "x");
    let map = {
        let path = from.path().join("here");
        MapStat::new(move |_| fs::remove_file(&path).unwrap())
    };
    let options = SendOptions { map: Some(map), ..SendOptions::default() };
    let (sent, received) = transfer(from.path(), to.path(), options, ours()).await;
    assert!(matches!(sent.unwrap_err(), SendError::Walk(_)));
    let message = received.unwrap_err().to_string();
    assert!(message.contains("cannot read \"here\": No such file"), "{message}");
}

/// The entries of a list, by path.
fn listed(root: &Path) -> Vec<Stat> {
    let bytes = fs::read(root.join(listing::NAME)).unwrap();
    let (mut rest, mut entries) = (bytes.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        entries.push(Stat::decode(entry).unwrap());
        rest = after;
    }
    entries
}

#[tokio::test]
async fn everything_is_listed_and_only_what_is_wanted_is_placed() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let files = ["data", "dir/file1", "dir/file2", "dir/sub/bar1", "dir/sub2/bar3", "foo"];
    for path in files {
        write(from.path(), path, path);
    }
    let options = || {
        let files = Patterns::parse(["dir/**/*1", "foo"]).unwrap();
        ReceiveOptions { listing: Some(Listing { files }), ..ours() }
    };
    let (sent, received) =
        transfer(from.path(), to.path(), SendOptions::default(), options()).await;
    received.unwrap();
    assert_eq!(sent.unwrap().bytes, 9 + 12 + 3, "nothing else crosses");
    let placed = ["dir", "dir/file1", "dir/sub", "dir/sub/bar1", "foo"];
    let found = names(to.path(), &Filter::default());
    assert_eq!(found, [&[listing::NAME][..], &placed].concat());
    assert_eq!(fs::read_to_string(to.path().join("dir/sub/bar1")).unwrap(), "dir/sub/bar1");
    assert_eq!(listed(to.path()), describe(from.path()).into_values().collect::<Vec<_>>());

    // Again, with less of it, from a tree that has a list of its own.
    fs::remove_dir_all(from.path().join("dir/sub")).unwrap();
    write(from.path(), listing::NAME, "of something else");
    let again =
        transfer(from.path(), to.path(), SendOptions::default(), options()).await.1.unwrap();
    assert_eq!(again.bytes, 0, "what is here is not asked for");
    let found = names(to.path(), &Filter::default());
    assert_eq!(found, [listing::NAME, "dir", "dir/file1", "foo"]);
    let paths: Vec<_> = listed(to.path()).into_iter().map(|entry| entry.path).collect();
    assert_eq!(
        paths,
        ["data", "dir", "dir/file1", "dir/file2", "dir/sub2", "dir/sub2/bar3", "foo"]
    );
}

#[tokio::test]
async fn a_list_alone_places_nothing() {
    let (from, to) = (varied(), TempDir::new().unwrap());
    let options = ReceiveOptions { listing: Some(Listing::default()), ..ours() };
    let received = transfer(from.path(), to.path(), SendOptions::default(), options).await.1;
    assert_eq!(
        (received.unwrap().bytes, listed(to.path()).len()),
        (0, describe(from.path()).len())
    );
    assert_eq!(names(to.path(), &Filter::default()), [listing::NAME]);
}
