//! One violation of a rule, and its words.

use std::fmt;

use super::rules::{Id, RULES, Rule};
use crate::quoting::quote;

/// A violation of a rule, with what its text mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the words of the texts below")]
pub enum Violation {
    /// A stage's name has capital letters.
    StageNameCasing { stage: String },
    /// `AS` is written in another case than `FROM`.
    FromAsCasing { from: String, keyword: String },
    /// An empty line inside an instruction.
    NoEmptyContinuation,
    /// An instruction is written in another case than most.
    ConsistentInstructionCasing { instruction: String, majority: &'static str },
    /// A stage's name was taken.
    DuplicateStageName { stage: String },
    /// A stage is called as a built-in source is.
    ReservedStageName { stage: String },
    /// `CMD` or `ENTRYPOINT` in shell form, without a `SHELL` that asks for it.
    JsonArgsRecommended { instruction: String },
    /// `MAINTAINER`.
    MaintainerDeprecated,
    /// A variable in `FROM` that no global `ARG` declares.
    UndefinedArgInFrom { variable: String, suggestion: Option<String> },
    /// A relative `WORKDIR` on a base whose directory the file does not set.
    WorkdirRelativePath { path: String },
    /// A variable that nothing defines.
    UndefinedVar { variable: String, suggestion: Option<String> },
    /// An instruction of which only the last counts was given twice.
    MultipleInstructionsDisallowed { instruction: String },
    /// `ENV` or `LABEL` without an equals sign.
    LegacyKeyValueFormat { instruction: String },
    /// The base image is for another platform than the build.
    InvalidBaseImagePlatform { image: String, expected: String, actual: String },
    /// `FROM --platform` says what holds anyway.
    RedundantTargetPlatform { platform: String },
    /// A variable whose name speaks of a secret.
    SecretsUsedInArgOrEnv { instruction: &'static str, key: String },
    /// A base that is no image name if no build argument is given.
    InvalidDefaultArgInFrom { base: String },
    /// `FROM --platform` with a constant.
    FromPlatformFlagConstDisallowed { platform: String },
    /// A source of `COPY` or `ADD` that the ignore file excludes.
    CopyIgnoredFile { instruction: &'static str, path: String },
    /// A comment above a definition that does not begin with its name.
    InvalidDefinitionDescription { instruction: &'static str, name: String },
    /// A protocol of `EXPOSE` with capital letters.
    ExposeProtoCasing { port: String },
    /// An address or a host port in `EXPOSE`.
    ExposeInvalidFormat { port: String },
}

impl Violation {
    /// The rule.
    pub fn rule(&self) -> &'static Rule {
        &RULES[self.id() as usize]
    }

    fn id(&self) -> Id {
        match self {
            Self::StageNameCasing { .. } => Id::StageNameCasing,
            Self::FromAsCasing { .. } => Id::FromAsCasing,
            Self::NoEmptyContinuation => Id::NoEmptyContinuation,
            Self::ConsistentInstructionCasing { .. } => Id::ConsistentInstructionCasing,
            Self::DuplicateStageName { .. } => Id::DuplicateStageName,
            Self::ReservedStageName { .. } => Id::ReservedStageName,
            Self::JsonArgsRecommended { .. } => Id::JsonArgsRecommended,
            Self::MaintainerDeprecated => Id::MaintainerDeprecated,
            Self::UndefinedArgInFrom { .. } => Id::UndefinedArgInFrom,
            Self::WorkdirRelativePath { .. } => Id::WorkdirRelativePath,
            Self::UndefinedVar { .. } => Id::UndefinedVar,
            Self::MultipleInstructionsDisallowed { .. } => Id::MultipleInstructionsDisallowed,
            Self::LegacyKeyValueFormat { .. } => Id::LegacyKeyValueFormat,
            Self::InvalidBaseImagePlatform { .. } => Id::InvalidBaseImagePlatform,
            Self::RedundantTargetPlatform { .. } => Id::RedundantTargetPlatform,
            Self::SecretsUsedInArgOrEnv { .. } => Id::SecretsUsedInArgOrEnv,
            Self::InvalidDefaultArgInFrom { .. } => Id::InvalidDefaultArgInFrom,
            Self::FromPlatformFlagConstDisallowed { .. } => Id::FromPlatformFlagConstDisallowed,
            Self::CopyIgnoredFile { .. } => Id::CopyIgnoredFile,
            Self::InvalidDefinitionDescription { .. } => Id::InvalidDefinitionDescription,
            Self::ExposeProtoCasing { .. } => Id::ExposeProtoCasing,
            Self::ExposeInvalidFormat { .. } => Id::ExposeInvalidFormat,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StageNameCasing { stage } => {
                write!(f, "Stage name '{stage}' should be lowercase")
            }
            Self::FromAsCasing { from, keyword } => {
                write!(f, "'{keyword}' and '{from}' keywords' casing do not match")
            }
            Self::NoEmptyContinuation => f.write_str("Empty continuation line"),
            Self::ConsistentInstructionCasing { instruction, majority } => write!(
                f,
                "Command '{instruction}' should match the case of the command majority ({majority})"
            ),
            Self::DuplicateStageName { stage } => {
                write!(f, "Duplicate stage name {}, stage names should be unique", quote(stage))
            }
            Self::ReservedStageName { stage } => write!(
                f,
                "Stage name should not use the same name as reserved stage {}",
                quote(stage)
            ),
            Self::JsonArgsRecommended { instruction } => write!(
                f,
                "JSON arguments recommended for {instruction} to prevent unintended behavior related to OS signals"
            ),
            Self::MaintainerDeprecated => {
                f.write_str("Maintainer instruction is deprecated in favor of using label")
            }
            Self::UndefinedArgInFrom { variable, suggestion } => {
                write!(f, "FROM argument '{variable}' is not declared")?;
                match suggestion {
                    Some(name) => write!(f, " (did you mean {name}?)"),
                    None => Ok(()),
                }
            }
            Self::WorkdirRelativePath { path } => write!(
                f,
                "Relative workdir {} can have unexpected results if the base image changes",
                quote(path)
            ),
            Self::UndefinedVar { variable, suggestion } => {
                write!(f, "Usage of undefined variable '${variable}'")?;
                match suggestion {
                    Some(name) => write!(f, " (did you mean ${name}?)"),
                    None => Ok(()),
                }
            }
            Self::MultipleInstructionsDisallowed { instruction } => write!(
                f,
                "Multiple {instruction} instructions should not be used in the same stage because only the last one will be used"
            ),
            Self::LegacyKeyValueFormat { instruction } => write!(
                f,
                "\"{instruction} key=value\" should be used instead of legacy \"{instruction} key value\" format"
            ),
            Self::InvalidBaseImagePlatform { image, expected, actual } => write!(
                f,
                "Base image {image} was pulled with platform {}, expected {} for current build",
                quote(actual),
                quote(expected)
            ),
            Self::RedundantTargetPlatform { platform } => write!(
                f,
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            ),
            Self::SecretsUsedInArgOrEnv { instruction, key } => write!(
                f,
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
                quote(key)
            ),
            Self::InvalidDefaultArgInFrom { base } => write!(
                f,
                "Default value for ARG {base} results in empty or invalid base image name"
            ),
            Self::FromPlatformFlagConstDisallowed { platform } => {
                write!(f, "FROM --platform flag should not use constant value {}", quote(platform))
            }
            Self::CopyIgnoredFile { instruction, path } => write!(
                f,
                "Attempting to {instruction} file {} that is excluded by .dockerignore",
                quote(path)
            ),
            Self::InvalidDefinitionDescription { instruction, name } => write!(
                f,
                "Comment for {instruction} should follow the format: `# {name} <description>`"
            ),
            Self::ExposeProtoCasing { port } => {
                write!(f, "Defined protocol '{port}' in EXPOSE instruction should be lowercase")
            }
            Self::ExposeInvalidFormat { port } => write!(
                f,
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            ),
        }
    }
}
