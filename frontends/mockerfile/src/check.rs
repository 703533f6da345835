//! What the words of a file mean, and whether they can: names, paths, addresses, packages.
//!
//! Checking does not stop at the first mistake, and what cannot be known before the build (whether
//! a base has a shell, whether a package exists) is left to the build.

use std::collections::BTreeMap;

use kiln_sdk::document::{Diagnostic, Span, Spanned, did_you_mean};
use kiln_sdk::frontend::Parsed;
use kiln_sdk::oci::{Digest, Reference};

use crate::file::{self, File};
use crate::paths::{absolute, context_path, file_name_of_url, is_archive, is_url};
use crate::plan::{Base, External, Image, Origin, Packages, Placed, Plan};

/// Turns the file into a plan. On success the diagnostics are warnings.
pub(crate) fn check(file: &File) -> Result<Parsed<Plan>, Vec<Diagnostic>> {
    let mut checker = Checker {
        images: &file.images,
        first: BTreeMap::new(),
        bases: Vec::new(),
        found: Vec::new(),
    };
    checker.names();
    let images: Vec<Image> = (0..file.images.len()).map(|index| checker.image(index)).collect();
    checker.circles();
    let Checker { mut found, .. } = checker;
    found.sort_by_key(|diagnostic| diagnostic.span);
    let fatal =
        found.iter().any(|diagnostic| diagnostic.severity == kiln_sdk::document::Severity::Error);
    if fatal { Err(found) } else { Ok(Parsed::new(Plan { images }).with_warnings(found)) }
}

struct Checker<'a> {
    images: &'a [file::Image],
    /// The first image of each name.
    first: BTreeMap<&'a str, usize>,
    /// What each image starts from, where that could be told.
    bases: Vec<Option<Base>>,
    found: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.found.push(Diagnostic::error(message).at(span));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    fn names(&mut self) {
        let images = self.images;
        for (index, image) in images.iter().enumerate() {
            let name = image.name.as_str();
            let fine =
                |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
            if name.is_empty() || !name.chars().all(fine) {
                self.error(image.name.span, format!("`{name}` cannot be the name of an image"))
                    .hint = Some("use letters, digits, `.`, `_` and `-`".to_owned());
            } else if name == "scratch" {
                self.error(
                    image.name.span,
                    "an image cannot be called `scratch`: that is the name of nothing",
                );
            }
            if let Some(first) = self.first.get(name).copied() {
                let mistake =
                    self.error(image.name.span, format!("two images are called `{name}`"));
                mistake.related.push((images[first].name.span, "first called so here".to_owned()));
            } else {
                self.first.insert(name, index);
            }
        }
    }

    fn image(&mut self, index: usize) -> Image {
        let image = &self.images[index];
        let (base, base_span) = self.base(index);
        let package = image.package.clone().unwrap_or_default();
        self.bases.push(base.clone());
        if base == Some(Base::Scratch) && !package.install.is_empty() {
            let mistake = self.error(
                all(&package.install),
                "packages cannot be installed into `scratch`, which has no apt-get",
            );
            mistake.related.push((base_span, "nothing to start from".to_owned()));
        }
        Image {
            name: image.name.value.clone(),
            // Stands for a mistake that was reported: such a plan is not returned.
            base: base.unwrap_or(Base::Scratch),
            base_span,
            workdir: image.workdir.as_ref().map(|path| self.workdir(path)),
            packages: self.packages(&package),
            externals: image
                .external
                .iter()
                .filter_map(|external| self.external(external))
                .collect(),
            steps: self.commands(&image.steps),
            output: image.output.iter().map(|path| self.output(path)).collect(),
            env: self.environment(&image.env),
            labels: image
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
            entrypoint: image.entrypoint.as_ref().map(file::Command::words),
            cmd: image.cmd.as_ref().map(file::Command::words),
            user: image.user.as_ref().map(|user| user.value.clone()),
        }
    }

    fn base(&mut self, index: usize) -> (Option<Base>, Span) {
        let image = &self.images[index];
        match (&image.from, &image.parent) {
            (Some(from), None) => (self.from(index, from), from.span),
            (None, Some(parent)) => (self.parent(index, parent), parent.span),
            (Some(from), Some(parent)) => {
                let name = &image.name.value;
                let mistake =
                    self.error(parent.span, format!("image `{name}` has both `from` and `parent`"));
                mistake.related.push((from.span, "`from` is here".to_owned()));
                mistake.hint = Some(
                    "keep `parent` to go on from an image of this file, else keep `from`"
                        .to_owned(),
                );
                (None, from.span)
            }
            (None, None) => {
                let name = &image.name.value;
                self.error(image.name.span, format!("image `{name}` has nothing to start from"))
                    .hint = Some(
                    "add `from: <image>`, `from: scratch` or `parent: <image of this file>`"
                        .to_owned(),
                );
                (None, image.name.span)
            }
        }
    }

    fn from(&mut self, index: usize, from: &Spanned<String>) -> Option<Base> {
        let name = from.as_str();
        if name == "scratch" {
            return Some(Base::Scratch);
        }
        match self.first.get(name).copied() {
            Some(base) if base < index => return Some(Base::Result(base)),
            Some(base) if base == index => {
                self.error(from.span, format!("image `{name}` starts from itself"));
                return None;
            }
            Some(base) => {
                let later = self.images[base].name.span;
                let mistake = self.error(from.span, format!("image `{name}` is not defined yet"));
                mistake.related.push((later, "defined here".to_owned()));
                mistake.hint = Some("move it up, or name it with `parent`".to_owned());
                return None;
            }
            None => {}
        }
        match name.parse::<Reference>() {
            Ok(reference) => {
                self.warn_of_near_name(index, from, &reference);
                Some(Base::Image(reference))
            }
            Err(_) => {
                let guess = did_you_mean(name, self.names_but(index));
                let mistake = self.error(
                    from.span,
                    format!("`{name}` is neither an image reference nor an image of this file"),
                );
                match guess {
                    Some(guess) => mistake.label = Some(format!("did you mean `{guess}`?")),
                    None => mistake.hint = Some("an image reference looks like `debian:13` or `registry.example/team/app:1`".to_owned()),
                }
                None
            }
        }
    }

    /// `from: biuld` is a fine reference to an image of the default registry, and hardly meant so.
    fn warn_of_near_name(&mut self, index: usize, from: &Spanned<String>, reference: &Reference) {
        let plain = !from.contains(['/', ':', '@', '.']);
        if let Some(guess) =
            did_you_mean(from, self.images[..index].iter().map(|image| image.name.as_str()))
                .filter(|_| plain)
        {
            let warning =
                Diagnostic::warning(format!("`{from}` is taken from a registry, as {reference}"));
            self.found.push(
                warning
                    .at(from.span)
                    .label(format!("did you mean the image `{guess}` of this file?")),
            );
        }
    }

    fn parent(&mut self, index: usize, parent: &Spanned<String>) -> Option<Base> {
        let name = parent.as_str();
        match self.first.get(name).copied() {
            Some(base) => Some(Base::Whole(base)),
            None => {
                let guess = did_you_mean(name, self.names_but(index));
                let names: Vec<String> =
                    self.names_but(index).map(|name| format!("`{name}`")).collect();
                let mistake =
                    self.error(parent.span, format!("image `{name}` does not exist in this file"));
                match guess {
                    Some(guess) => mistake.label = Some(format!("did you mean `{guess}`?")),
                    None if names.is_empty() => {
                        mistake.hint =
                            Some(format!("use `from: {name}` for an image of a registry"));
                    }
                    None => {
                        mistake.notes.push(format!("images of this file are {}", names.join(", ")));
                    }
                }
                None
            }
        }
    }

    fn names_but(&self, index: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        let images = self.images;
        images
            .iter()
            .enumerate()
            .filter(move |(other, _)| *other != index)
            .map(|(_, image)| image.name.as_str())
    }

    /// Finds images that, step by step, start from themselves.
    fn circles(&mut self) {
        let below = |at: usize| match self.bases[at] {
            Some(Base::Whole(base) | Base::Result(base)) => Some(base),
            _ => None,
        };
        let images = self.images;
        for index in 0..images.len() {
            let mut path = vec![index];
            // Of the images of a circle the first of the file reports it.
            while let Some(next) =
                below(path[path.len() - 1]).filter(|_| path.len() <= images.len())
            {
                path.push(next);
                if next <= index {
                    break;
                }
            }
            if path.len() > 1 && path.last() == Some(&index) {
                let names: Vec<String> =
                    path.iter().map(|index| format!("`{}`", images[*index].name)).collect();
                let span = images[index]
                    .parent
                    .as_ref()
                    .map_or(images[index].name.span, |parent| parent.span);
                let mistake =
                    Diagnostic::error(format!("image {} starts from itself", names[0])).at(span);
                self.found.push(mistake.note(format!("the circle is {}", names.join(" → "))));
            }
        }
    }

    fn workdir(&mut self, path: &Spanned<String>) -> Placed<String> {
        if path.is_empty() || path.contains('\0') {
            self.error(path.span, "the working directory is not a path");
        }
        path.clone()
    }

    fn output(&mut self, path: &Spanned<String>) -> Placed<String> {
        if path.is_empty() || path.contains('\0') {
            self.error(path.span, "this is not a path");
        }
        path.clone()
    }

    fn environment(&mut self, env: &BTreeMap<String, Spanned<String>>) -> BTreeMap<String, String> {
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                self.error(
                    value.span,
                    format!("`{name}` cannot be the name of an environment variable"),
                );
            }
        }
        env.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect()
    }

    fn commands(&mut self, commands: &[Spanned<String>]) -> Vec<Placed<String>> {
        for command in commands {
            if command.trim().is_empty() {
                self.error(command.span, "this command is empty");
            } else if command.contains('\0') {
                self.error(command.span, "a command cannot hold the character NUL");
            }
        }
        commands.to_vec()
    }

    fn packages(&mut self, package: &file::Package) -> Packages {
        for line in &package.repo {
            self.repository(line);
        }
        for key in &package.gpg {
            if !is_url(key) {
                self.error(key.span, format!("`{key}` is not the address of a key")).hint = Some(
                    "write an `https://` address; keys in the build context go under `external`"
                        .to_owned(),
                );
            }
        }
        for name in &package.install {
            self.package_name(name);
        }
        let together = |list: &[Spanned<String>]| {
            let values = list.iter().map(|item| item.value.clone()).collect();
            (!list.is_empty()).then(|| Placed::new(values, all(list)))
        };
        Packages {
            sources: together(&package.repo),
            keys: package.gpg.clone(),
            install: together(&package.install),
        }
    }

    fn repository(&mut self, line: &Spanned<String>) {
        let known = ["deb ", "deb-src ", "#"].iter().any(|start| line.starts_with(start));
        if line.trim().contains(['\n', '\r', '\0']) {
            self.error(line.span, "a package source is one line").hint =
                Some("write one item of `repo` for each line".to_owned());
        } else if !known {
            self.error(
                line.span,
                format!("`{}` is not a line for the list of package sources", line.trim()),
            )
            .hint = Some("write `deb <address> <suite> <component>…`".to_owned());
        }
    }

    fn package_name(&mut self, name: &Spanned<String>) {
        let fine =
            |character: char| character.is_ascii_alphanumeric() || "+-.:~=/_*".contains(character);
        if name.contains(char::is_whitespace) {
            let words: Vec<&str> = name.split_whitespace().collect();
            self.error(name.span, "a package name has no spaces").hint =
                Some(format!("write one item for each of {}", words.join(", ")));
        } else if !name.starts_with(|first: char| first.is_ascii_alphanumeric())
            || !name.chars().all(fine)
        {
            self.error(name.span, format!("`{name}` is not the name of a Debian package"));
        }
    }

    fn external(&mut self, external: &Spanned<file::External>) -> Option<External> {
        let install = self.commands(&external.install);
        let unpack = is_archive(&external.src);
        let from = self.origin(external);
        let to = self.destination(external, from.as_ref(), unpack);
        Some(External { from: from?, to: to?, unpack, install, span: external.span })
    }

    fn origin(&mut self, external: &file::External) -> Option<Origin> {
        let src = &external.src;
        if is_url(src) {
            let checksum = external.sha256.as_ref().and_then(|sum| self.checksum(sum));
            let Some(file_name) = file_name_of_url(src) else {
                self.error(src.span, format!("`{src}` does not name a host"));
                return None;
            };
            return Some(Origin::Url { url: src.value.clone(), checksum, file_name });
        }
        if let Some((scheme, _)) = src.split_once("://") {
            let mistake = self.error(src.span, format!("`{scheme}` addresses cannot be fetched"));
            mistake.hint = Some("use `http` or `https`, or a path in the build context".to_owned());
            return None;
        }
        if let Some(sum) = &external.sha256 {
            self.error(
                sum.span,
                "`sha256` is for downloads; files of the build context are taken as they are",
            );
        }
        let path = context_path(src);
        if path.is_none() {
            let mistake =
                self.error(src.span, format!("`{src}` is not a path inside the build context"));
            mistake.hint =
                Some("paths are relative to the build context and stay in it".to_owned());
        }
        path.map(Origin::Context)
    }

    fn checksum(&mut self, sum: &Spanned<String>) -> Option<Digest> {
        let digits = sum.strip_prefix("sha256:").unwrap_or(sum).to_ascii_lowercase();
        let digest = format!("sha256:{digits}").parse().ok();
        if digest.is_none() {
            self.error(sum.span, "this is not a SHA-256 checksum").hint = Some(format!(
                "it has 64 hexadecimal digits; this text has {} characters",
                digits.chars().count()
            ));
        }
        digest
    }

    fn destination(
        &mut self,
        external: &file::External,
        from: Option<&Origin>,
        unpack: bool,
    ) -> Option<String> {
        let dst = &external.dst;
        let Some(path) = absolute(dst).filter(|_| !dst.contains('\0')) else {
            self.error(dst.span, format!("`{dst}` is not an absolute path")).hint =
                Some(format!("write `/{dst}`"));
            return None;
        };
        if unpack || !(dst.ends_with('/') || path == "/") {
            return Some(path);
        }
        let directory = path.trim_end_matches('/');
        Some(match from {
            Some(Origin::Url { file_name, .. }) => format!("{directory}/{file_name}"),
            // Whether it is a file or a directory only the copy will know.
            _ => format!("{directory}/"),
        })
    }
}

/// The place of a whole list.
fn all<T>(items: &[Spanned<T>]) -> Span {
    let spans = items.iter().map(|item| item.span);
    spans.reduce(Span::to).unwrap_or_default()
}
