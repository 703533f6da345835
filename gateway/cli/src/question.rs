//! What a frontend is asked about one file, and what it answers, without a daemon.
//!
//! Flags come in, a [`Question`] goes out; put to a frontend, it gives an [`Answer`]: a graph per
//! platform, ready to be shown. The daemon is a fixture of the testing kit, the directories are the
//! user's, and images nobody gave are made up.

mod answer;
#[cfg(test)]
mod tests;

pub(crate) use answer::Answer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_frontend::{Frontend, FrontendError};
use kiln_oci::{ImageConfig, Platform, PlatformError};
use kiln_testing::{Case, CaseError, CaseImage, Fixture};

use crate::args::AskArgs;
use crate::build_command::directory_of;
use crate::environment::Environment;
use crate::options::{OptionError, frontend_options};

/// The option that builds take from the environment by themselves.
const EPOCH: &str = "build-arg:SOURCE_DATE_EPOCH";
/// A config larger than this is none, in bytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// A question that can be put to any frontend.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    fixture: Fixture,
}

/// Why there is nothing to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    /// The file has no name.
    #[error("{0} is not a file")]
    NoFile(PathBuf),
    /// A flag cannot be understood.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A platform is none.
    #[error("--platform: {0}")]
    Platform(#[from] PlatformError),
    /// The config of an image cannot be read.
    #[error("--image: cannot read {path}")]
    Image {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The config of an image is none.
    #[error("--image: {path} is not the config of an image")]
    Config {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The stubs do not come together.
    #[error(transparent)]
    Case(#[from] CaseError),
}

impl Question {
    /// Asks what is made of `file`. Local sources name `session`; none if it is empty.
    ///
    /// # Errors
    ///
    /// If a flag is wrong, or the config of an image cannot be read.
    pub(crate) fn decide(
        file: &Path,
        ask: &AskArgs,
        session: &str,
        environment: &Environment,
    ) -> Result<Self, QuestionError> {
        let name = file.file_name().filter(|_| file.is_file());
        let name = name.ok_or_else(|| QuestionError::NoFile(file.to_owned()))?;
        let mut opts = frontend_options(&ask.opt, environment)?;
        // The same question has the same answer wherever it is asked.
        opts.retain(|key, _| key != EPOCH || ask.opt.iter().any(|opt| opt.starts_with(EPOCH)));
        opts.entry("filename".to_owned()).or_insert_with(|| name.to_string_lossy().into_owned());
        let directory = directory_of(file);
        let context = ask.context.clone().unwrap_or_else(|| directory.clone());
        let images = ask.image.iter().map(|text| image(text)).collect::<Result<Vec<_>, _>>()?;
        let case = Case {
            opts,
            session_id: session.to_owned(),
            worker_platforms: vec![platforms(&ask.platform)?],
            images: images.iter().flat_map(|image| image.entries.clone()).collect(),
            locals: BTreeMap::new(),
            ..Case::default()
        };
        let fixture = Fixture::from_case(&case)?
            .directory("dockerfile", directory)
            .directory("context", context);
        // For platforms that its config does not name, an image is the same but for that name.
        let fixture = images
            .into_iter()
            .fold(fixture, |fixture, image| fixture.image(&image.reference, image.config));
        Ok(Self { fixture: fixture.any_image() })
    }

    /// Puts the question.
    ///
    /// # Errors
    ///
    /// What the frontend says.
    pub(crate) async fn ask(&self, frontend: &dyn Frontend) -> Result<Answer, FrontendError> {
        self.fixture.build_async(frontend).await.map(Answer::from)
    }

    /// Asks instead what is wrong or doubtful; gives the answer as JSON.
    ///
    /// # Errors
    ///
    /// What the frontend says.
    pub(crate) async fn lint(
        &self,
        frontend: &dyn Frontend,
    ) -> Result<serde_json::Value, FrontendError> {
        let bridge = self.fixture.clone().option("requestid", "frontend.lint").bridge();
        let result = kiln_frontend::run(frontend, &bridge).await?;
        let json = result.metadata.get("result.json").cloned().unwrap_or_default();
        serde_json::from_slice(&json).map_err(|error| FrontendError::unknown(error.to_string()))
    }

    /// Puts the question, and gives the answer in the form of a recorded case's, be it an error.
    pub(crate) async fn ask_for_json(&self, frontend: &dyn Frontend) -> serde_json::Value {
        kiln_testing::replay_fixture(frontend, &self.fixture, &[], false).await
    }
}

/// The worker's platforms, the default one first; this machine's unless they are given.
fn platforms(texts: &[String]) -> Result<Vec<String>, PlatformError> {
    if texts.is_empty() {
        return Ok(vec!["linux/amd64".to_owned()]);
    }
    texts.iter().map(|text| Ok(text.parse::<Platform>()?.format_all())).collect()
}

/// An image that was given.
struct GivenImage {
    reference: String,
    config: ImageConfig,
    /// Its exact config, for its own platform, with and without the digest in its reference.
    entries: Vec<CaseImage>,
}

/// Reads `REFERENCE[@DIGEST]=CONFIG.JSON`.
fn image(text: &str) -> Result<GivenImage, QuestionError> {
    let error = |reason| OptionError::new("--image", text, reason);
    let (reference, path) = text
        .split_once('=')
        .filter(|(reference, path)| !reference.is_empty() && !path.is_empty())
        .ok_or_else(|| error("should be REFERENCE=CONFIG.JSON"))?;
    let parsed: kiln_oci::Reference =
        reference.parse().map_err(|_| error("does not start with the name of an image"))?;
    let path = Path::new(path);
    let bytes = read(path).map_err(|source| QuestionError::Image { path: path.into(), source })?;
    let config = |source| QuestionError::Config { path: path.into(), source };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(config)?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(config)?;
    let given = parsed.digest().map(ToString::to_string);
    let digest = given.clone().unwrap_or_else(|| kiln_oci::Digest::sha256(&bytes).to_string());
    let mut names = vec![reference.to_owned()];
    if let (Some(_), Some((name, _))) = (&given, reference.split_once('@')) {
        names.push(name.to_owned());
    }
    let entry = |reference: String| CaseImage {
        reference,
        platform: Some(config.platform.format_all()),
        digest: Some(digest.clone()),
        config: Some(value.clone()),
        ..CaseImage::default()
    };
    let entries = names.into_iter().map(entry).collect();
    Ok(GivenImage { reference: reference.to_owned(), config: config.clone(), entries })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_CONFIG_BYTES {
        true => Err(std::io::Error::other("the file is too large")),
        false => Ok(bytes),
    }
}
