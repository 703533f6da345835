//! `build`: opens what the build needs, runs it, shows its progress, writes what comes of it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, bail};
use kiln_client::{Client, Session, SolveOptions, SolveResult};
use kiln_frontend::SourcePolicy;
use kiln_progress::Progress;
use tempfile::TempDir;

use super::Context;
use super::debug::read_definition;
use super::load::Loader;
use super::signals::{Interrupted, or_interrupted};
use super::why;
use crate::args::{BuildArgs, Program};
use crate::build_command::{BuildCommand, Input};
use crate::cache_metrics::CacheMetrics;
use crate::expected_cache::{ExpectedCache, NotCached};
use crate::metadata;
use crate::missing_file;
use crate::options::Dest;
use crate::output::{complain, print};
use crate::page;
use crate::progress::{Display, DisplayOptions, Mode, Palette, to_json_line, watch};
use crate::solve_request::{BuildInput, asks_for_signatures, session, solve_options};
use crate::source_policy;

/// How many lines of output a running step shows, unless the environment says otherwise.
const TTY_LOG_LINES: usize = 6;

/// The longest build file that is read from standard input, in bytes.
const MAX_BUILD_FILE: u64 = 16 << 20;

/// What a build says that was asked for nothing.
const NOTHING_WRITTEN: &str = "nothing was written, the result is only in the cache: --tag NAME keeps an image in the \
     store, --output DIRECTORY writes files,\n--output type=oci,dest=FILE an archive, --push and --load pass an image on\n";

/// Decides, prepares, builds.
pub(crate) async fn run(context: &Context, args: BuildArgs) -> anyhow::Result<()> {
    let mut command = BuildCommand::decide(args, &context.environment, &|path| path.is_file())?;
    for note in &command.notes {
        complain(&format!("note: {note}\n"));
    }
    if !command.registry_tls.is_empty() {
        tracing::warn!(
            "the daemon fetches tokens itself; its configuration holds the TLS of registries"
        );
    }
    // Gone when the build is.
    let build_file = match &command.file_on_stdin {
        Some(name) => Some(read_build_file(name).await?),
        None => None,
    };
    if let Some(directory) = &build_file {
        command.locals.insert("dockerfile".to_owned(), directory.path().to_owned());
    }
    let loads = command.exports.iter().any(|export| export.dest == Dest::Load);
    let mut loader = match loads {
        true => Some(Loader::start(&context.environment).await?),
        false => None,
    };
    let mut options = prepare(&command, loader.as_mut()).await?;
    let session = session(&command, &context.environment)?;
    if command.context_on_stdin {
        let address = session.uploads.add(tokio::io::stdin());
        options.frontend_attrs.entry("context".to_owned()).or_insert(address);
    }
    if let Some(path) = &command.files.build_id {
        write_file(path, options.id.as_bytes())?;
    }
    let client = context.connect().await?;
    if asks_for_signatures(&command) {
        understands_signatures(&client).await?;
    }
    let (id, asked) = (options.id.clone(), client.clone());
    let mut expected = ExpectedCache::new(&command.expect_cached);
    let result = solve(context, &command, client, options, session, &mut expected).await;
    if let Some(path) = &command.files.report
        && !result.as_ref().is_err_and(|error| error.is::<Canceled>())
    {
        let written = report(&asked, &id, path).await;
        // Why the build failed matters more than why nothing can be read about it.
        if result.is_ok() {
            written?;
        } else if let Err(error) = written {
            tracing::warn!("{error:#}");
        }
    }
    let result = match (result, loader) {
        (Ok(result), Some(loader)) => {
            loader.finish().await?;
            result
        }
        (Ok(result), None) => result,
        (Err(error), loader) => {
            let error = match loader {
                Some(loader) if !error.is::<Canceled>() => loader.instead_of(error).await,
                _ => error,
            };
            return Err(missing_file::explained(error, &command));
        }
    };
    if let Some(path) = &command.files.metadata {
        write_file(path, metadata::to_json(&result.exporter_response).as_bytes())?;
    }
    if !expected.is_empty() {
        check_cached(context, &asked, &id, &expected).await?;
    }
    let answer = &result.exporter_response;
    // The id of an image is that of its configuration; several platforms have none in common.
    let digest = answer.get("containerimage.config.digest");
    let digest = digest.or_else(|| answer.get("containerimage.digest"));
    if let Some(path) = &command.files.image_digest {
        let digest =
            digest.context("--iidfile: no output is an image, which would have a digest")?;
        write_file(path, digest.as_bytes())?;
    }
    if command.prints_digest
        && let Some(digest) = digest
    {
        print(&format!("{digest}\n"))?;
    }
    // Who asks for the digest gets none, and should know why.
    let talks =
        command.prints_digest || matches!(command.progress, Mode::Auto | Mode::Plain | Mode::Tty);
    if command.exports.is_empty() && talks && context.environment.program == Program::Kiln {
        complain(NOTHING_WRITTEN);
    }
    Ok(())
}

/// The build was given up, because somebody wants that.
#[derive(Debug, thiserror::Error)]
#[error("the build was canceled")]
pub(crate) struct Canceled(#[source] pub(crate) Interrupted);

/// Makes sure that a daemon signs and verifies caches, as others pass over what they do not know: a key
/// would be sent in vain, and an unsigned cache be read.
async fn understands_signatures(client: &Client) -> anyhow::Result<()> {
    let version = client.info().await.context("failed to ask which daemon this is")?;
    if version.package != "kiln" {
        bail!(
            "sign-key and verify-key of caches need kilnd, and this daemon is {} {}: leave them out, or \
             name a kilnd with --addr",
            version.package,
            version.version
        );
    }
    Ok(())
}

/// A directory with the build file that is on standard input.
async fn read_build_file(name: &str) -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir().context("failed to make a directory for the build file")?;
    let path = directory.path().join(name);
    // The name may come from the user.
    if Path::new(name).components().any(|part| !matches!(part, Component::Normal(_))) {
        bail!("a build file on standard input cannot be called {name:?}: give it a plain name");
    }
    let read = move || {
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_BUILD_FILE + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = tokio::task::spawn_blocking(read).await?;
    let bytes = bytes.context("failed to read the build file from standard input")?;
    if bytes.len() as u64 > MAX_BUILD_FILE {
        bail!("the build file on standard input is longer than {MAX_BUILD_FILE} bytes");
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("failed to make {}", parent.display()))?;
    }
    write_file(&path, &bytes)?;
    Ok(directory)
}

/// Fails if a step ran that was expected in the cache, and says why it did.
async fn check_cached(
    context: &Context,
    client: &Client,
    build: &str,
    expected: &ExpectedCache,
) -> anyhow::Result<()> {
    let missed = expected.missed()?;
    if missed.is_empty() {
        return Ok(());
    }
    let (names, digests): (Vec<_>, Vec<_>) = missed.into_iter().unzip();
    match why::causes(context, client, build, &digests).await {
        Ok(causes) => complain(&causes),
        Err(error) => complain(&format!("why they ran is not known: {error}\n")),
    }
    Err(NotCached::Ran(names).into())
}

/// Writes a page about a build that has ended.
async fn report(client: &Client, build: &str, path: &Path) -> anyhow::Result<()> {
    let record = super::history::record_of(client, build).await;
    let record = record.context("failed to report on the build")?;
    let report = super::report::gather(client, record).await;
    write_file(path, page::document(&report).as_bytes())
}

/// Reads what the request is made of.
async fn prepare(
    command: &BuildCommand,
    loader: Option<&mut Loader>,
) -> anyhow::Result<SolveOptions> {
    let policy = match &command.files.source_policy {
        None => None,
        Some(path) => {
            let json = std::fs::read_to_string(path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            let policy = source_policy::parse(&json)
                .with_context(|| format!("failed to parse {}", path.display()))?;
            Some(policy)
        }
    };
    let input = match &command.input {
        Input::Frontend { name, options } => {
            BuildInput::Frontend { name: name.clone(), options: options.clone() }
        }
        Input::Definition => {
            let read = || read_definition(io::stdin().lock());
            BuildInput::Definition(tokio::task::spawn_blocking(read).await??)
        }
    };
    let into_loader = loader.and_then(Loader::input);
    let policy = policy.map(SourcePolicy::from);
    Ok(solve_options(command, input, into_loader)?.with_source_policy(policy))
}

/// Builds and shows progress until both are done, or the user has had enough.
async fn solve(
    context: &Context,
    command: &BuildCommand,
    client: Client,
    options: SolveOptions,
    session: Session,
    expected: &mut ExpectedCache,
) -> anyhow::Result<SolveResult> {
    let started = Instant::now();
    let (sender, receiver) = kiln_progress::channel();
    let display = display(context, command)?;
    let mut trace = command.files.trace.as_deref().map(create).transpose()?;
    let mut metrics = CacheMetrics::default();
    let mut observe = |batch: &[Progress]| {
        metrics.observe(batch);
        expected.observe(batch);
        match &mut trace {
            Some(trace) => trace.write_all(to_json_line(batch).as_bytes()),
            None => Ok(()),
        }
    };
    let build = async {
        match or_interrupted(client.solve(options, session, sender)).await {
            Ok(result) => result.context("failed to solve"),
            Err(error) if error.is_deaf() => Err(error.into()),
            Err(signal) => Err(Canceled(signal).into()),
        }
    };
    // When the build is over or dropped, its sender is gone, and the display ends.
    let (result, shown) = tokio::join!(build, watch(receiver, display, &mut observe));
    shown.context("failed to write the trace")?;
    if let Some(path) = &command.files.cache_metrics {
        let figures = serde_json::to_string(&metrics.figures(started.elapsed()))? + "\n";
        match path == Path::new("-") {
            true => print(&figures)?,
            false => write_file(path, figures.as_bytes())?,
        }
    }
    result
}

fn display(context: &Context, command: &BuildCommand) -> anyhow::Result<Display> {
    let environment = &context.environment;
    let (palette, errors) =
        Palette::from_environment(environment.get("BUILDKIT_COLORS"), environment.get("NO_COLOR"));
    for error in errors {
        tracing::warn!("{error}");
    }
    let log_lines = environment.get("BUILDKIT_TTY_LOG_LINES").and_then(|lines| lines.parse().ok());
    let options = DisplayOptions { palette, log_lines: log_lines.unwrap_or(TTY_LOG_LINES) };
    let chosen = command.progress.choose(environment.stderr_terminal)?;
    Ok(Display::new(chosen, options, SystemTime::now()))
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("failed to create {}", path.display()))
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}
