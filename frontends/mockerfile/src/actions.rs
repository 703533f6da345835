//! An image as a list of things to do, in order; each becomes one numbered vertex of the build.
//!
//! What is done and what it is called is decided here; [`crate::lower`] says it in LLB.

use kiln_sdk::document::Span;

use crate::paths::join;
use crate::plan::{External, Image, Origin};

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) struct Action<'a> {
    pub(crate) work: Work<'a>,
    /// The part of the file that asks for it.
    pub(crate) span: Span,
}

/// What there is to do.
#[derive(Debug, Clone)]
pub(crate) enum Work<'a> {
    /// Puts a signing key where apt finds it.
    Key { url: &'a str, number: usize },
    /// Writes the list of package sources.
    Sources { lines: &'a [String] },
    /// Installs packages.
    Install { names: &'a [String], has_keys: bool },
    /// Makes the working directory.
    Workdir { path: &'a str },
    /// Puts a file in place.
    Place { external: &'a External },
    /// Runs a shell command in the working directory.
    Run { command: &'a str, directory: &'a str },
    /// Keeps some paths and drops the rest.
    Output { paths: Vec<String> },
}

/// All there is to do for `image`, whose working directory is `directory`.
///
/// Packages come first, because they change least often.
pub(crate) fn actions<'a>(image: &'a Image, directory: &'a str) -> Vec<Action<'a>> {
    let mut list = Vec::new();
    let packages = &image.packages;
    for (number, key) in packages.keys.iter().enumerate() {
        list.push(Action { work: Work::Key { url: key, number }, span: key.span });
    }
    if let Some(lines) = &packages.sources {
        list.push(Action { work: Work::Sources { lines }, span: lines.span });
    }
    if let Some(names) = &packages.install {
        let work = Work::Install { names, has_keys: !packages.keys.is_empty() };
        list.push(Action { work, span: names.span });
    }
    if let Some(path) = &image.workdir {
        list.push(Action { work: Work::Workdir { path: directory }, span: path.span });
    }
    let run = |command: &'a kiln_sdk::document::Spanned<String>| Action {
        work: Work::Run { command, directory },
        span: command.span,
    };
    for external in &image.externals {
        list.push(Action { work: Work::Place { external }, span: external.span });
        list.extend(external.install.iter().map(run));
    }
    list.extend(image.steps.iter().map(run));
    if let Some(span) = image.output.iter().map(|path| path.span).reduce(Span::to) {
        let paths = image.output.iter().map(|path| join(directory, path)).collect();
        list.push(Action { work: Work::Output { paths }, span });
    }
    list
}

impl Work<'_> {
    /// What it is called in the progress and in the history of the image: one line.
    pub(crate) fn title(&self) -> String {
        let title = match self {
            Work::Key { url, .. } => format!("add package key {url}"),
            Work::Sources { lines } => format!("add package sources {}", lines.join("; ")),
            Work::Install { names, .. } => format!("apt-get install {}", names.join(" ")),
            Work::Workdir { path } => format!("make directory {path}"),
            Work::Place { external } => external.title(),
            Work::Run { command, .. } => (*command).to_owned(),
            Work::Output { paths } => format!("keep {}", paths.join(" ")),
        };
        one_line(&title)
    }

    /// What the history of the image says: the command, or the title of what is no command.
    pub(crate) fn created_by(&self) -> String {
        match self {
            Work::Run { command, .. } => format!("RUN /bin/sh -c {}", command.trim()),
            other => other.title(),
        }
    }
}

impl External {
    fn title(&self) -> String {
        let verb = if self.unpack { "unpack" } else { "copy" };
        match &self.from {
            Origin::Url { url, .. } if !self.unpack => format!("add {url} as {}", self.to),
            Origin::Url { url: src, .. } | Origin::Context(src) => {
                format!("{verb} {src} to {}", self.to)
            }
        }
    }
}

/// The first line, at most 200 characters of it.
fn one_line(text: &str) -> String {
    let text = text.trim();
    let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    if line.len() < text.len() { format!("{}…", line.trim_end()) } else { line }
}

/// The command that installs packages, for `/bin/sh -c`.
///
/// Caches stay in their mounts, logs are dropped, so the layer holds the packages alone. Keys are
/// downloaded under `.asc`; apt reads binary ones under `.gpg` only.
pub(crate) fn install_script(names: &[String], has_keys: bool) -> String {
    let mut script = "set -e; ".to_owned();
    if has_keys {
        script += "for key in /etc/apt/trusted.gpg.d/mockerfile-*.asc; do \
                   [ \"$(head -c 5 \"$key\")\" = ----- ] || mv \"$key\" \"${key%.asc}.gpg\"; done; ";
    }
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    script += &format!(
        "apt-get update; apt-get install -y --no-install-recommends {}; ",
        names.join(" ")
    );
    script += "rm -f /var/log/apt/*.log /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache";
    script
}

/// Quotes a word for the shell when it needs to be.
fn quote(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "+-.:=/_".contains(character);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use kiln_sdk::document::Source;

    use super::*;
    use crate::plan::Plan;

    #[test]
    fn packages_come_first_and_output_last() {
        let text = "apiVersion: v1alpha1
images:
- name: demo
  from: debian:13
  output: [bin/tool, /etc/tool.d]
  steps:
  - |
    make
    make install
  external:
  - src: https://example.com/kubectl
    dst: /usr/local/bin/
  - src: https://example.com/helm.tar.gz
    dst: /tmp/helm
    install: [install /tmp/helm/helm /usr/local/bin]
  - {src: scripts, dst: /opt/scripts}
  workdir: /src
  package:
    install: [curl, 'gcc=4:*']
    gpg: ['https://example.com/key.gpg']
    repo: ['deb https://example.com stable main']
";
        let plan = Plan::read(&Source::new("Mockerfile.yaml", text)).unwrap().plan;
        let titles: Vec<String> =
            actions(&plan.images[0], "/src").iter().map(|action| action.work.title()).collect();
        insta::assert_snapshot!(titles.join("\n"), @"
        add package key https://example.com/key.gpg
        add package sources deb https://example.com stable main
        apt-get install curl gcc=4:*
        make directory /src
        add https://example.com/kubectl as /usr/local/bin/kubectl
        unpack https://example.com/helm.tar.gz to /tmp/helm
        install /tmp/helm/helm /usr/local/bin
        copy scripts to /opt/scripts
        make…
        keep /src/bin/tool /etc/tool.d
        ");
    }

    #[test]
    fn packages_are_installed_by_one_script_that_leaves_nothing_else() {
        insta::assert_snapshot!(
            install_script(&["curl".into(), "g++=4:*".into()], true),
            @r#"set -e; for key in /etc/apt/trusted.gpg.d/mockerfile-*.asc; do [ "$(head -c 5 "$key")" = ----- ] || mv "$key" "${key%.asc}.gpg"; done; apt-get update; apt-get install -y --no-install-recommends curl 'g++=4:*'; rm -f /var/log/apt/*.log /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache"#
        );
    }

    #[test]
    fn long_titles_are_cut() {
        assert_eq!(one_line(&"é".repeat(300)).chars().count(), 201);
        assert_eq!(one_line("\n make \n all"), "make…");
    }
}
