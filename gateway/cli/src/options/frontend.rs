//! `--opt`: options of the frontend.

use std::collections::BTreeMap;

use super::OptionError;
use crate::environment::Environment;

const EPOCH: &str = "SOURCE_DATE_EPOCH";
const BUILD_ARG: &str = "build-arg:";

/// Reads all options of a frontend; `build-arg:NAME` alone takes its value from the environment, or
/// is left out if there is none. `SOURCE_DATE_EPOCH` comes along by itself.
///
/// # Errors
///
/// If an option is not `key=value`.
pub(crate) fn frontend_options(
    texts: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, String>, OptionError> {
    let mut options = BTreeMap::new();
    if let Some(epoch) = environment.get_nonempty(EPOCH) {
        options.insert(format!("{BUILD_ARG}{EPOCH}"), epoch.to_owned());
    }
    for text in texts {
        match (text.split_once('='), text.strip_prefix(BUILD_ARG)) {
            (Some((key, value)), _) if !key.is_empty() => {
                options.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(name)) if !name.is_empty() => {
                if let Some(value) = environment.get(name) {
                    options.insert(text.clone(), value.to_owned());
                }
            }
            _ => return Err(OptionError::new("--opt", text, "should be key=value")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_arguments_come_from_the_environment() {
        let environment = Environment::with(&[("A", "1"), ("SOURCE_DATE_EPOCH", "5")]);
        let texts = ["build-arg:A", "build-arg:B", "x=y=z"].map(str::to_owned);
        let options = frontend_options(&texts, &environment).unwrap();
        let options: Vec<_> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            options,
            [("build-arg:A", "1"), ("build-arg:SOURCE_DATE_EPOCH", "5"), ("x", "y=z")]
        );
        assert!(frontend_options(&["target".to_owned()], &environment).is_err());
    }
}
