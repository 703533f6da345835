//! The build most tests tell of: a base from a registry, downloads of every kind, files of the
//! context, commands.

use kiln_tests::archive::{Entry, tar_gz};
use kiln_tests::{Image, ImageConfig, Project, Registry, WebServer, is_root, sha256};

/// What the story takes place in.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) registry: Registry,
    pub(super) web: WebServer,
    pub(super) project: Project,
    pub(super) base: String,
}

/// The config that images of the story inherit.
pub(super) fn base_config() -> ImageConfig {
    ImageConfig {
        env: vec!["PATH=/usr/local/bin:/bin".into(), "BASE=yes".into()],
        cmd: vec!["/bin/sh".into(), "-l".into()],
        working_dir: "/srv".into(),
        user: "builder".into(),
        labels: [("vendor".into(), "tests".into())].into(),
        ..ImageConfig::default()
    }
}

/// Whose file the last step makes. Who has one user only can give files to nobody else.
pub(super) fn owner() -> u64 {
    if is_root() { 1000 } else { 0 }
}

impl Story {
    /// Sets the scene; `None`, and aloud, where it cannot be.
    pub(super) fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let base = Image::busybox(base_config()).push(&registry, "library/ubuntu:22.04");
        let web = WebServer::start();
        let project = Project::new(&[("notes/one", "first\n"), ("notes/two", "second\n")]);
        let story = Self { registry, web, project, base };
        story.write_mockerfile();
        Some(story)
    }

    /// Four downloads, as in the article: a program, an archive, an archive whose content is
    /// installed, and one that is only there.
    fn write_mockerfile(&self) {
        let program = b"#!/bin/sh\necho kubectl\n";
        let tool = b"#!/bin/sh\necho tool\n";
        let kubectl = self.web.serve("/kubectl", program.as_slice());
        let kustomize = self
            .web
            .serve("/kustomize.tar.gz", tar_gz(&[Entry::File("kustomize", 0o755, 0, tool)]));
        let helm = [
            Entry::Directory("linux-amd64/"),
            Entry::File("linux-amd64/helm", 0o755, 0, tool),
            Entry::File("linux-amd64/LICENSE", 0o640, 1000, b"free\n"),
        ];
        let helm = self.web.serve("/helm.tgz", tar_gz(&helm));
        let sdk = [
            Entry::File("sdk/install.sh", 0o750, 1000, tool),
            Entry::Link("sdk/run", "install.sh"),
        ];
        let sdk = self.web.serve("/sdk.tar.gz", tar_gz(&sdk));
        let (base, checksum, owner) = (&self.base, sha256(program), owner());
        self.project.write(
            "Mockerfile.yaml",
            format!(
                "apiVersion: v1alpha1
images:
- name: demo
  from: {base}
  env: {{GREETING: hello}}
  labels: {{team: e2e}}
  external:
  - src: {kubectl}
    dst: /usr/local/bin/kubectl
    sha256: {checksum}
  - src: {kustomize}
    dst: /usr/local/bin/kustomize
  - src: {helm}
    dst: /tmp/helm
    install:
    - install /tmp/helm/linux-amd64/helm /usr/local/bin/helm
  - src: {sdk}
    dst: /tmp
  - src: notes
    dst: /srv/notes
  steps:
  - echo \"$GREETING from $(id -u)\" > greeting
  - helm > said && kubectl >> said && chown {owner}:{owner} said && chmod 2640 said
"
            ),
        );
    }
}
