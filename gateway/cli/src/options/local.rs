//! `--local` and `--oci-layout`: directories by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::OptionError;

/// Reads `name=path` options.
///
/// # Errors
///
/// If one is of another form, or a name is given two paths.
pub(crate) fn named_paths(
    flag: &'static str,
    texts: &[String],
) -> Result<BTreeMap<String, PathBuf>, OptionError> {
    let mut paths = BTreeMap::new();
    for text in texts {
        let named =
            text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
        let Some((name, path)) = named else {
            return Err(OptionError::new(flag, text, "should be name=path"));
        };
        if paths
            .insert(name.to_owned(), PathBuf::from(path))
            .is_some_and(|old| old.as_os_str() != path)
        {
            return Err(OptionError::new(flag, text, format!("{name} has another path already")));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_path() {
        let paths = |texts: &[&str]| {
            named_paths("--local", &texts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(paths(&["a=b=c"]).unwrap()["a"], PathBuf::from("b=c"));
        assert!(paths(&["a"]).is_err());
        assert!(paths(&["a="]).is_err());
        assert!(paths(&["a=b", "a=c"]).is_err());
    }
}
