//! `--build-context`: further contexts by name, as `docker build` has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::OptionError;

const FLAG: &str = "--build-context";

/// What the daemon fetches by itself.
const REMOTE: &[&str] =
    &["docker-image://", "http://", "https://", "git://", "ssh://", "git@", "target:"];

/// Tells the frontend of each context: what is remote as it is, a directory as a local one.
///
/// # Errors
///
/// If one is not `NAME=CONTEXT`, or is of a kind that is given otherwise.
pub(crate) fn named_contexts(
    texts: &[String],
    options: &mut BTreeMap<String, String>,
    locals: &mut BTreeMap<String, PathBuf>,
) -> Result<(), OptionError> {
    for text in texts {
        let error = |reason: &str| OptionError::new(FLAG, text, reason);
        let named =
            text.split_once('=').filter(|(name, what)| !name.is_empty() && !what.is_empty());
        let (name, what) = named.ok_or_else(|| error("should be name=context"))?;
        if what.starts_with("oci-layout://") {
            let reason = "give the layout with --oci-layout ID=PATH, and the context with \
                          --opt context:NAME=oci-layout://ID@DIGEST";
            return Err(error(reason));
        }
        let key = format!("context:{name}");
        if REMOTE.iter().any(|scheme| what.starts_with(scheme)) {
            options.insert(key, what.to_owned());
        } else {
            options.insert(key, format!("local:{name}"));
            locals.insert(name.to_owned(), PathBuf::from(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_given_and_the_rest_is_named() {
        let texts = ["src=../lib", "base=docker-image://alpine:3"].map(str::to_owned);
        let (mut options, mut locals) = (BTreeMap::new(), BTreeMap::new());
        named_contexts(&texts, &mut options, &mut locals).unwrap();
        assert_eq!(options["context:src"], "local:src");
        assert_eq!(options["context:base"], "docker-image://alpine:3");
        assert_eq!(locals, BTreeMap::from([("src".to_owned(), PathBuf::from("../lib"))]));
        for wrong in ["src", "=x", "a=oci-layout:///x"] {
            let texts = [wrong.to_owned()];
            assert!(named_contexts(&texts, &mut options, &mut locals).is_err(), "{wrong}");
        }
    }
}
