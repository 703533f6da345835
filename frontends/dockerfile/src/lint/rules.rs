//! The table of rules.

/// A rule of the linter.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name that `check=skip=` takes.
    pub name: &'static str,
    /// What the rule asks for, in one sentence.
    pub description: &'static str,
    /// Where it is explained; empty for a rule without a page.
    pub url: &'static str,
    /// The rule applies only where it was asked for.
    pub experimental: bool,
}

macro_rules! rules {
    ($($id:ident $name:literal $url:literal $description:literal $($experimental:ident)?;)*) => {
        /// Every rule, by number.
        pub static RULES: &[Rule] = &[$(Rule {
            name: $name,
            description: $description,
            url: $url,
            experimental: rules!(@flag $($experimental)?),
        }),*];

        /// The number of a rule in [`RULES`].
        #[derive(Clone, Copy)]
        pub(super) enum Id { $($id),* }
    };
    (@flag) => { false };
    (@flag experimental) => { true };
}

rules! {
    StageNameCasing "StageNameCasing"
        "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"
        "Stage names should be lowercase";
    FromAsCasing "FromAsCasing"
        "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"
        "The 'as' keyword should match the case of the 'from' keyword";
    NoEmptyContinuation "NoEmptyContinuation"
        "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"
        "Empty continuation lines will become errors in a future release";
    ConsistentInstructionCasing "ConsistentInstructionCasing"
        "https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"
        "All commands within the Dockerfile should use the same casing (either upper or lower)";
    DuplicateStageName "DuplicateStageName"
        "https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"
        "Stage names should be unique";
    ReservedStageName "ReservedStageName"
        "https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"
        "Reserved words should not be used as stage names";
    JsonArgsRecommended "JSONArgsRecommended"
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MaintainerDeprecated "MaintainerDeprecated"
        "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    UndefinedArgInFrom "UndefinedArgInFrom"
        "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"
        "FROM command must use declared ARGs";
    WorkdirRelativePath "WorkdirRelativePath"
        "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    UndefinedVar "UndefinedVar"
        "https://docs.docker.com/go/dockerfile/rule/undefined-var/"
        "Variables should be defined before their use";
    MultipleInstructionsDisallowed "MultipleInstructionsDisallowed"
        "https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"
        "Multiple instructions of the same type should not be used in the same stage";
    LegacyKeyValueFormat "LegacyKeyValueFormat"
        "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"
        "Legacy key/value format with whitespace separator should not be used";
    InvalidBaseImagePlatform "InvalidBaseImagePlatform"
        ""
        "Base image platform does not match expected target platform";
    RedundantTargetPlatform "RedundantTargetPlatform"
        "https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv "SecretsUsedInArgOrEnv"
        "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"
        "Sensitive data should not be used in the ARG or ENV commands";
    InvalidDefaultArgInFrom "InvalidDefaultArgInFrom"
        "https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"
        "Default value for global ARG results in an empty or invalid base image name";
    FromPlatformFlagConstDisallowed "FromPlatformFlagConstDisallowed"
        "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/"
        "FROM --platform flag should not use a constant value";
    CopyIgnoredFile "CopyIgnoredFile"
        "https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/"
        "Attempting to Copy file that is excluded by .dockerignore";
    InvalidDefinitionDescription "InvalidDefinitionDescription"
        "https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/"
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
        experimental;
    ExposeProtoCasing "ExposeProtoCasing"
        "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"
        "Protocol in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat "ExposeInvalidFormat"
        "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
}
