//! Git repositories, served by `git daemon`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use kiln_graph::Identifier;
use kiln_registry::testing::{ScriptedAnswer, ScriptedServer};
use tempfile::TempDir;

use super::{Client, Room, chain, skipped, tree};
use crate::{Metadata, SourceError};

/// A repository and its server.
struct Server {
    directory: TempDir,
    daemon: Child,
    port: u16,
}

impl Server {
    /// Two commits on `main`, a tag `v1` with a note on the first, and a branch `side`.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("repo");
        fs::create_dir(&work).unwrap();
        git(&work, "init --quiet --initial-branch=main .");
        fs::create_dir(work.join("docs")).unwrap();
        fs::write(work.join("docs/a.txt"), "a1").unwrap();
        fs::write(work.join("run.sh"), "#!/bin/sh").unwrap();
        std::os::unix::fs::symlink("docs", work.join("link")).unwrap();
        Command::new("chmod").arg("+x").arg(work.join("run.sh")).status().unwrap();
        git(&work, "add .");
        git(&work, "commit --quiet -m one");
        git(&work, "tag -a -m note v1");
        fs::write(work.join("docs/a.txt"), "a2").unwrap();
        git(&work, "commit --quiet -a -m two");
        git(&work, "branch side");
        Self::serve(directory)
    }

    fn serve(directory: TempDir) -> Option<Self> {
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new("git");
            command
                .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={}", directory.path().display()))
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "safe.directory")
                .env("GIT_CONFIG_VALUE_0", "*")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let Ok(mut daemon) = command.spawn() else { break };
            for _ in 0..200 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Self { directory, daemon, port });
                }
                if daemon.try_wait().unwrap().is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            daemon.kill().ok();
            daemon.wait().ok();
        }
        skipped("git daemon");
        None
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    fn url(&self) -> String {
        format!("git://127.0.0.1:{}/repo/.git", self.port)
    }

    fn source(&self, fragment: &str, attrs: &[(&str, &str)]) -> Identifier {
        let url = self.url();
        let attrs = [&[("git.fullurl", url.as_str())], attrs].concat();
        super::identifier(&format!("git://127.0.0.1/repo{fragment}"), &attrs)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The daemon's children end with their connections.
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

fn git(work: &Path, args: &str) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@x", "-c", "protocol.file.allow=always"])
        .args(args.split(' '))
        .current_dir(work)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", "2024-03-01T10:00:00Z")
        .env("GIT_AUTHOR_DATE", "2024-03-01T10:00:00Z")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {args}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_default_branch_is_checked_out_without_git() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let source = server.source("", &[]);
    let pin = room.pin(&source).await.unwrap();
    let head = git(&server.work(), "rev-parse main");
    assert_eq!(pin.key.as_str(), head);
    let metadata = Metadata::Git {
        reference: "refs/heads/main".into(),
        checksum: head,
        commit_checksum: None,
    };
    assert_eq!(pin.metadata, metadata);
    let content = tree(&room.fetch(&source, &pin).await.unwrap()).await;
    let want = [("docs/a.txt", "644 a2"), ("link", "-> docs"), ("run.sh", "755 #!/bin/sh")];
    assert_eq!(content, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[tokio::test]
async fn a_tag_with_a_note_is_keyed_by_its_commit_unless_git_is_kept() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let tag = git(&server.work(), "rev-parse v1");
    let commit = git(&server.work(), "rev-parse v1^{commit}");
    let source = server.source("#v1", &[]);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key.as_str(), commit);
    assert_eq!(tree(&room.fetch(&source, &pin).await.unwrap()).await["docs/a.txt"], "644 a1");

    let source = server.source(&format!("#{commit}"), &[("git.keepgitdir", "true")]);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key.as_str(), format!("{commit}.git#{commit}"));

    let source = server.source("#v1", &[("git.keepgitdir", "true")]);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key.as_str(), format!("{tag}.git#refs/tags/v1"));
    let content = room.fetch(&source, &pin).await.unwrap();
    let mounted = content.ready().unwrap().mount().await.unwrap();
    assert_eq!(git(mounted.path(), "-c safe.directory=* rev-parse HEAD"), commit);
    assert_eq!(git(mounted.path(), "-c safe.directory=* describe --tags"), "v1");
    assert_eq!(git(mounted.path(), "-c safe.directory=* status --porcelain"), "");
    assert_eq!(git(mounted.path(), "-c safe.directory=* remote get-url origin"), server.url());
}

#[tokio::test]
async fn a_commit_is_pinned_without_asking_and_fetched_by_id() {
    let Some(server) = Server::start() else { return };
    let commit = git(&server.work(), "rev-parse v1^{commit}");
    let source = server.source(&format!("#{commit}"), &[]);
    let room = Room::new();
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key.as_str(), commit);
    assert_eq!(tree(&room.fetch(&source, &pin).await.unwrap()).await["docs/a.txt"], "644 a1");
}

#[tokio::test]
async fn a_directory_can_be_wanted_and_a_link_is_none() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let pin = room.pin(&server.source("#main:docs", &[])).await.unwrap();
    assert!(pin.key.as_str().ends_with(":docs"));
    let content = tree(&room.get(&server.source("#main:docs", &[])).await.unwrap()).await;
    assert_eq!(content, [("a.txt".to_owned(), "644 a2".to_owned())].into());
    for subdir in ["link", "nowhere", "run.sh"] {
        let error = room.get(&server.source(&format!("#main:{subdir}"), &[])).await.unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }
}

#[tokio::test]
async fn a_checksum_may_be_short_and_has_to_match() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let head = git(&server.work(), "rev-parse main");
    room.get(&server.source("#main", &[("git.checksum", &head[..7])])).await.unwrap();
    let error =
        room.get(&server.source("#v1", &[("git.checksum", &head)])).await.unwrap_err().to_string();
    assert!(error.contains("expected checksum to match"), "{error}");
    assert!(error.contains(&head), "{error}");
}

#[tokio::test]
async fn a_new_commit_is_seen_and_an_old_checkout_is_used_again() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let source = server.source("#main", &[]);
    let first = room.pin(&source).await.unwrap();
    let content = room.fetch(&source, &first).await.unwrap();
    fs::write(server.work().join("new"), "n").unwrap();
    git(&server.work(), "add .");
    git(&server.work(), "commit --quiet -m three");
    let second = room.pin(&source).await.unwrap();
    assert_ne!(first.key, second.key);
    assert_eq!(tree(&room.fetch(&source, &second).await.unwrap()).await["new"], "644 n");
    let again = room.fetch(&source, &first).await.unwrap();
    assert_eq!(again.id(), content.id());
    let id = content.id().to_owned();
    drop((content, again));
    let room = room.restarted(Client::default());
    assert_eq!(room.fetch(&source, &first).await.unwrap().id(), id);
}

#[tokio::test]
async fn a_branch_that_moves_on_between_pin_and_fetch_gives_what_was_pinned() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let source = server.source("#main", &[]);
    let pin = room.pin(&source).await.unwrap();
    git(&server.work(), "reset --quiet --hard v1");
    git(&server.work(), "config uploadpack.allowAnySHA1InWant true");
    assert_eq!(tree(&room.fetch(&source, &pin).await.unwrap()).await["docs/a.txt"], "644 a2");
}

#[tokio::test]
async fn submodules_come_along_unless_skipped() {
    let Some(server) = Server::start() else { return };
    let outer = server.directory.path().join("outer");
    fs::create_dir(&outer).unwrap();
    git(&outer, "init --quiet --initial-branch=main .");
    git(&outer, &format!("submodule --quiet add {} sub", server.url()));
    git(&outer, "commit --quiet -m one");
    let url = format!("git://127.0.0.1:{}/outer/.git", server.port);
    let room = Room::new();
    let source = |attrs: &[(&str, &str)]| {
        super::identifier("git://x/y", &[&[("git.fullurl", url.as_str())], attrs].concat())
    };
    let content = tree(&room.get(&source(&[])).await.unwrap()).await;
    assert_eq!(content["sub/docs/a.txt"], "644 a2");
    assert!(content.keys().all(|path| !path.contains(".git/") && !path.ends_with("/.git")));
    let skipped = source(&[("git.skipsubmodules", "true")]);
    let pin = room.pin(&skipped).await.unwrap();
    assert!(pin.key.as_str().ends_with("(skip-submodules)"));
    let content = tree(&room.fetch(&skipped, &pin).await.unwrap()).await;
    assert!(!content.contains_key("sub/docs/a.txt"));
}

#[tokio::test]
async fn every_entry_can_have_the_time_of_the_commit() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let content = room.get(&server.source("", &[("git.mtime", "commit")])).await.unwrap();
    let mounted = content.ready().unwrap().mount().await.unwrap();
    for path in ["docs", "docs/a.txt", "link", "."] {
        let metadata = fs::symlink_metadata(mounted.path().join(path)).unwrap();
        let since = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_secs(1_709_287_200), "{path}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let Some(server) = Server::start() else { return };
    let error = Room::new().get(&server.source("#nowhere", &[])).await.unwrap_err();
    let want = format!("repository does not contain ref nowhere: {}", server.url());
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_token_goes_into_a_header_and_into_no_message() {
    let server = ScriptedServer::start(|request| {
        // A proxy that repeats what it was sent.
        let sent = request.header("authorization").to_owned();
        ScriptedAnswer::new(403, sent.clone()).with("Content-Type", "text/plain")
    })
    .unwrap();
    let url = format!("http://{}/r.git", server.host());
    let id = format!("TOKEN.{}", server.host());
    let room = Room::with(Client::with_secrets(&[(&id, "s3cret"), ("TOKEN", "other")]));
    let attrs = [
        ("git.fullurl", url.as_str()),
        ("git.authheadersecret", "HEADER"),
        ("git.authtokensecret", "TOKEN"),
    ];
    let error = room.get(&super::identifier("git://x/r.git", &attrs)).await.unwrap_err();
    assert_eq!(
        server.requests()[0].header("authorization"),
        "basic eC1hY2Nlc3MtdG9rZW46czNjcmV0",
        "x-access-token:s3cret"
    );
    assert_eq!(room.session.asked(), [format!("HEADER.{}", server.host()), id]);
    let text = chain(&error);
    assert!(
        text.contains("403") && !text.contains("eC1hY2N") && !text.contains("s3cret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_repository_that_asks_for_a_password_fails_at_once() {
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(401, "").with("WWW-Authenticate", "Basic realm=x")
    })
    .unwrap();
    let url = format!("http://{}/r.git", server.host());
    let source = super::identifier("git://x/r.git", &[("git.fullurl", &url)]);
    let error = Room::new().get(&source).await.unwrap_err();
    assert!(matches!(error, SourceError::Git(_)));
    assert!(error.to_string().contains("terminal prompts disabled"), "{error}");
}

/// Serves the files of a directory, as any web server does.
fn files_server(root: &Path) -> ScriptedServer {
    let root = root.to_owned();
    ScriptedServer::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default().trim_start_matches('/');
        match fs::read(root.join(path)) {
            Ok(bytes) => ScriptedAnswer::new(200, bytes),
            Err(_) => ScriptedAnswer::new(404, ""),
        }
    })
    .unwrap()
}

/// A repository with one commit and a tag with a note, for servers of files.
fn plain_repository(root: &Path, name: &str) -> PathBuf {
    let work = root.join(name);
    fs::create_dir(&work).unwrap();
    git(&work, "init --quiet --initial-branch=main .");
    fs::write(work.join("a.txt"), name).unwrap();
    git(&work, "add .");
    git(&work, "commit --quiet -m one");
    git(&work, "tag -a -m note v1");
    git(&work, "update-server-info");
    work
}

#[tokio::test]
async fn a_tag_that_moves_is_followed_by_the_next_build_only() {
    let root = tempfile::tempdir().unwrap();
    let work = plain_repository(root.path(), "repo");
    let server = files_server(root.path());
    let url = format!("http://{}/repo/.git", server.host());
    let source = super::identifier("git://x/repo#v1", &[("git.fullurl", &url)]);
    let room = Room::new();
    let build = room.sources.begin_build("session-1");
    let first = room.pin(&source).await.unwrap();
    fs::write(work.join("a.txt"), "moved").unwrap();
    git(&work, "commit --quiet -a -m two");
    git(&work, "tag -f -a -m note v1");
    git(&work, "update-server-info");
    let second = room.pin(&source).await.unwrap();
    assert_eq!((&first.key, &first.metadata), (&second.key, &second.metadata));
    // The tag is gone from the server, its commit is not.
    assert_eq!(tree(&room.fetch(&source, &second).await.unwrap()).await["a.txt"], "644 repo");
    drop(build);
    assert_eq!(tree(&room.get(&source).await.unwrap()).await["a.txt"], "644 moved");
}

#[tokio::test]
async fn submodules_come_from_servers_of_files_too() {
    let Some(daemon) = Server::start() else { return };
    let root = daemon.directory.path();
    plain_repository(root, "inner");
    let server = files_server(root);
    let outer = root.join("outer");
    fs::create_dir(&outer).unwrap();
    git(&outer, "init --quiet --initial-branch=main .");
    git(&outer, &format!("submodule --quiet add http://{}/inner/.git sub", server.host()));
    git(&outer, "commit --quiet -m one");
    let url = format!("git://127.0.0.1:{}/outer/.git", daemon.port);
    let source = super::identifier("git://x/y", &[("git.fullurl", &url)]);
    assert_eq!(tree(&Room::new().get(&source).await.unwrap()).await["sub/a.txt"], "644 inner");
}

#[tokio::test]
async fn a_private_submodule_is_named_with_the_secret_that_opens_it() {
    let Some(daemon) = Server::start() else { return };
    let root = daemon.directory.path().to_owned();
    plain_repository(&root, "inner");
    let files = root.clone();
    let server = ScriptedServer::start(move |request| {
        // x-access-token:s3cret
        if request.header("authorization") != "basic eC1hY2Nlc3MtdG9rZW46czNjcmV0" {
            return ScriptedAnswer::new(401, "").with("WWW-Authenticate", "Basic realm=x");
        }
        let path = request.target.split('?').next().unwrap_or_default().trim_start_matches('/');
        fs::read(files.join(path))
            .map_or(ScriptedAnswer::new(404, ""), |bytes| ScriptedAnswer::new(200, bytes))
    })
    .unwrap();
    let outer = root.join("outer");
    fs::create_dir(&outer).unwrap();
    git(&outer, "init --quiet --initial-branch=main .");
    git(&outer, &format!("submodule --quiet add {} sub", daemon.url()));
    let inner = format!("http://{}/inner/.git", server.host());
    git(&outer, &format!("config --file .gitmodules submodule.sub.url {inner}"));
    git(&outer, "add .");
    git(&outer.join("sub"), "fetch --quiet ../../inner main");
    git(&outer.join("sub"), "checkout --quiet FETCH_HEAD");
    git(&outer, "add sub");
    git(&outer, "commit --quiet -m one");
    let url = format!("git://127.0.0.1:{}/outer/.git", daemon.port);
    let attrs = [("git.fullurl", url.as_str()), ("git.authtokensecret", "GIT_AUTH_TOKEN")];
    let source = super::identifier("git://x/y", &attrs);
    let secret = format!("GIT_AUTH_TOKEN.{}", server.host());
    let text = Room::new().get(&source).await.unwrap_err().to_string();
    assert!(text.contains(&inner) && text.contains(&secret), "{text}");
    let room = Room::with(Client::with_secrets(&[(&secret, "s3cret"), ("GIT_AUTH_TOKEN", "no")]));
    assert_eq!(tree(&room.get(&source).await.unwrap()).await["sub/a.txt"], "644 inner");
}

#[tokio::test]
async fn objects_are_given_as_git_stores_them() {
    let Some(server) = Server::start() else { return };
    let room = Room::new();
    let objects = async |fragment: &str| {
        let source = server.source(fragment, &[]);
        let pin = room.pin(&source).await.unwrap();
        room.sources.git_objects(&source, &pin, &room.context).await.unwrap().unwrap()
    };
    let raw = |kind: &str, id: &str| git(&server.work(), &format!("cat-file {kind} {id}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let main = objects("#main").await;
    assert_eq!((main.commit_checksum, main.tag), (None, None));
    assert_eq!(text(&main.commit), raw("commit", "main"));
    let tagged = objects("#v1").await;
    assert_eq!(tagged.commit_checksum, Some(git(&server.work(), "rev-parse v1^{commit}")));
    assert_eq!(text(&tagged.commit), raw("commit", "v1^{commit}"));
    assert_eq!(text(&tagged.tag.unwrap()), raw("tag", "v1"));
}

/// A repository with commits and tags that are signed: `plain`, `pgp` and `ssh`, each by its name, for
/// servers of files.
fn signed_repository(root: &Path) -> PathBuf {
    let work = root.join("repo");
    fs::create_dir(&work).unwrap();
    git(&work, "init --quiet --initial-branch=main .");
    git(&work, "hash-object -w -t tree /dev/null");
    for name in ["plain", "pgp", "ssh"] {
        for kind in ["commit", "tag"] {
            let path = super::signature(&format!("sha1-{name}.{kind}"));
            let id = git(&work, &format!("hash-object -w -t {kind} {}", path.display()));
            let of = if kind == "tag" { "tags" } else { "heads" };
            git(&work, &format!("update-ref refs/{of}/{kind}-{name} {id}"));
        }
    }
    git(&work, "update-server-info");
    work
}

#[tokio::test]
async fn a_commit_or_tag_that_is_not_signed_as_wanted_is_not_used() {
    let root = tempfile::tempdir().unwrap();
    signed_repository(root.path());
    let server = files_server(root.path());
    let url = format!("http://{}/repo/.git", server.host());
    let room = Room::new();
    let keys = ["rsa.pub", "ssh-ed25519.pub"];
    let [pgp, ssh] = keys.map(|name| fs::read_to_string(super::signature(name)).unwrap());
    let pin = async |reference: &str, keys: &str, attrs: &[(&str, &str)]| {
        let attrs = [&[("git.fullurl", url.as_str()), ("git.sig.pubkey", keys)], attrs].concat();
        let source = super::identifier(&format!("git://x/repo#{reference}"), &attrs);
        room.pin(&source).await.map_err(|error| chain(&error))
    };
    let (tag, commit) = ("git.sig.requiresignedtag", "git.sig.ignoresignedtag");
    pin("commit-pgp", &pgp, &[]).await.unwrap();
    pin("commit-ssh", &ssh, &[("git.sig.rejectexpired", "true")]).await.unwrap();
    pin("tag-pgp", &pgp, &[(tag, "true")]).await.unwrap();
    pin("tag-ssh", &ssh, &[(commit, "true")]).await.unwrap();
    for (reference, keys, attrs, words) in [
        ("commit-plain", &pgp, &[][..], "git object is not signed"),
        ("tag-plain", &ssh, &[(tag, "true")], "git object is not signed"),
        ("commit-pgp", &pgp, &[(tag, "true")], "signed tag required but no signed tag found"),
        ("commit-pgp", &ssh, &[], "failed to read armored public key"),
        ("commit-ssh", &pgp, &[], "failed to parse ssh public key"),
    ] {
        let error = pin(reference, keys, attrs).await.unwrap_err();
        let names = error.starts_with("failed to verify the signature of http://127.0.0.1");
        assert!(names && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_tag_that_is_said_to_lead_elsewhere_is_not_taken_for_signed() {
    let root = tempfile::tempdir().unwrap();
    let work = signed_repository(root.path());
    let server = files_server(root.path());
    let url = format!("http://{}/repo/.git", server.host());
    let room = Room::new();
    let url = [("git.fullurl", url.as_str())];
    room.get(&super::identifier("git://x/repo#commit-plain", &url)).await.unwrap();
    let id = |name: &str| git(&work, &format!("rev-parse {name}"));
    let lie = fs::read_to_string(work.join(".git/info/refs")).unwrap();
    let lie = lie.replace(
        &format!("{}\trefs/tags/tag-pgp^{{}}", id("commit-pgp")),
        &format!("{}\trefs/tags/tag-pgp^{{}}", id("commit-plain")),
    );
    fs::write(work.join(".git/info/refs"), lie).unwrap();
    let keys = fs::read_to_string(super::signature("rsa.pub")).unwrap();
    let attrs = [&url[..], &[("git.sig.pubkey", &keys)]].concat();
    let error = room.get(&super::identifier("git://x/repo#tag-pgp", &attrs)).await.unwrap_err();
    let words = format!("to match {}, got {}", id("commit-plain"), id("commit-pgp"));
    assert!(error.to_string().contains(&words), "{error}");
}

#[tokio::test]
async fn a_bundle_carries_a_branch_with_its_history_and_is_taken_in_without_the_remote() {
    let Some(server) = Server::start() else { return };
    let head = git(&server.work(), "rev-parse main");
    let first = git(&server.work(), "rev-parse v1^{commit}");
    let room = Room::new();
    // The shared repository has one commit without its history now.
    room.get(&server.source("#main", &[])).await.unwrap();
    let attrs = [("git.checkoutbundle", "true"), ("git.checksum", head.as_str())];
    let made = server.source("#main", &attrs);
    let pin = room.pin(&made).await.unwrap();
    assert_eq!(pin.key.as_str(), format!("{head}(bundle)"));
    let mounted = room.fetch(&made, &pin).await.unwrap().ready().unwrap().mount().await.unwrap();
    let bytes = fs::read(mounted.path().join("bundle")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("b"), &bytes).unwrap();
    git(elsewhere.path(), "clone --quiet --bare b clone");
    let clone = elsewhere.path().join("clone");
    assert_eq!(git(&clone, "rev-parse refs/heads/main"), head);
    assert_eq!(git(&clone, "rev-list --count main"), "2");

    // Whoever takes it in may have no way to the remote.
    let digest = kiln_oci::Digest::sha256(&bytes);
    let layout = [(digest.clone(), bytes::Bytes::from(bytes))].into();
    let room = Room::with(Client { layout, ..Client::default() });
    let locator = format!("oci-layout+blob://a/b@{digest}");
    let bundle = [("git.bundle", locator.as_str()), ("oci.store", "my-layout")];
    let source = |fragment: &str, commit: &str, more: &[(&str, &str)]| {
        let attrs = [&bundle, &[("git.checksum", commit)][..], more].concat();
        super::identifier(&format!("git://127.0.0.1:1/gone{fragment}"), &attrs)
    };
    for (fragment, commit, text) in
        [("#main", &head, "644 a2"), ("", &first, "644 a1"), (&format!("#{head}"), &head, "644 a2")]
    {
        let content = tree(&room.get(&source(fragment, commit, &[])).await.unwrap()).await;
        assert_eq!(content["docs/a.txt"], text, "{fragment}");
    }
    let kept = source("#main", &head, &[("git.keepgitdir", "true")]);
    let mounted = room.get(&kept).await.unwrap().ready().unwrap().mount().await.unwrap();
    assert_eq!(git(mounted.path(), "rev-parse refs/heads/main"), head);

    let absent = "0".repeat(40);
    let error = room.get(&source("", &absent, &[])).await.unwrap_err();
    assert!(chain(&error).contains(&format!("commit {absent} not found in bundle")), "{error}");
    let error = room.get(&source("#other", &head, &[])).await.unwrap_err();
    assert!(chain(&error).contains("repository does not contain ref other"), "{error}");
    let error = room.get(&source("#main", &first, &[])).await.unwrap_err();
    assert!(chain(&error).contains("expected checksum to match"), "{error}");
}

#[tokio::test]
async fn a_commit_is_fetched_whatever_its_name_means_now() {
    let Some(server) = Server::start() else { return };
    git(&server.work(), "config uploadpack.allowAnySHA1InWant true");
    let first = git(&server.work(), "rev-parse v1^{commit}");
    let room = Room::new();
    let attrs = [("git.fetchbycommit", "true"), ("git.checksum", first.as_str())];
    let source = server.source("#main", &attrs);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key.as_str(), first);
    let content = tree(&room.fetch(&source, &pin).await.unwrap()).await;
    assert_eq!(content["docs/a.txt"], "644 a1");
}

#[tokio::test]
async fn older_checkouts_can_be_written_by_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(server) = Server::start() else { return };
    let mut room = Room::new();
    room.context.compatibility = Some(10);
    let content = room.get(&server.source("", &[])).await.unwrap();
    let mounted = content.ready().unwrap().mount().await.unwrap();
    let mode =
        |name: &str| fs::metadata(mounted.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("docs/a.txt"), mode("run.sh")), (0o666, 0o755));
    // A content that several builds share can have the modes of one of them only.
    let mut room = Room::new();
    room.context.compatibility = None;
    let error = room.get(&server.source("", &[])).await.unwrap_err();
    assert!(error.to_string().contains("compatibility-version"), "{error}");
}
