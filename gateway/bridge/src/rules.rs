//! Which frontends builds may use.
//!
//! What the daemon's configuration says comes in, as names and repositories; a frontend that may not
//! be used is an error that names the key which says so.

use std::collections::BTreeSet;

use kiln_oci::Reference;
use kiln_wire::pb;

/// Which frontends builds may use; all of them, unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendRules {
    /// Names of frontends that may not be used; `gateway.v0` is all that are images.
    pub disabled: BTreeSet<String>,
    /// Repositories that images of frontends may come from, such as `docker.io/docker/dockerfile`.
    /// All, if there are none.
    pub allowed_repositories: Vec<String>,
}

/// Why a frontend may not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is disabled.
    #[error(
        "frontend {name} not found: the daemon's configuration disables it (frontend.\"{name}\".enabled)"
    )]
    Disabled {
        /// Its name.
        name: String,
    },
    /// It comes from a repository that is not on the list.
    #[error(
        "'{source_name}' is not an allowed gateway source (frontend.\"gateway.v0\".allowedRepositories)"
    )]
    Repository {
        /// The image.
        source_name: String,
    },
}

impl FrontendRules {
    /// Whether a frontend may be used at all.
    ///
    /// # Errors
    ///
    /// If it may not.
    pub fn check_name(&self, name: &str) -> Result<(), RuleError> {
        match self.disabled.contains(name) {
            true => Err(RuleError::Disabled { name: name.to_owned() }),
            false => Ok(()),
        }
    }

    /// Whether an image may be a frontend, by its repository; tags do not count.
    ///
    /// # Errors
    ///
    /// If it may not, or is no image where the list says which are allowed.
    pub fn check_image(&self, source: &str) -> Result<(), RuleError> {
        let allowed = || {
            let name = Reference::parse_untagged(source).ok()?.name();
            self.allowed_repositories.contains(&name).then_some(())
        };
        match self.allowed_repositories.is_empty() || allowed().is_some() {
            true => Ok(()),
            false => Err(RuleError::Repository { source_name: source.to_owned() }),
        }
    }

    /// Whether what a client gives instead of an image may be a frontend. Otherwise the list would
    /// be one of names only, for whatever content.
    ///
    /// # Errors
    ///
    /// As for [`Self::check_image`]; a layout of the client's is from no repository.
    pub fn check_given(&self, given: &pb::SourceOp) -> Result<(), RuleError> {
        let image = given.identifier.strip_prefix("docker-image://");
        self.check_image(image.unwrap_or(&given.identifier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> FrontendRules {
        FrontendRules {
            disabled: ["dockerfile.v0".to_owned()].into(),
            allowed_repositories: vec![
                "docker.io/docker/dockerfile".into(),
                "docker.io/library/front".into(),
            ],
        }
    }

    #[test]
    fn a_disabled_frontend_is_named_with_its_key() {
        assert_eq!(rules().check_name("mockerfile.v0"), Ok(()));
        let error = rules().check_name("dockerfile.v0").unwrap_err().to_string();
        assert!(error.contains("frontend.\"dockerfile.v0\".enabled"), "{error}");
    }

    #[test]
    fn repositories_are_compared_without_tags_and_as_docker_names_them() {
        for allowed in ["front", "front:2", "docker.io/docker/dockerfile:1-labs"] {
            assert_eq!(rules().check_image(allowed), Ok(()), "{allowed}");
        }
        for refused in
            ["example.com/front", "front/front", "docker/dockerfile-upstream", "UPPER", ""]
        {
            assert!(rules().check_image(refused).is_err(), "{refused}");
            assert_eq!(FrontendRules::default().check_image(refused), Ok(()));
        }
    }

    #[test]
    fn what_a_client_gives_instead_of_an_image_is_no_way_around() {
        let given = |identifier: &str| {
            rules()
                .check_given(&pb::SourceOp { identifier: identifier.into(), ..Default::default() })
        };
        assert_eq!(given("docker-image://docker.io/library/front:2"), Ok(()));
        assert!(given("docker-image://docker.io/library/other").is_err());
        assert!(given("oci-layout://docker.io/library/front@sha256:00").is_err());
    }
}
