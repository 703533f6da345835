//! Hardened images: what is in an image is written down, and nothing else is in it.
//!
//! ```yaml
//! name: web
//! builder: alpine:3.22
//! platforms: [linux/amd64, linux/arm64]
//! include: [accounts.yaml]
//! contents:
//!   packages: [nginx, "!ssl_client"]
//! accounts: {run-as: web}
//! paths:
//! - {type: directory, path: /var/cache/nginx, uid: 101, gid: 101, mode: "0750"}
//! - {type: context, path: /srv/site, content: site}
//! entrypoint: [nginx, -g, daemon off;]
//! tests:
//! - {name: it starts, run: [nginx, -t]}
//! variants:
//!   dev: {contents: {packages: [apk-tools, busybox]}, accounts: {run-as: root}}
//! ```
//!
//! A package manager installs into an empty root from outside, so the image has neither it nor a
//! shell, unless they are asked for. Catalogues of hardened images are written like this.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::document::{Language, Limits, Source, did_you_mean, parse};
use kiln_sdk::frontend::requests::Target;
use kiln_sdk::frontend::{BuildLanguage, DefinitionFile, PlatformResult, Project, TargetPlatform};
use kiln_sdk::llb::{FileActions, caps};
use kiln_sdk::prelude::*;

use self::file::{Definition, Entry, EntryKind, Group, Manager, User, check};

/// The variant that the file itself describes.
const RUNTIME: &str = "runtime";
/// Where the builder sees the image.
const ROOT: &str = "/rootfs";
/// Installs into another root than the builder's.
const APK: &str = "apk add --root /rootfs --initdb --keys-dir /etc/apk/keys --repositories-file \
    /etc/apk/repositories --cache-dir /packages";
/// Takes archives apart instead of installing them, so no script of a package runs in the builder.
const APT: &str = "set -e; mkdir -p /rootfs/var/lib/dpkg /packages/partial; : > /status; apt-get update; \
    apt-get install -y --no-install-recommends --download-only -o Dir::State::status=/status \
    -o Dir::Cache::archives=/packages \"$@\"; \
    for package in /packages/*.deb; do dpkg-deb --extract \"$package\" /rootfs; done";

/// The language.
#[derive(Clone, Copy, Debug)]
pub struct Hardened;

/// One of the files that an image is made of, or a variant in it.
struct Layer<'a> {
    file: &'a DefinitionFile,
    source: &'a Source,
    definition: &'a Definition,
}

#[async_trait]
impl BuildLanguage for Hardened {
    type Plan = Definition;
    const NAME: &'static str = "hardened";
    const FILES: &'static [&'static str] = &["image.yaml"];

    fn read(&self, source: &Source) -> Result<Parsed<Definition>, Vec<Diagnostic>> {
        read(source, true).map(Parsed::new)
    }

    fn targets(&self, project: &Project<'_, Definition>) -> Result<Vec<Target>, FrontendError> {
        let target = |name: &str| Target::default().with_name(name);
        let runtime = target(RUNTIME).with_default(true);
        let variants = project.plan.variants.keys().map(|name| target(name));
        Ok([runtime].into_iter().chain(variants).collect())
    }

    async fn build(
        &self,
        project: &Project<'_, Definition>,
        target: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError> {
        let plan = project.plan;
        let names: Vec<&str> =
            [RUNTIME].into_iter().chain(plan.variants.keys().map(String::as_str)).collect();
        let variant = project.target(&names)?;
        check_platform(project, target)?;
        let mut included = Vec::new();
        for name in &plan.include {
            let file = project.included(name, name.span).await?;
            let source = file.source()?;
            let definition = read(&source, false)
                .map_err(|mistakes| FrontendError::diagnostics(&source, &mistakes))?;
            included.push((file, source, definition));
        }
        let layers =
            included.iter().map(|(file, source, definition)| Layer { file, source, definition });
        let own = [Some(plan), plan.variants.get(variant)].into_iter().flatten();
        let Project { file, source, .. } = *project;
        let layers = layers.chain(own.map(|definition| Layer { file, source, definition }));
        let image = Image { project, target, variant, layers: layers.collect() };
        image.make().await
    }
}

/// Reads a file that is built or included.
fn read(source: &Source, is_main: bool) -> Result<Definition, Vec<Diagnostic>> {
    let definition = parse(source, Language::Yaml, &Limits::default())?;
    let mistakes = check(&definition, is_main);
    if mistakes.is_empty() { Ok(definition) } else { Err(mistakes) }
}

fn check_platform(
    project: &Project<'_, Definition>,
    target: &TargetPlatform,
) -> Result<(), FrontendError> {
    let listed = &project.plan.platforms;
    let same = |name: &Spanned<String>| {
        name.parse::<Platform>().is_ok_and(|platform| platform.format() == target.platform.format())
    };
    if let Some(first) = listed.first().filter(|_| !listed.iter().any(same)) {
        let message = format!("the image is not meant for {}", target.platform);
        return Err(project.mistake(message, first.span));
    }
    Ok(())
}

/// One image that is made, of layers of which later ones count more.
struct Image<'a> {
    project: &'a Project<'a, Definition>,
    target: &'a TargetPlatform,
    variant: &'a str,
    layers: Vec<Layer<'a>>,
}

impl Image<'_> {
    async fn make(&self) -> Result<PlatformResult, FrontendError> {
        let project = self.project;
        let epoch = project.bridge.info().options.source_date_epoch()?;
        let created = epoch.map(|seconds| seconds.saturating_mul(1_000_000_000));
        let mut state = self.packages().await?;
        let etc = Mkdir::default().with_parents(true).with_created(created);
        let of_file = Mkfile::default().with_created(created);
        let (passwd, group) = self.accounts();
        state = state.file(
            FileActions::from(vec![
                Action::mkdir("/etc", etc),
                Action::mkfile("/etc/passwd", passwd, of_file.clone()),
                Action::mkfile("/etc/group", group, of_file),
            ])
            .with_constraints(project.name(self.target, "accounts")),
        );
        let entries = || self.layers.iter().flat_map(|layer| &layer.definition.paths);
        let copied = entries().filter(|entry| entry.kind == EntryKind::Context);
        let copied: Vec<String> = copied.map(|entry| entry.content.clone()).collect();
        let context = match copied.is_empty() {
            true => State::scratch(),
            false => project.context(copied).await?,
        };
        for layer in &self.layers {
            for entry in &layer.definition.paths {
                let constraints = self.step(layer, &format!("path {}", entry.path), entry.span);
                if entry.kind == EntryKind::Symlink {
                    project.needs(caps::FILE_SYMLINK_CREATE, "symbolic links")?;
                }
                let actions = vec![action(entry, &context, created)];
                state = state.file(FileActions::from(actions).with_constraints(constraints));
            }
        }
        let config = self.config()?;
        let ready = state.with_image_config(&config).with_user(&config.config.user);
        let tests = self.layers.iter().flat_map(|layer| {
            layer.definition.tests.iter().map(|test| {
                let constraints = self.step(layer, &format!("test {}", test.name), test.span);
                let exec = Exec::args(test.run.clone()).with_constraints(constraints);
                ready.run(project.exec(exec)).root()
            })
        });
        let state = project.after(&state, "tests", &tests.collect::<Vec<_>>()).await?;
        Ok(PlatformResult::new(state, &config).at(epoch))
    }

    /// An empty root with all packages.
    async fn packages(&self) -> Result<State, FrontendError> {
        let mut wanted: BTreeMap<&str, bool> = BTreeMap::new();
        let mut locations = Vec::new();
        for layer in &self.layers {
            let packages = &layer.definition.contents.packages;
            for package in packages {
                let name = package.trim_start_matches('!');
                wanted.insert(name, !package.starts_with('!'));
            }
            if let (Some(first), Some(last)) = (packages.first(), packages.last()) {
                locations.push(layer.file.location(layer.source, first.span.to(last.span)));
            }
        }
        let Some(builder) = self.last(|layer| layer.builder.as_ref()) else {
            return Err(FrontendError::invalid("the file names no builder"));
        };
        if !wanted.values().any(|wanted| *wanted) {
            return Ok(State::scratch());
        }
        let own = self.project.plan.builder.as_ref();
        let span = own.filter(|own| *own == builder).map(|own| own.span);
        let base = self.project.base(builder, span, &self.target.platform).await?;
        let system = base.state(self.named(&format!("builder {builder}")));
        let (command, before, after) = match self.last(|layer| layer.contents.manager) {
            Some(Manager::Apt) => (vec!["sh", "-c", APT, "sh"], "", "-"),
            _ => (APK.split_whitespace().collect(), "!", ""),
        };
        let names = wanted.iter().map(|(name, wanted)| match wanted {
            true => (*name).to_owned(),
            false => format!("{before}{name}{after}"),
        });
        let args = command.iter().map(|word| (*word).to_owned()).chain(names);
        let id = format!("hardened-{builder}-{}", self.target.platform);
        let exec = Exec::args(args)
            .with_user("root")
            .with_mounts(vec![
                Mount::bind(ROOT, &State::scratch()),
                Mount::cache("/packages").id(id).shared(Sharing::Locked),
            ])
            .with_constraints(self.named("install packages").with_locations(locations));
        Ok(system.run(self.project.exec(exec)).get_mount(ROOT).unwrap_or_default())
    }

    /// What is in `/etc/passwd` and `/etc/group`.
    fn accounts(&self) -> (String, String) {
        let mut passwd = String::from("root:x:0:0:root:/root:/sbin/nologin\n");
        let mut groups = String::from("root:x:0:\n");
        for layer in &self.layers {
            for user in &layer.definition.accounts.users {
                let User { name, uid, gid } = &user.value;
                passwd += &format!("{name}:x:{uid}:{gid}:{name}:/:/sbin/nologin\n");
            }
            for group in &layer.definition.accounts.groups {
                let Group { name, gid, members } = &group.value;
                groups += &format!("{name}:x:{gid}:{}\n", members.join(","));
            }
        }
        (passwd, groups)
    }

    fn config(&self) -> Result<ImageConfig, FrontendError> {
        let mut config = ImageConfig::new(&self.target.platform);
        for layer in self.layers.iter().map(|layer| layer.definition) {
            for (name, value) in &layer.environment {
                config.config.set_env(name, value);
            }
            config.config.labels.extend(layer.annotations.clone());
            let ports = layer.ports.iter().map(|port| (port.clone(), serde_json::json!({})));
            config.config.exposed_ports.extend(ports);
        }
        config.config.labels.extend(self.project.settings.labels.clone());
        config.config.entrypoint = self.last(|layer| layer.entrypoint.clone());
        config.config.cmd = self.last(|layer| layer.cmd.clone());
        config.config.working_dir = self.last(|layer| layer.work_dir.clone()).unwrap_or("/".into());
        config.config.stop_signal =
            self.last(|layer| layer.stop_signal.clone()).unwrap_or_default();
        if let Some(name) = self.last(|layer| layer.accounts.run_as.as_ref()) {
            config.config.user = self.user(name)?;
        }
        Ok(config)
    }

    /// A user by number, which is what tells a cluster that it is not root.
    fn user(&self, name: &Spanned<String>) -> Result<String, FrontendError> {
        let users = || self.layers.iter().flat_map(|layer| &layer.definition.accounts.users);
        if name.value == "root" {
            return Ok("0:0".into());
        }
        if let Some(user) = users().find(|user| user.name == name.value) {
            return Ok(format!("{}:{}", user.uid, user.gid));
        }
        let known: BTreeSet<&str> = users().map(|user| user.name.as_str()).collect();
        let guess = did_you_mean(name, known).map(|guess| format!("; did you mean `{guess}`?"));
        let layer = self.layers.iter().rfind(|layer| layer.definition.accounts.run_as.is_some());
        let message = format!("there is no user `{name}`{}", guess.unwrap_or_default());
        let mistake = [Diagnostic::error(message).at(name.span)];
        Err(FrontendError::diagnostics(layer.map_or(self.project.source, |l| l.source), &mistake))
    }

    /// What the last layer that says anything says.
    fn last<'s, T>(&'s self, of: impl Fn(&'s Definition) -> Option<T>) -> Option<T> {
        self.layers.iter().rev().find_map(|layer| of(layer.definition))
    }

    fn named(&self, title: &str) -> Constraints {
        let ignore_cache = self.project.settings.no_cache.covers(self.variant);
        self.project.name(self.target, title).with_ignore_cache(ignore_cache)
    }

    fn step(&self, layer: &Layer<'_>, title: &str, span: Span) -> Constraints {
        let locations = vec![layer.file.location(layer.source, span)];
        self.named(title).with_locations(locations)
    }
}

/// What makes something that has a path.
fn action(entry: &Entry, context: &State, created: Option<i64>) -> Action {
    let (owner, mode) = (Some(Owner::ids(entry.uid, entry.gid)), entry.mode().unwrap_or(0o644));
    let Entry { path, content, .. } = entry;
    match entry.kind {
        EntryKind::Directory => Action::mkdir(
            path,
            Mkdir::default()
                .with_mode(mode)
                .with_parents(true)
                .with_owner(owner)
                .with_created(created),
        ),
        EntryKind::File => Action::mkfile(
            path,
            content.clone(),
            Mkfile::default().with_mode(mode).with_owner(owner).with_created(created),
        ),
        EntryKind::Symlink => Action::symlink(
            content,
            path,
            Symlink::default().with_owner(owner).with_created(created),
        ),
        EntryKind::Context => {
            let copy = CopyOptions::default()
                .with_owner(owner)
                .with_created(created)
                .with_create_dest_path(true);
            Action::copy(context, format!("/{content}"), path, copy)
        }
    }
}
