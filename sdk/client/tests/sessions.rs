//! Both ends of a session: what a client attaches, and what the daemon gets of it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use kiln_client::attach::SecretSource;
use kiln_client::{
    Auth, CacheEntry, Content, Export, ExportTarget, Session, SolveError, SolveOptions, What,
};
use kiln_filesync::{Filter, Owner, ReceiveOptions, Root, SendOptions};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref};
use kiln_oci::Digest;
use kiln_progress::{Progress, Sender};
use kiln_session::{CallError, DirRequest, SendTarget};
use kiln_wire::status::{Detail, RichStatus};
use support::{Answers, VERTEX, daemon, script, status};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status};

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn ours() -> ReceiveOptions {
    ReceiveOptions { owner: Owner::Ours, ..ReceiveOptions::default() }
}

fn frontend() -> SolveOptions {
    let what = What::Frontend { name: "test".into(), inputs: BTreeMap::new() };
    SolveOptions::default().with_what(what)
}

fn export(kind: &str, target: Option<ExportTarget>) -> Export {
    Export::default().with_kind(kind).with_target(target)
}

#[tokio::test]
async fn a_local_directory_crosses_filtered_and_only_once() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "süß/a b.txt", "umlaut");
    write(from.path(), "süß/skip.log", "no");
    for number in 0..500 {
        write(from.path(), &format!("many/file{number}"), format!("{number}"));
    }
    let destination = to.path().to_owned();
    let client = daemon(script(move |caller, _| {
        let destination = destination.clone();
        async move {
            let filter = Filter {
                include: vec!["süß".into(), "many".into()],
                exclude: vec!["**/*.log".into()],
                ..Filter::default()
            };
            let request = DirRequest { name: "context".into(), filter };
            let receive = || caller.receive_dir(&request, destination.clone(), |_| ours());
            let (first, second) =
                (receive().await.map_err(status)?, receive().await.map_err(status)?);
            let answer = format!("{} {} {}", first.changed, first.bytes, second.bytes);
            assert_eq!(caller.shared_key(), "key");
            let missing = DirRequest { name: "other".into(), ..DirRequest::default() };
            let error = caller.receive_dir(&missing, destination, |_| ours()).await.unwrap_err();
            let error = status(error);
            assert!(error.message().contains("no local directory is named \"other\""), "{error}");
            Ok(Answers::from([("answer".into(), answer)]))
        }
    }))
    .await;
    let mut session = Session { shared_key: "key".into(), ..Session::default() };
    session.local_dirs.insert("context".into(), from.path().into());
    let solved = client.solve(frontend(), session, Sender::default()).await.unwrap();
    assert_eq!(solved.exporter_response["answer"], "503 1396 0");
    assert_eq!(fs::read_to_string(to.path().join("süß/a b.txt")).unwrap(), "umlaut");
    assert!(!to.path().join("süß/skip.log").exists());
}

#[tokio::test]
async fn secrets_agents_credentials_and_uploads_are_what_was_attached() {
    let place = TempDir::new().unwrap();
    write(place.path(), "secret", "from a file");
    let socket = place.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut agent, _) = listener.accept().await.unwrap();
        let mut question = [0; 5];
        agent.read_exact(&mut question).await.unwrap();
        agent.write_all(b"answer").await.unwrap();
    });
    let client = daemon(script(|caller, request| async move {
        let secret = |id: &'static str| caller.secret(id);
        assert_eq!(secret("value").await.map_err(status)?.as_deref(), Some(&b"here"[..]));
        assert_eq!(secret("file").await.map_err(status)?.as_deref(), Some(&b"from a file"[..]));
        assert_eq!(secret("none").await.map_err(status)?, None);
        assert!(secret("unreadable").await.is_err());

        caller.ssh_check("").await.map_err(status)?;
        let refused = caller.ssh_check("other").await.unwrap_err();
        assert!(refused.to_string().contains("unset ssh forward key other"), "{refused}");
        let mut agent = caller.ssh_forward("").map_err(status)?;
        agent.write_all(b"hello").await?;
        let mut answer = String::new();
        agent.read_to_string(&mut answer).await?;
        assert_eq!(answer, "answer");

        let known = caller.credentials("registry.example").await.map_err(status)?;
        assert_eq!((known.username.as_str(), known.secret.as_str()), ("me", "pass"));
        assert_eq!(caller.credentials("other.example").await.map_err(status)?.secret, "");
        assert_eq!(
            caller.token_authority("registry.example", b"salt").await.map_err(status)?,
            None
        );
        let token = caller.fetch_token(&kiln_session::TokenRequest::default()).await;
        assert!(matches!(token, Err(CallError::Unsupported(_))), "{token:?}");

        let path =
            request.frontend_attrs["context"].strip_prefix("http://buildkit-session").unwrap();
        let upload = || caller.upload("buildkit-session", path).map_err(status);
        let parts: Vec<_> = upload()?.try_collect().await.map_err(status)?;
        assert_eq!(parts.concat(), vec![1; 100_000]);
        assert!(upload()?.try_collect::<Vec<_>>().await.is_err(), "a stream is read once");
        Ok(Answers::new())
    }))
    .await;
    let mut session = Session::default();
    session.secrets.insert("value".into(), SecretSource::Value(b"here".to_vec()));
    session.secrets.insert("file".into(), SecretSource::File(place.path().join("secret")));
    session.secrets.insert("unreadable".into(), SecretSource::File("/nowhere".into()));
    session.ssh.insert("default".into(), socket);
    session.auth = Some(Auth::default().with("registry.example", "me", "pass"));
    let address = session.uploads.add(std::io::Cursor::new(vec![1; 100_000]));
    let mut options = frontend();
    options.frontend_attrs.insert("context".into(), address);
    client.solve(options, session, Sender::default()).await.unwrap();
}

#[tokio::test]
async fn exports_reach_their_targets_and_no_others() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "bin/tool", "tool");
    write(&to.path().join("dir"), "kept", "kept");
    let root = from.path().to_owned();
    let client = daemon(script(move |caller, request| {
        let root = Root::open(&root).unwrap();
        async move {
            let kinds: Vec<_> =
                request.exporters.iter().map(|exporter| exporter.r#type.as_str()).collect();
            assert_eq!(kinds, ["local", "tar", "image"]);
            let target =
                |exporter: &str| SendTarget { exporter: exporter.into(), ..SendTarget::default() };
            let foreign =
                kiln_filesync::send::MapStat::new(|stat| (stat.uid, stat.gid) = (4711, 4711));
            let options = SendOptions { map: Some(foreign), ..SendOptions::default() };
            let sent =
                caller.send_dir(&target("0"), root.clone(), options).await.map_err(status)?;
            assert_eq!(sent.unwrap().bytes, 4);

            let mut named = target("1");
            named.metadata.insert("name".into(), "the archive".into());
            let mut archive = caller.send_stream(&named).map_err(status)?;
            for _ in 0..5 {
                archive.write_all(&vec![7; 2 << 20]).await?;
            }
            archive.shutdown().await?;

            assert_eq!(
                caller
                    .send_dir(&target("2"), root, SendOptions::default())
                    .await
                    .map_err(status)?,
                None
            );
            let mut nobody = caller.send_stream(&target("2")).map_err(status)?;
            nobody.write_all(b"x").await.ok();
            let refused = nobody.shutdown().await.unwrap_err();
            let refused = refused.get_ref().and_then(|error| error.downcast_ref::<CallError>());
            assert_eq!(refused.and_then(CallError::code), Some(Code::AlreadyExists));
            Ok(Answers::new())
        }
    }))
    .await;
    let directory = to.path().join("dir");
    let archive = to.path().join("archive.tar");
    let options = frontend().with_exports(vec![
        export("local", Some(ExportTarget::directory(&directory))),
        export("tar", Some(ExportTarget::file(&archive))),
        export("image", None),
    ]);
    client.solve(options, Session::default(), Sender::default()).await.unwrap();
    assert_eq!(fs::read_to_string(directory.join("bin/tool")).unwrap(), "tool");
    assert_eq!(fs::read_to_string(directory.join("kept")).unwrap(), "kept");
    let owner = fs::metadata(to.path()).unwrap().uid();
    assert_eq!(fs::metadata(directory.join("bin/tool")).unwrap().uid(), owner);
    assert_eq!(fs::read(&archive).unwrap(), vec![7; 10 << 20]);
}

#[tokio::test]
async fn a_target_that_cannot_be_written_says_so() {
    let client = daemon(script(|caller, _| async move {
        let target = SendTarget { exporter: "0".into(), ..SendTarget::default() };
        let mut archive = caller.send_stream(&target).map_err(status)?;
        let mut written = Ok(());
        for _ in 0..100 {
            written = archive.write_all(&[0; 1 << 16]).await;
            if written.is_err() {
                break;
            }
        }
        written.and(archive.shutdown().await)?;
        Ok(Answers::new())
    }))
    .await;
    let target = ExportTarget::file("/nowhere/archive.tar");
    let options = frontend().with_exports(vec![export("tar", Some(target))]);
    let error = client.solve(options, Session::default(), Sender::default()).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot write the export: /nowhere/archive.tar: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn content_stores_read_and_write_blobs_that_are_what_they_say() {
    let (layout, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blob = vec![3u8; 1_000_000];
    let digest = Digest::sha256(&blob);
    write(layout.path(), &format!("blobs/sha256/{}", digest.hex()), &blob);
    let id = format!("local:{}", cache.path().display());
    let client = daemon(script(move |caller, _| {
        let (digest, id) = (digest.clone(), id.clone());
        async move {
            let store = caller.content("oci:base");
            let info = store.info(&digest).await.map_err(status)?.unwrap();
            assert_eq!(info.size, 1_000_000);
            let parts: Vec<_> = store
                .read(&digest, 999_990)
                .map_err(status)?
                .try_collect()
                .await
                .map_err(status)?;
            assert_eq!(parts.concat(), [3; 10]);
            assert_eq!(store.info(&Digest::sha256("other")).await.map_err(status)?, None);

            let data = || futures::stream::iter([Ok("he".into()), Ok("llo".into())]);
            let hello = Digest::sha256("hello");
            let denied = store.write(&hello, 5, BTreeMap::new(), data()).await.unwrap_err();
            assert_eq!(denied.code(), Some(Code::PermissionDenied));
            let cache = caller.content(&id);
            for _ in 0..2 {
                cache.write(&hello, 5, BTreeMap::new(), data()).await.map_err(status)?;
            }
            for (digest, size) in [(&Digest::sha256("lie"), 5), (&hello, 4)] {
                let wrong = caller.content(&id).write(digest, size, BTreeMap::new(), data()).await;
                // The second is there already, whatever its size is said to be.
                assert_eq!(wrong.is_err(), *digest != hello);
            }
            let descriptor = kiln_oci::Descriptor::new("application/json", hello, 5);
            let json = serde_json::to_string(&descriptor).unwrap();
            Ok(Answers::from([("cache.manifest".into(), json)]))
        }
    }))
    .await;
    let mut session = Session::default();
    session.content.insert("oci:base".into(), Content::read_only(layout.path()));
    let dest = BTreeMap::from([("dest".into(), cache.path().display().to_string())]);
    let entry = CacheEntry::default().with_kind("local").with_attrs(dest);
    let options = frontend().with_cache_exports(vec![entry]);
    client.solve(options, session, Sender::default()).await.unwrap();
    let hello = Digest::sha256("hello");
    assert_eq!(fs::read(cache.path().join("blobs/sha256").join(hello.hex())).unwrap(), b"hello");
    assert_eq!(fs::read_dir(cache.path().join("ingest")).unwrap().count(), 0);

    // The next build finds the cache by its tag, and so does its frontend.
    let expected = hello.to_string();
    let client = daemon(script(move |_, request| {
        let expected = expected.clone();
        async move {
            let cache = request.cache.unwrap_or_default();
            assert_eq!(cache.imports[0].attrs["digest"], expected);
            assert!(
                request.frontend_attrs["cache-imports"]
                    .starts_with(r#"[{"Type":"local","Attrs":{"digest":"#)
            );
            Ok(Answers::new())
        }
    }))
    .await;
    let import = |tag: &str| {
        let src = cache.path().display().to_string();
        let attrs = BTreeMap::from([("src".into(), src), ("tag".into(), tag.to_owned())]);
        let entry = CacheEntry::default().with_kind("local").with_attrs(attrs);
        frontend().with_cache_imports(vec![entry])
    };
    client.solve(import("latest"), Session::default(), Sender::default()).await.unwrap();
    let error =
        client.solve(import("other"), Session::default(), Sender::default()).await.unwrap_err();
    assert!(matches!(error, SolveError::NoCache { .. }), "{error}");
}

#[tokio::test]
async fn progress_arrives_and_errors_keep_their_details() {
    let client = daemon(script(|_, _| async {
        let detail = Detail::Vertex(VERTEX.into());
        Err(RichStatus::new(Code::Unknown, "process failed").with(detail).to_status())
    }))
    .await;
    let (sender, mut receiver) = kiln_progress::channel();
    let options = frontend();
    let id = options.id.clone();
    let error = client.solve(options, Session::default(), sender).await.unwrap_err();
    let SolveError::Daemon(error) = error else { panic!("{error}") };
    assert_eq!(error.message, "process failed");
    assert_eq!(error.details, [Detail::Vertex(VERTEX.into())]);
    let Some(Progress::Vertex(vertex)) = receiver.recv().await else { panic!("no progress") };
    assert_eq!(vertex.name, id);
}

#[tokio::test]
async fn giving_up_ends_the_session() {
    let (started, mut is_started) = tokio::sync::mpsc::channel(1);
    let (ended, mut is_ended) = tokio::sync::mpsc::channel(1);
    let client = daemon(script(move |caller, _| {
        let (started, ended) = (started.clone(), ended.clone());
        async move {
            started.send(()).await.ok();
            tokio::spawn(async move { ended.send(caller.cancelled().await).await });
            std::future::pending().await
        }
    }))
    .await;
    let solve = tokio::spawn(async move {
        client.solve(frontend(), Session::default(), Sender::default()).await
    });
    is_started.recv().await.unwrap();
    solve.abort();
    let ended = tokio::time::timeout(Duration::from_secs(5), is_ended.recv()).await.unwrap();
    assert!(ended.is_some());
}

struct Local(Result<&'static str, &'static str>);

#[async_trait::async_trait]
impl Frontend for Local {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        assert_eq!(bridge.info().options.get("key"), Some("value"));
        assert!(!bridge.info().session_id.is_empty());
        match self.0 {
            Ok(id) => Ok(BuildResult::single(Some(Ref(id.into())))),
            Err(message) => Err(FrontendError::invalid(message)),
        }
    }
}

#[tokio::test]
async fn a_frontend_in_the_client_builds_over_the_same_connection() {
    let answers = || script(|_, _| async { Ok(Answers::from([("done".into(), "yes".into())])) });
    let options = || {
        let mut options = frontend();
        options.frontend_attrs.insert("key".into(), "value".into());
        options
    };
    let client = daemon(answers()).await;
    let built = client.build(options(), Session::default(), &Local(Ok("id")), Sender::default());
    assert_eq!(built.await.unwrap().exporter_response["done"], "yes");
    let client = daemon(answers()).await;
    let frontend = Local(Err("no such stage"));
    let failed = client.build(options(), Session::default(), &frontend, Sender::default()).await;
    let SolveError::Daemon(error) = failed.unwrap_err() else { panic!("not the frontend's error") };
    assert_eq!((error.code, error.message.as_str()), (Code::InvalidArgument, "no such stage"));
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let error = kiln_client::Client::connect("unix:///nowhere/kilnd.sock").await.unwrap_err();
    assert!(error.to_string().contains("unix:///nowhere/kilnd.sock"), "{error}");
}

#[tokio::test]
async fn a_client_with_nothing_attached_offers_nothing() {
    let client = daemon(script(|caller, _| async move {
        let place = TempDir::new()?;
        let request = DirRequest { name: "context".into(), ..DirRequest::default() };
        let local = caller.receive_dir(&request, place.path().to_owned(), |_| ours()).await;
        assert!(matches!(local, Err(CallError::Unsupported(_))));
        assert_eq!(caller.secret("any").await.map_err(status)?, None);
        assert!(matches!(caller.credentials("x").await, Err(CallError::Unsupported(_))));
        let mut agent = caller.ssh_forward("").map_err(status)?;
        assert_eq!(agent.read(&mut [0; 1]).await?, 0);
        Ok::<_, Status>(Answers::new())
    }))
    .await;
    client.solve(frontend(), Session::default(), Sender::default()).await.unwrap();
}

#[tokio::test]
async fn a_large_file_crosses_whole() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(from.path(), "large", vec![9u8; 20 << 20]);
    let destination = to.path().to_owned();
    let client = daemon(script(move |caller, _| {
        let destination = destination.clone();
        async move {
            let request = DirRequest { name: "context".into(), ..DirRequest::default() };
            let received =
                caller.receive_dir(&request, destination, |_| ours()).await.map_err(status)?;
            Ok(Answers::from([("bytes".into(), received.bytes.to_string())]))
        }
    }))
    .await;
    let mut session = Session::default();
    session.local_dirs.insert("context".into(), from.path().into());
    let solved = client.solve(frontend(), session, Sender::default()).await.unwrap();
    assert_eq!(solved.exporter_response["bytes"], (20 << 20).to_string());
    assert_eq!(fs::metadata(to.path().join("large")).unwrap().len(), 20 << 20);
}
