//! Whether a result is for the platforms that the client asked for. If not, the client is shown.

use std::collections::BTreeSet;

use kiln_bridge::Notice;
use kiln_oci::Platform;

/// The platforms that a client asks for: the option `platform`, a comma list. Without it that is the
/// platform of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedPlatforms {
    /// They as they are written.
    texts: Vec<String>,
    wanted: BTreeSet<String>,
    /// What is wrong with the list itself, for the client to see.
    problems: Vec<String>,
}

impl AskedPlatforms {
    /// Reads the option.
    pub(crate) fn parse(option: Option<&str>) -> Self {
        let own = Platform::host().format();
        let texts: Vec<String> = option.unwrap_or(&own).split(',').map(str::to_owned).collect();
        let mut wanted = BTreeSet::new();
        let mut problems = Vec::new();
        for text in &texts {
            match text.parse::<Platform>() {
                Ok(platform) if !wanted.insert(platform.clone().normalized().format_all()) => {
                    problems.push(format!("Duplicate platform result requested {text:?}"));
                }
                Ok(_) => {}
                Err(error) => {
                    problems.push(format!("Invalid platform result requested {text:?}: {error}"));
                }
            }
        }
        Self { texts, wanted, problems }
    }

    /// What is wrong with the platforms of a result, for the client to see.
    pub(crate) fn notices(&self, made: &[Platform], is_map: bool) -> Vec<Notice> {
        let mut said = self.problems.clone();
        if said.is_empty() {
            said.extend(mismatch(&self.texts, &self.wanted, made, is_map));
        }
        said.into_iter().map(notice).collect()
    }
}

fn mismatch(
    texts: &[String],
    wanted: &BTreeSet<String>,
    made: &[Platform],
    is_map: bool,
) -> Option<String> {
    let made: Vec<Platform> = made.iter().cloned().map(Platform::normalized).collect();
    if let ([platform], [text]) = (&made[..], texts) {
        // A version of the system is rarely asked for, and often there.
        let plain = Platform { os_version: String::new(), ..platform.clone() };
        let fits = [platform, &plain].iter().any(|made| wanted.contains(&made.format_all()));
        let result = platform.format_all();
        return (!fits).then(|| {
            format!("Requested platform {text:?} does not match result platform {result:?}")
        });
    }
    if !is_map && wanted.len() > 1 {
        return Some("Multiple platforms requested but result is not multi-platform".to_owned());
    }
    let found: BTreeSet<String> = made.iter().map(Platform::format_all).collect();
    let list = |platforms: &BTreeSet<String>| {
        platforms.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    };
    (*wanted != found).then(|| {
        let (wanted, found) = (list(wanted), list(&found));
        format!("Requested platforms {wanted} do not match result platforms {found}")
    })
}

fn notice(short: String) -> Notice {
    Notice {
        step: "verifying build result".into(),
        short,
        detail: "the result is taken as it is; ask for its platforms with --platform or \
                 --opt platform="
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_for_other_platforms_than_asked_for_are_shown() {
        let made = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let own = Platform::host().format();
        for (asked, platforms, is_map, words) in [
            (Some("linux/amd64,linux/arm64"), vec!["linux/amd64", "linux/arm64"], true, ""),
            (Some("linux/amd64"), vec!["linux/amd64"], false, ""),
            (None, vec![own.as_str()], false, ""),
            (Some("linux/amd64,linux/arm64"), vec!["linux/amd64"], false, "not multi-platform"),
            (Some("linux/arm64"), vec!["linux/amd64"], true, "does not match result platform"),
            (None, vec!["linux/amd64", "linux/arm64"], true, "platforms linux/amd64,linux/arm64"),
            (Some("linux/amd64,linux/x86_64"), vec!["linux/amd64"], true, "Duplicate platform"),
            (Some("toaster"), vec!["linux/amd64"], true, "Invalid platform"),
        ] {
            let platforms: Vec<Platform> = made(&platforms);
            let notices = AskedPlatforms::parse(asked).notices(&platforms, is_map);
            assert_eq!(notices.is_empty(), words.is_empty(), "{asked:?}: {notices:?}");
            assert!(notices.iter().all(|notice| notice.short.contains(words)), "{notices:?}");
        }
    }
}
