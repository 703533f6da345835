//! A tiny language that does everything right, but for one fault that can be planted in it.
//!
//! A file is one `from IMAGE`, then lines of `run WORDS` and `arg NAME`. The conformance kit has to
//! pass it as it is and to find each fault by name, or nobody could trust what it says about others.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kiln_frontend::{
    Bridge, BuildResult, Frontend, FrontendError, ImageConfigRequest, PlatformResults, Ref, Solve,
    keys,
};
use kiln_llb::{
    Action, Constraints, Definition, Exec, Image, Local, Marshal, Proxy, ResolveMode, SourceMap,
    SourceRange, State,
};
use kiln_oci::{ImageConfig, Platform};
use kiln_wire::pb;
use prost::Message as _;

/// What can be wrong with a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Random,
    NotCanonical,
    NoArchitecture,
    LosesBaseConfig,
    LosesUnknownConfig,
    NoSourceMaps,
    IgnoresNoCache,
    NoCacheForAll,
    IgnoresPlatform,
    OnePlatform,
    IgnoresArguments,
    IgnoresLabels,
    IgnoresTargets,
    IgnoresPull,
    IgnoresEpoch,
    UsesUnknownOptions,
    UnplacedErrors,
    Panics,
    Hangs,
    ForgetsFileName,
    NoDescribe,
    BuildsForAnyRequest,
    AlwaysMerges,
    ReadsUndeclared,
    PasswordsInEnvironment,
    SessionInCommands,
    Slow,
}

/// Every fault, with the check that has to find it.
pub(crate) const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::Random, "random", "deterministic"),
    (Fault::NotCanonical, "not-canonical", "canonical"),
    (Fault::NoArchitecture, "no-architecture", "image-config"),
    (Fault::LosesBaseConfig, "loses-base-config", "keeps-base-config"),
    (Fault::LosesUnknownConfig, "loses-unknown-config", "keeps-unknown-config"),
    (Fault::NoSourceMaps, "no-source-maps", "source-maps"),
    (Fault::IgnoresNoCache, "ignores-no-cache", "no-cache"),
    (Fault::NoCacheForAll, "no-cache-for-all", "no-cache-by-name"),
    (Fault::IgnoresPlatform, "ignores-platform", "platform"),
    (Fault::OnePlatform, "one-platform", "several-platforms"),
    (Fault::IgnoresArguments, "ignores-arguments", "build-args"),
    (Fault::IgnoresLabels, "ignores-labels", "labels"),
    (Fault::IgnoresTargets, "ignores-targets", "target"),
    (Fault::IgnoresPull, "ignores-pull", "resolve-mode"),
    (Fault::IgnoresEpoch, "ignores-epoch", "source-date-epoch"),
    (Fault::UsesUnknownOptions, "uses-unknown-options", "unknown-options"),
    (Fault::UnplacedErrors, "unplaced-errors", "broken-input"),
    (Fault::Panics, "panics", "survives-anything"),
    (Fault::Hangs, "hangs", "survives-anything"),
    (Fault::ForgetsFileName, "forgets-file-name", "missing-file"),
    (Fault::NoDescribe, "no-describe", "describe"),
    (Fault::BuildsForAnyRequest, "builds-for-any-request", "unknown-request"),
    (Fault::AlwaysMerges, "always-merges", "offered-features"),
    (Fault::ReadsUndeclared, "reads-undeclared", "declared-files"),
    (Fault::PasswordsInEnvironment, "passwords-in-environment", "no-secrets"),
    (Fault::SessionInCommands, "session-in-commands", "no-session"),
    (Fault::Slow, "slow", "quick"),
];

/// The language, with its fault.
#[derive(Debug)]
pub(crate) struct Faulty(pub(crate) Fault);

/// A line of a file: its number, its keyword and the rest.
type Line<'t> = (i32, &'t str, &'t str);

#[async_trait]
impl Frontend for Faulty {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        if let Some(request) = bridge.info().options.get("requestid")
            && let Some(answer) = self.answer(request)
        {
            return answer;
        }
        let (name, text) = self.read(bridge).await?;
        if self.0 == Fault::Slow {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        let lines = self.parse(&name, &text).await?;
        let targets = ["main"];
        if let Some(target) = bridge.info().options.target()
            && !targets.contains(&target)
            && self.0 != Fault::IgnoresTargets
        {
            return Err(FrontendError::invalid(format!("there is no target {target}")));
        }
        let mut platforms = bridge.info().options.platforms()?;
        if platforms.is_empty() || self.0 == Fault::IgnoresPlatform {
            platforms = vec![bridge.info().default_platform()];
        }
        if self.0 == Fault::OnePlatform {
            platforms.truncate(1);
        }
        let mut results = PlatformResults::new(platforms.len() > 1);
        for platform in platforms {
            let (state, config) = self.lower(bridge, &name, &text, &lines, &platform).await?;
            let definition = state.marshal(&Marshal::on(platform.clone())).map_err(internal)?;
            let definition = match self.0 {
                Fault::NotCanonical => reencoded(definition),
                _ => definition,
            };
            let solve = Solve::default().with_definition(Some(definition));
            let one = bridge.solve(solve).await?.into_single().map_err(internal)?;
            results.push(platform, one, &config);
        }
        let mut result = results.finish();
        if self.0 == Fault::NoArchitecture
            && let Some(config) = result.metadata.get_mut(keys::IMAGE_CONFIG)
        {
            let mut json: serde_json::Value = serde_json::from_slice(config).map_err(internal)?;
            json.as_object_mut().map(|config| config.remove("architecture"));
            *config = json.to_string().into();
        }
        if let Some(epoch) = bridge.info().options.get("build-arg:SOURCE_DATE_EPOCH")
            && self.0 != Fault::IgnoresEpoch
        {
            result.metadata.insert(keys::SOURCE_DATE_EPOCH.into(), epoch.to_owned().into());
        }
        Ok(result)
    }
}

fn internal(error: impl std::fmt::Display) -> FrontendError {
    FrontendError::internal(error.to_string())
}

impl Faulty {
    fn answer(&self, request: &str) -> Option<Result<BuildResult<Ref>, FrontendError>> {
        const DESCRIBE: &str = "frontend.subrequests.describe";
        const TARGETS: &str = "frontend.targets";
        let json = match request {
            DESCRIBE if self.0 == Fault::NoDescribe => serde_json::json!([]),
            DESCRIBE => serde_json::json!([{ "name": DESCRIBE }, { "name": TARGETS }]),
            TARGETS => serde_json::json!({ "targets": [{ "name": "main" }] }),
            _ if self.0 == Fault::BuildsForAnyRequest => return None,
            other => return Some(Err(FrontendError::unsupported_request(other))),
        };
        let mut result = BuildResult::default();
        let answers = [
            ("result.json", json.to_string()),
            ("result.txt", request.into()),
            ("version", "1".into()),
        ];
        for (key, value) in answers {
            result.metadata.insert(key.into(), value.into());
        }
        Some(Ok(result))
    }

    async fn read(&self, bridge: &dyn Bridge) -> Result<(String, String), FrontendError> {
        let name = bridge.info().options.filename().unwrap_or("lines").to_owned();
        let declared = if self.0 == Fault::ReadsUndeclared { "another" } else { &name };
        let local = Local::default()
            .with_session_id(bridge.info().local_session().to_owned())
            .with_follow_paths(vec![declared.to_owned()]);
        let definition = State::local("dockerfile", local).marshal(&Marshal::default());
        let definition = definition.map_err(internal)?;
        let solve = Solve::default().with_definition(Some(definition));
        let found = bridge.solve(solve).await?.into_single().map_err(internal)?;
        let found = found.ok_or_else(|| internal("the directory is empty"))?;
        match bridge.read_file(&found, &name, None).await {
            Ok(bytes) => Ok((name, String::from_utf8_lossy(&bytes).into_owned())),
            Err(_) if self.0 == Fault::ForgetsFileName => {
                Err(FrontendError::invalid("the file is not there"))
            }
            Err(status) => Err(status),
        }
    }

    async fn parse<'t>(&self, name: &str, text: &'t str) -> Result<Vec<Line<'t>>, FrontendError> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
            let known = match keyword {
                "from" => lines.is_empty() && !rest.is_empty(),
                "run" | "arg" => !lines.is_empty() && !rest.is_empty(),
                _ => false,
            };
            if !known {
                return Err(self.mistake(name, text, number).await);
            }
            lines.push((number, keyword, rest));
        }
        match lines.is_empty() {
            true => Err(self.mistake(name, text, 1).await),
            false => Ok(lines),
        }
    }

    async fn mistake(&self, name: &str, text: &str, line: i32) -> FrontendError {
        match self.0 {
            Fault::Panics => panic!("line {line} cannot be"),
            Fault::Hangs => std::future::pending().await,
            _ => {}
        }
        let error = FrontendError::invalid(format!("line {line} makes no sense"));
        if self.0 == Fault::UnplacedErrors {
            return error;
        }
        let info = pb::SourceInfo {
            filename: name.to_owned(),
            data: text.to_owned().into(),
            ..pb::SourceInfo::default()
        };
        let at = Some(pb::Position { line, character: 0 });
        error.with_source(info.into(), vec![pb::Range { start: at, end: at }.into()])
    }

    async fn lower(
        &self,
        bridge: &dyn Bridge,
        name: &str,
        text: &str,
        lines: &[Line<'_>],
        platform: &Platform,
    ) -> Result<(State, ImageConfig), FrontendError> {
        let options = &bridge.info().options;
        let pull = options.resolve_mode()? == "pull" && self.0 != Fault::IgnoresPull;
        let image = lines.first().map(|(_, _, image)| *image).unwrap_or_default();
        let asked = ImageConfigRequest::default()
            .with_platform(Some(platform.clone()))
            .with_resolve_mode(if pull { "pull" } else { "default" }.to_owned());
        let found = bridge.resolve_image(image, asked).await?;
        let base: ImageConfig = serde_json::from_slice(&found.config).map_err(internal)?;
        let mut config = match self.0 {
            Fault::LosesBaseConfig => ImageConfig {
                other: base.other.clone(),
                config: kiln_oci::ContainerConfig {
                    other: base.config.other.clone(),
                    ..Default::default()
                },
                ..ImageConfig::new(platform)
            },
            Fault::LosesUnknownConfig => {
                let mut config = base.clone();
                config.other.clear();
                config.config.other.clear();
                config
            }
            _ => base.clone(),
        };
        if self.0 != Fault::IgnoresLabels {
            let labels = options.labels().map(|(name, value)| (name.to_owned(), value.to_owned()));
            config.config.labels.extend(labels);
        }
        let mode = if pull { ResolveMode::Pull } else { ResolveMode::Default };
        let source = Image::default().with_resolve_mode(mode);
        let mut state = State::image_with(image, source).with_image_config(&base);
        let map = SourceMap::new(name, "lines", text);
        let mut environment = self.environment(bridge);
        for (number, keyword, rest) in lines {
            match *keyword {
                "arg" if self.0 != Fault::IgnoresArguments => environment
                    .extend(options.build_arg(rest).map(|v| ((*rest).to_owned(), v.to_owned()))),
                "run" => {
                    let exec = Exec::default()
                        .with_args(["/bin/sh", "-c", rest].map(str::to_owned).into())
                        .with_env(environment.clone())
                        .with_proxy(self.proxy(bridge))
                        .with_constraints(
                            Constraints::default()
                                .with_ignore_cache(self.ignores_cache(options))
                                .with_locations(match self.0 {
                                    Fault::NoSourceMaps => Vec::new(),
                                    _ => vec![map.location([SourceRange::lines(
                                        number.cast_unsigned(),
                                        number.cast_unsigned(),
                                    )])],
                                }),
                        );
                    state = state.run(exec).root();
                }
                _ => {}
            }
        }
        if self.0 == Fault::AlwaysMerges {
            state = {
                let more =
                    State::scratch().file(Action::mkdir("/more", kiln_llb::Mkdir::default()));
                State::merge(&[state.clone(), more])
            };
        }
        Ok((state, config))
    }

    fn ignores_cache(&self, options: &kiln_frontend::Options) -> bool {
        match self.0 {
            Fault::IgnoresNoCache => false,
            Fault::NoCacheForAll => options.get("no-cache").is_some(),
            _ => options.no_cache().covers("main"),
        }
    }

    fn proxy(&self, bridge: &dyn Bridge) -> Option<Proxy> {
        let http = bridge.info().options.build_arg("HTTP_PROXY")?.to_owned();
        Some(Proxy::default().with_http(http))
    }

    /// Variables of every command, which are there only to be wrong.
    fn environment(&self, bridge: &dyn Bridge) -> Vec<(String, String)> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let options = &bridge.info().options;
        let value = match self.0 {
            Fault::Random => {
                let call = CALLS.fetch_add(1, Ordering::Relaxed);
                format!("{} {call}", std::process::id())
            }
            Fault::SessionInCommands => bridge.info().session_id.clone(),
            Fault::PasswordsInEnvironment => match options.build_arg("HTTP_PROXY") {
                Some(proxy) => proxy.to_owned(),
                None => return Vec::new(),
            },
            Fault::UsesUnknownOptions => match options.get("kiln-conform-unknown") {
                Some(value) => value.to_owned(),
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        vec![("FAULT".to_owned(), value)]
    }
}

/// The same graph, each op with an empty field at its end that no encoder would write.
fn reencoded(definition: Definition) -> Definition {
    let mut digests: Vec<(String, String)> = Vec::new();
    let mut result = Definition::default();
    for (index, bytes) in definition.def.iter().enumerate() {
        let Ok(mut op) = pb::Op::decode(bytes.clone()) else { continue };
        let before = kiln_oci::Digest::sha256(bytes).to_string();
        for input in &mut op.inputs {
            if let Some((_, after)) = digests.iter().find(|(before, _)| *before == input.digest) {
                input.digest.clone_from(after);
            }
        }
        let mut bytes = op.encode_to_vec();
        if index + 1 < definition.def.len() {
            bytes.extend([0x5a, 0]);
        }
        let after = kiln_oci::Digest::sha256(&bytes).to_string();
        if let Some(metadata) = definition.metadata.get(&before) {
            result.metadata.insert(after.clone(), metadata.clone());
        }
        if let Some(places) = definition.source.as_ref().and_then(|s| s.locations.get(&before)) {
            let source = result.source.get_or_insert_default();
            source.infos = definition.source.as_ref().map(|s| s.infos.clone()).unwrap_or_default();
            source.locations.insert(after.clone(), places.clone());
        }
        digests.push((before, after));
        result.def.push(bytes.into());
    }
    result
}
