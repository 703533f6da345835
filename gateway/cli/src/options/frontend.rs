//! Options of the frontend: `--opt`, and the flags of `docker build` that are short for one.

use std::collections::BTreeMap;

use super::quantity::memory;
use super::{OptionError, check_platforms};
use crate::args::BuildArgs;
use crate::environment::Environment;

const EPOCH: &str = "SOURCE_DATE_EPOCH";
const BUILD_ARG: &str = "build-arg:";
const PLATFORM: &str = "platform";

/// Reads each `--opt`; `build-arg:NAME` alone takes its value from the environment, or is left out if
/// there is none. `SOURCE_DATE_EPOCH` comes along by itself.
///
/// # Errors
///
/// If an option is not `key=value`, or a platform was misspelt.
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
                if key == PLATFORM {
                    check_platforms("--opt", value)?;
                }
                options.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(name)) if !name.is_empty() => {
                build_arg(name, environment, &mut options);
            }
            _ => return Err(OptionError::new("--opt", text, "should be key=value")),
        }
    }
    Ok(options)
}

/// Reads all options of a build: each `--opt`, and the flags that are short for one. Where both say
/// the same, the flag holds.
///
/// # Errors
///
/// As [`frontend_options`], and if an argument or a label has no name.
pub(crate) fn build_options(
    args: &BuildArgs,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, OptionError> {
    let mut options = frontend_options(&args.opt, environment)?;
    for text in &args.build_arg {
        match text.split_once('=') {
            Some(("", _)) => {
                return Err(OptionError::new("--build-arg", text, "should be name=value"));
            }
            Some((name, value)) => {
                options.insert(format!("{BUILD_ARG}{name}"), value.to_owned());
            }
            None => build_arg(text, environment, &mut options),
        }
    }
    for text in &args.label {
        // As with `docker build`, a label may have no value.
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(OptionError::new("--label", text, "should be key=value"));
        }
        options.insert(format!("label:{key}"), value.to_owned());
    }
    if !args.platform.is_empty() {
        let list = args.platform.join(",");
        check_platforms("--platform", &list)?;
        options.insert(PLATFORM.to_owned(), list);
    }
    if let Some(target) = &args.target {
        options.insert("target".to_owned(), target.clone());
    }
    for_steps(args, &mut options)?;
    attestations(args, &mut options)?;
    if args.pull {
        options.insert("image-resolve-mode".to_owned(), "pull".to_owned());
    }
    Ok(options)
}

/// What holds for all steps.
fn for_steps(args: &BuildArgs, options: &mut BTreeMap<String, String>) -> Result<(), OptionError> {
    let mut option = |key: &str, value: String| options.insert(key.to_owned(), value);
    if let Some(mode) = &args.network {
        match mode.as_str() {
            "default" => {}
            "none" | "host" => {
                option("force-network-mode", mode.clone());
            }
            _ => {
                return Err(OptionError::new("--network", mode, "should be default, none or host"));
            }
        }
    }
    if !args.add_host.is_empty() {
        let host = |text: &String| match text.split_once([':', '=']) {
            Some((name, address)) if !name.is_empty() => Ok(format!("{name}={address}")),
            _ => Err(OptionError::new("--add-host", text, "should be name:address")),
        };
        let hosts: Vec<String> = args.add_host.iter().map(host).collect::<Result<_, _>>()?;
        option("add-hosts", hosts.join(","));
    }
    if let Some(text) = &args.shm_size {
        option("shm-size", memory("--shm-size", text)?.to_string());
    }
    if !args.ulimit.is_empty() {
        option("ulimit", args.ulimit.join(","));
    }
    if !args.no_cache_filter.is_empty() {
        option("no-cache", args.no_cache_filter.join(","));
    }
    Ok(())
}

/// What is said about the result.
fn attestations(
    args: &BuildArgs,
    options: &mut BTreeMap<String, String>,
) -> Result<(), OptionError> {
    let mut add = |kind: &str, attributes: &str| {
        let key = format!("attest:{kind}");
        match attributes {
            "false" | "disabled=true" => options.remove(&key),
            "true" | "disabled=false" => options.insert(key, String::new()),
            attributes => options.insert(key, attributes.to_owned()),
        };
    };
    for text in &args.attest {
        let (kind, attributes) = text.split_once(',').unwrap_or((text, ""));
        match kind.strip_prefix("type=") {
            Some(kind @ ("provenance" | "sbom")) => add(kind, attributes),
            _ => {
                let reason = "should be type=provenance or type=sbom, and attributes of it";
                return Err(OptionError::new("--attest", text, reason));
            }
        }
    }
    for (kind, attributes) in [("provenance", &args.provenance), ("sbom", &args.sbom)] {
        if let Some(attributes) = attributes {
            add(kind, attributes);
        }
    }
    Ok(())
}

/// An argument whose value the environment has.
fn build_arg(name: &str, environment: &Environment, options: &mut BTreeMap<String, String>) {
    if let Some(value) = environment.get(name) {
        options.insert(format!("{BUILD_ARG}{name}"), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut BuildArgs)) -> Result<String, String> {
        let environment = Environment::with(&[("A", "1"), ("SOURCE_DATE_EPOCH", "5")]);
        let mut args = BuildArgs::default();
        change(&mut args);
        let options = build_options(&args, &environment).map_err(|error| error.to_string())?;
        let mut pairs = options.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(pairs.by_ref().filter(|pair| !pair.contains("EPOCH")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn build_arguments_come_from_the_environment() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let found = options(|args| args.opt = texts(&["build-arg:A", "build-arg:B", "x=y=z"]));
        assert_eq!(found.unwrap(), "build-arg:A=1 x=y=z");
        let found = options(|args| args.build_arg = texts(&["A", "B", "C=", "D=a=b"]));
        assert_eq!(found.unwrap(), "build-arg:A=1 build-arg:C= build-arg:D=a=b");
        let epoch = Environment::with(&[("SOURCE_DATE_EPOCH", "5")]);
        let found = build_options(&BuildArgs::default(), &epoch).unwrap();
        assert_eq!(found["build-arg:SOURCE_DATE_EPOCH"], "5");
        assert!(options(|args| args.opt = texts(&["target"])).is_err());
    }

    #[test]
    fn flags_of_docker_are_options() {
        let found = options(|args| {
            args.opt = vec!["target=x".into()];
            args.target = Some("y".into());
            args.label = vec!["a=b=c".into(), "d".into()];
            args.platform = vec!["linux/amd64".into(), "linux/arm64".into()];
            args.pull = true;
        });
        assert_eq!(
            found.unwrap(),
            "image-resolve-mode=pull label:a=b=c label:d= platform=linux/amd64,linux/arm64 target=y"
        );
        let wrong = options(|args| args.opt = vec!["platform=linux/arm46".into()]);
        assert!(wrong.unwrap_err().contains("did you mean arm64?"));
        assert!(options(|args| args.build_arg = vec!["=x".into()]).is_err());
        assert!(options(|args| args.label = vec!["=x".into()]).is_err());
    }
}
