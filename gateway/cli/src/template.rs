//! The project of a new frontend, as files in memory.
//!
//! A name, a format and where the SDK is come in, files go out. The files lie under `templates/` as
//! they will be written, but for a few words in double braces.

mod name;
mod sdk;
#[cfg(test)]
mod tests;

pub(crate) use name::{FrontendName, default_image};
pub(crate) use sdk::Sdk;

/// A file of a template, and where it goes.
type Template = (&'static str, &'static str);

/// The files that do not depend on the format.
const FILES: &[Template] = &[
    ("Cargo.toml", include_str!("../templates/frontend/Cargo.toml.template")),
    (".gitignore", include_str!("../templates/frontend/gitignore.template")),
    ("rustfmt.toml", include_str!("../templates/frontend/rustfmt.toml.template")),
    ("README.md", include_str!("../templates/frontend/README.md.template")),
    ("src/main.rs", include_str!("../templates/frontend/main.rs.template")),
    ("src/lib.rs", include_str!("../templates/frontend/lib.rs.template")),
    ("tests/snapshot.rs", include_str!("../templates/frontend/snapshot.rs.template")),
    ("tests/schema.rs", include_str!("../templates/frontend/schema.rs.template")),
    ("schema.json", include_str!("../templates/frontend/schema.json.template")),
];

/// What the sample with a build argument is built with.
const BUILD_ARG: &str = "{\n  \"opts\": { \"build-arg:VERSION\": \"1.0\" }\n}\n";

/// The format a language's files are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl FileFormat {
    /// The format that a name speaks of; YAML if it speaks of none.
    pub(crate) fn hinted_by(name: &FrontendName) -> Self {
        match name.as_str() {
            name if name.contains("toml") => Self::Toml,
            name if name.contains("json") => Self::Json,
            _ => Self::Yaml,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Json => "json",
        }
    }

    fn variant(self) -> &'static str {
        match self {
            Self::Yaml => "Yaml",
            Self::Toml => "Toml",
            Self::Json => "Json",
        }
    }

    fn sample(self) -> &'static str {
        match self {
            Self::Yaml => include_str!("../templates/frontend/sample.yaml.template"),
            Self::Toml => include_str!("../templates/frontend/sample.toml.template"),
            Self::Json => include_str!("../templates/frontend/sample.json.template"),
        }
    }

    /// A sample with a base image, commands and a build argument.
    fn base(self) -> &'static str {
        match self {
            Self::Yaml => include_str!("../templates/frontend/base.yaml.template"),
            Self::Toml => include_str!("../templates/frontend/base.toml.template"),
            Self::Json => include_str!("../templates/frontend/base.json.template"),
        }
    }

    /// The line of the sample that copies a file.
    fn copy_line(self) -> u32 {
        match self {
            Self::Yaml => 6,
            Self::Toml => 8,
            Self::Json => 4,
        }
    }

    /// The sample with a mistake in it, for the test of the screen that shows it.
    fn mistaken(self) -> &'static str {
        match self {
            Self::Yaml => include_str!("../templates/frontend/mistaken.yaml.template"),
            Self::Toml => include_str!("../templates/frontend/mistaken.toml.template"),
            Self::Json => include_str!("../templates/frontend/mistaken.json.template"),
        }
    }
}

/// What a project is made for.
#[derive(Clone, Debug)]
pub(crate) struct NewProject {
    /// What it is called.
    pub name: FrontendName,
    /// The format of its language's files.
    pub format: FileFormat,
    /// Where its dependencies are.
    pub sdk: Sdk,
}

impl NewProject {
    /// The files of the project, by path.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let sample = format!("samples/hello/{}", self.build_file());
        let broken = format!("samples/broken/{}", self.build_file());
        let mut files: Vec<(String, String)> =
            FILES.iter().map(|(path, text)| ((*path).to_owned(), self.fill(text))).collect();
        files.push((sample, self.fill(self.format.sample())));
        files.push((broken, self.fill(self.format.mistaken())));
        files.push((
            format!("samples/build-arg/{}", self.build_file()),
            self.fill(self.format.base()),
        ));
        files.push(("samples/build-arg/case.json".to_owned(), BUILD_ARG.to_owned()));
        for sample in ["hello", "broken"] {
            let greeting = format!("samples/{sample}/files/greeting");
            files.push((greeting, "Hello from the build context.\n".to_owned()));
        }
        files
    }

    /// What the language's files are called.
    pub(crate) fn build_file(&self) -> String {
        format!("{}.{}", self.name.language(), self.format.extension())
    }

    fn fill(&self, text: &str) -> String {
        let words = [
            ("{{name}}", self.name.as_str().to_owned()),
            ("{{language}}", self.name.language().to_owned()),
            ("{{crate}}", self.name.module()),
            ("{{type}}", self.name.type_name()),
            ("{{build_file}}", self.build_file()),
            ("{{format}}", self.format.variant().to_owned()),
            ("{{sdk}}", self.sdk.dependency("sdk/sdk")),
            ("{{testing}}", self.sdk.dependency("sdk/testing")),
            ("{{image}}", self.name.image()),
            ("{{line}}", self.format.copy_line().to_string()),
        ];
        words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }
}
