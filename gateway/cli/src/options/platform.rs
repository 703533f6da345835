//! Platforms as they are typed: what is a misspelt one is told, before anything is built for it.

use kiln_document::did_you_mean;
use kiln_oci::{ARCHITECTURES, OPERATING_SYSTEMS, Platform};

use super::OptionError;

/// Checks a list of platforms, separated by commas. A system or processor that nobody has heard of is
/// no mistake, unless it is nearly one that there is: images without a base may be for anything.
///
/// # Errors
///
/// For the first that is none, or that was nearly one.
pub(crate) fn check_platforms(flag: &'static str, list: &str) -> Result<(), OptionError> {
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let parsed = Platform::parse(text).map_err(|error| {
            let reason = error.to_string();
            OptionError::new(flag, text, reason.trim_end_matches(": invalid argument"))
        });
        // A word alone may be a system or a processor, and only then is it read.
        let platform = match (parsed, suggestion(text, OPERATING_SYSTEMS, ARCHITECTURES)) {
            (Ok(platform), _) => platform,
            (Err(error), Some(meant)) if !text.contains('/') => {
                let reason = format!("{}, did you mean {meant}?", error.reason);
                return Err(OptionError { reason, ..error });
            }
            (Err(error), _) => return Err(error),
        };
        let parts = [
            ("operating system", &platform.os, OPERATING_SYSTEMS),
            ("processor", &platform.architecture, ARCHITECTURES),
        ];
        for (what, part, known) in parts {
            if known.contains(&part.as_str()) {
                continue;
            }
            if let Some(meant) = suggestion(part, known, &[]) {
                let reason = format!("there is no {what} {part:?}, did you mean {meant}?");
                return Err(OptionError::new(flag, text, reason));
            }
        }
    }
    Ok(())
}

fn suggestion(
    word: &str,
    known: &'static [&'static str],
    more: &'static [&'static str],
) -> Option<&'static str> {
    did_you_mean(word, known.iter().chain(more).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str) -> String {
        check_platforms("--platform", list)
            .map_or_else(|error| error.to_string(), |()| "fine".into())
    }

    #[test]
    fn a_misspelt_platform_is_told_with_what_was_meant() {
        for (list, expected) in [
            ("linux/amd64, linux/arm64/v8,linux/arm/7", "fine"),
            ("arm64", "fine"),
            ("windows/amd64", "fine"),
            ("linux/mycpu-9000", "fine"),
            (
                "linux/amd64,linux/arm46",
                r#"--platform "linux/arm46": there is no processor "arm46", did you mean arm64?"#,
            ),
            (
                "linus/amd64",
                r#"--platform "linus/amd64": there is no operating system "linus", did you mean linux?"#,
            ),
            (
                "linx",
                r#"--platform "linx": "linx": unknown operating system or architecture, did you mean linux?"#,
            ),
        ] {
            assert_eq!(check(list), expected, "{list}");
        }
        assert!(check("linux/a/b/c").contains("cannot parse platform specifier"));
    }
}
