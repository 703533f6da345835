//! Whole builds against a bridge without a daemon: which questions are asked, what is solved, what
//! comes back, and what the user reads when it does not.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_mockerfile::Mockerfile;
use kiln_sdk::frontend::{
    Bridge, BuildInfo, BuildResult, Code, FileRange, FileStat, Frontend as _, FrontendError,
    ImageConfigRequest, Inputs, Ref, Refs, ResolvedImage, Solve, SourceIdentifier, SourceMeta,
    SourceRequest, Warning, Worker,
};
use kiln_sdk::llb::Definition;
use kiln_sdk::oci::{Digest, ImageConfig, Platform};

const FILE: &str = "apiVersion: v1alpha1
images:
- name: build
  from: debian:13
  steps: [make]
- name: app
  from: build
  env: {A: b}
";

/// Knows the files of one directory and one image.
struct Fake {
    info: BuildInfo,
    files: BTreeMap<String, String>,
    solved: Mutex<Vec<Solve>>,
    asked: Mutex<Vec<String>>,
    warned: Mutex<Vec<Warning>>,
}

impl Fake {
    fn new(files: &[(&str, &str)], options: &[(&str, &str)]) -> Self {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let worker = Worker::default().with_platforms(vec![Platform::new("linux", "arm64")]);
        let options = own(options).into_iter().collect();
        Self {
            info: BuildInfo::default()
                .with_options(options)
                .with_workers(vec![worker])
                .with_session_id("s"),
            files: own(files).into_iter().collect(),
            solved: Mutex::default(),
            asked: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    async fn build(&self) -> Result<BuildResult<Ref>, FrontendError> {
        Mockerfile.solve(self).await
    }

    /// The graphs that were solved after the file was read.
    fn graphs(&self) -> Vec<Definition> {
        self.solved
            .lock()
            .unwrap()
            .iter()
            .skip(1)
            .map(|solve| solve.definition.clone().unwrap())
            .collect()
    }
}

fn missing(what: &str) -> FrontendError {
    FrontendError::new(Code::NotFound, format!("{what}: not found"))
}

#[async_trait]
impl Bridge for Fake {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        let mut solved = self.solved.lock().unwrap();
        solved.push(request);
        Ok(BuildResult::single(Some(Ref(format!("ref{}", solved.len())))))
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let platform = request.platform.unwrap();
        self.asked.lock().unwrap().push(format!("{reference} {platform}"));
        if reference != "docker.io/library/debian:13" {
            return Err(missing(reference));
        }
        let mut config = ImageConfig::new(&platform);
        config.config.env.push("BASE=yes".into());
        let config = serde_json::to_vec(&config).unwrap().into();
        Ok(ResolvedImage::default()
            .with_reference(reference)
            .with_digest(Digest::sha256("debian"))
            .with_config(config))
    }

    async fn resolve_source(
        &self,
        _: SourceIdentifier,
        _: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        Err(missing("source"))
    }

    async fn read_file(
        &self,
        _: &Ref,
        path: &str,
        _: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        self.files.get(path).map(|text| Bytes::from(text.clone())).ok_or_else(|| missing(path))
    }

    async fn read_dir(&self, _: &Ref, path: &str, _: &str) -> Result<Vec<FileStat>, FrontendError> {
        Err(missing(path))
    }

    async fn stat_file(&self, _: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        Err(missing(path))
    }

    async fn evaluate(&self, _: &Ref) -> Result<(), FrontendError> {
        Ok(())
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        Ok(Inputs::new())
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.warned.lock().unwrap().push(warning);
        Ok(())
    }
}

fn names(definition: &Definition) -> Vec<&str> {
    let names = definition
        .metadata
        .values()
        .filter_map(|metadata| metadata.description.get("llb.customname"));
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_last_image_is_built_for_the_workers_platform() {
    let fake = Fake::new(&[("Mockerfile.yaml", FILE)], &[]);
    let result = fake.build().await.unwrap();
    assert_eq!(result.refs, Refs::Single(Some(Ref("ref2".into()))));
    assert_eq!(*fake.asked.lock().unwrap(), ["docker.io/library/debian:13 linux/arm64"]);
    let pinned =
        format!("[build 1/2] FROM docker.io/library/debian:13@{}", Digest::sha256("debian"));
    assert_eq!(names(&fake.graphs()[0]), [pinned.as_str(), "[build 2/2] make"]);
    let config: ImageConfig =
        serde_json::from_slice(&result.metadata["containerimage.config"]).unwrap();
    assert_eq!(config.config.env[1..], ["BASE=yes".to_owned(), "A=b".to_owned()]);
    let base: ImageConfig =
        serde_json::from_slice(&result.metadata["containerimage.base.config"]).unwrap();
    assert_eq!(base.config.env.len(), 2);
}

#[tokio::test]
async fn platforms_are_built_side_by_side() {
    let options = [("platform", "linux/amd64,linux/arm64"), ("build-arg:SOURCE_DATE_EPOCH", "9")];
    let fake = Fake::new(&[("Mockerfile.yml", FILE)], &options);
    let result = fake.build().await.unwrap();
    let Refs::ByPlatform(refs) = &result.refs else { panic!("{result:?}") };
    assert_eq!(refs.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(names(&fake.graphs()[1])[1], "[linux/arm64 build 2/2] make");
    let keys: Vec<&str> = result.metadata.keys().map(String::as_str).collect();
    insta::assert_snapshot!(keys.join("\n"), @"
    containerimage.base.config/linux/amd64
    containerimage.base.config/linux/arm64
    containerimage.config/linux/amd64
    containerimage.config/linux/arm64
    refs.platforms
    source.date.epoch/linux/amd64
    source.date.epoch/linux/arm64
    ");
}

#[tokio::test]
async fn building_twice_solves_equal_graphs() {
    let (one, two) = (
        Fake::new(&[("f.yaml", FILE)], &[("filename", "f.yaml")]),
        Fake::new(&[("f.yaml", FILE)], &[("filename", "f.yaml")]),
    );
    one.build().await.unwrap();
    two.build().await.unwrap();
    assert_eq!(one.graphs(), two.graphs());
}

#[tokio::test]
async fn mistakes_are_shown_with_their_lines_and_travel_with_their_places() {
    let text = FILE.replace("steps:", "step:");
    let error = Fake::new(&[("Mockerfile.yaml", &text)], &[]).build().await.unwrap_err();
    insta::assert_snapshot!(error, @"
    error: unknown key `step`
     --> Mockerfile.yaml:5:3
      |
    5 |   step: [make]
      |   ^^^^ did you mean `steps`?
    ");
    let places = |error: &FrontendError| -> Vec<i32> {
        let ranges =
            error.status().sources().map(|source| source.ranges[0].start.as_ref().unwrap().line);
        ranges.collect()
    };
    assert_eq!(places(&error), [5]);

    let text = FILE.replace("debian:13", "debain:13");
    let error = Fake::new(&[("Mockerfile.yaml", &text)], &[]).build().await.unwrap_err();
    insta::assert_snapshot!(error, @"
    error: base image docker.io/library/debain:13 cannot be used: docker.io/library/debain:13: not found
     --> Mockerfile.yaml:4:9
      |
    4 |   from: debain:13
      |         ^^^^^^^^^
    ");
    assert_eq!(places(&error), [4]);
}

#[tokio::test]
async fn a_wrong_target_or_option_is_named() {
    let error = async |options: &[(&str, &str)]| {
        Fake::new(&[("Mockerfile.yaml", FILE)], options).build().await.unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        error(&[("target", "biuld")]).await,
        @"target `biuld` does not exist; did you mean `build`? images of this file are `build`, `app`"
    );
    insta::assert_snapshot!(
        error(&[("build-arg:SOURCE_DATE_EPOCH", "soon")]).await,
        @"invalid option build-arg:SOURCE_DATE_EPOCH=soon: expected seconds since 1970"
    );
}

#[tokio::test]
async fn a_doubtful_name_is_a_warning() {
    let text = FILE.replace("from: build", "from: biuld");
    let fake = Fake::new(&[("Mockerfile.yaml", &text)], &[]);
    // The registry of this bridge has no such image, which is the point of the warning.
    fake.build().await.unwrap_err();
    let warned = fake.warned.lock().unwrap();
    assert_eq!(
        warned[0].short,
        "Mockerfile.yaml:7:9: warning: `biuld` is taken from a registry, as docker.io/library/biuld:latest"
    );
    assert!(warned[0].detail.iter().any(|line| line.contains("did you mean the image `build`")));
}

#[tokio::test]
async fn an_image_of_nothing_has_no_file_system() {
    let text = "apiVersion: v1alpha1\nimages:\n- {name: a, from: scratch}\n";
    let fake = Fake::new(&[("Mockerfile.yaml", text)], &[]);
    assert_eq!(fake.build().await.unwrap().refs, Refs::Single(None));
    assert!(fake.graphs().is_empty());
}
