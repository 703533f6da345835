//! What the daemon's own environment says about clouds: logins, and defaults of attributes.

use std::collections::BTreeMap;

/// How the names of variables begin that have to do with clouds.
const PREFIXES: &[&str] = &["AWS_", "AZURE_", "BUILDKIT_AZURE_STORAGE_"];

/// Variables with names of their own.
const NAMES: &[&str] = &["GITHUB_API_URL", "HOME", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"];

/// Variables of the daemon that have to do with clouds. Values are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CloudEnvironment(BTreeMap<String, String>);

impl CloudEnvironment {
    /// Those of all variables that have to do with clouds.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let is_one = |name: &str| {
            NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let variables = variables.into_iter().filter(|(name, _)| is_one(name));
        Self(variables.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// A variable that says something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl std::fmt::Debug for CloudEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_to_do_with_clouds_is_taken_and_no_value_is_shown() {
        let all = [("AWS_REGION", "eu-1"), ("PATH", "/bin"), ("HOME", "/root"), ("AWS_BUCKET", "")];
        let all: BTreeMap<String, String> =
            all.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let environment = CloudEnvironment::of(&all);
        assert_eq!(environment.get("AWS_REGION"), Some("eu-1"));
        assert_eq!((environment.get("PATH"), environment.get("AWS_BUCKET")), (None, None));
        assert_eq!(format!("{environment:?}"), r#"{"AWS_BUCKET", "AWS_REGION", "HOME"}"#);
    }
}
