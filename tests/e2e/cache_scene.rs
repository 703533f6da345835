//! What tests of caches share: a project on a base image in a registry, and machines that build it.

use std::fs;

use kiln_tests::{Image, ImageConfig, Kiln, Outcome, Project, Registry};

pub(super) struct CacheScene {
    pub(super) registry: Registry,
    pub(super) project: Project,
}

impl CacheScene {
    /// A project of this Dockerfile, in which `BASE` stands for the base image. It has a file `input`, and
    /// leaves what it drew in `/first`.
    pub(super) fn begin(dockerfile: &str) -> Option<Self> {
        let registry = Registry::start()?;
        let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
        let base = Image::busybox(config).push(&registry, "base:1");
        let dockerfile = dockerfile.replace("BASE", &base);
        let project = Project::new(&[("Dockerfile", &dockerfile), ("input", "1\n")]);
        Some(Self { registry, project })
    }

    /// Builds, well, on a machine of its own, into a directory; what was drawn.
    pub(super) fn build(&self, kiln: &Kiln, flags: &[&str]) -> (Outcome, String) {
        let outcome = self.try_build(kiln, flags).succeeds();
        (outcome, fs::read_to_string(kiln.path("out/first")).unwrap())
    }

    /// Builds on a machine of its own, into a directory.
    pub(super) fn try_build(&self, kiln: &Kiln, flags: &[&str]) -> Outcome {
        let build = kiln.build().frontend("dockerfile.v0").of(&self.project);
        let build = flags.iter().fold(build, |build, flag| build.flag(*flag));
        build.output("type=local", &kiln.path("out")).run()
    }
}

/// How many steps ran.
pub(super) fn worked(outcome: &Outcome) -> usize {
    let ran = |name: &&String| name.contains("] RUN") || name.contains("] COPY");
    outcome.worked().iter().filter(ran).count()
}
