//! Ways of writing flags that Go's programs take and clap does not.
//!
//! Arguments come in and go out. Under the name `buildctl` scripts may write `-frontend`, and
//! everywhere they may write `--wait=true`.

use std::ffi::OsString;
use std::path::Path;

/// The name the program was started under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Program {
    /// Its own.
    #[default]
    Kiln,
    /// BuildKit's client.
    Buildctl,
}

const BOOLEAN_FLAGS: &[&str] = &[
    "--all",
    "--debug",
    "--dot",
    "--load",
    "--network",
    "--network-none",
    "--no-cache",
    "--no-conform",
    "--offline",
    "--print",
    "--proxy-network",
    "--pull",
    "--push",
    "--quiet",
    "--svg",
    "--unconfined-plugins",
    "--verbose",
    "--wait",
    "--watch",
];

impl Program {
    /// Reads the name from the first argument of the process.
    pub(crate) fn of(argument: &OsString) -> Self {
        match Path::new(argument).file_stem().and_then(|stem| stem.to_str()) {
            Some("buildctl") => Self::Buildctl,
            _ => Self::Kiln,
        }
    }
}

/// Rewrites Go's ways of writing flags; what follows `--` stays as it is.
pub(crate) fn normalize(program: Program, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut literal = false;
    let mut normal = Vec::with_capacity(arguments.len());
    for argument in arguments {
        literal |= argument == "--";
        match argument.to_str().filter(|_| !literal) {
            Some(text) => normal.extend(respell(program, text).map(OsString::from)),
            None => normal.push(argument),
        }
    }
    normal
}

fn respell(program: Program, text: &str) -> Option<String> {
    let short = text.starts_with('-') && !text.starts_with("--");
    // A flag of one letter is a flag of one letter in both worlds.
    let single_dash = program == Program::Buildctl
        && short
        && text.chars().nth(1).is_some_and(char::is_alphabetic)
        && text.chars().nth(2).is_some_and(|c| c != '=');
    let text = if single_dash { format!("-{text}") } else { text.to_owned() };
    match text.split_once('=') {
        Some((flag, "true" | "1")) if BOOLEAN_FLAGS.contains(&flag) => Some(flag.to_owned()),
        Some((flag, "false" | "0")) if BOOLEAN_FLAGS.contains(&flag) => None,
        _ => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: Program, arguments: &str, expected: &str) {
        let arguments = arguments.split(' ').map(OsString::from).collect();
        let normal = normalize(program, arguments);
        let normal: Vec<_> = normal.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(normal.join(" "), expected);
    }

    #[test]
    fn buildctl_takes_long_flags_with_one_dash() {
        check(
            Program::Buildctl,
            "build -frontend=x -o - -o=out -output a -- -frontend",
            "build --frontend=x -o - -o=out --output a -- -frontend",
        );
        check(Program::Kiln, "build -fx -vv", "build -fx -vv");
    }

    #[test]
    fn booleans_may_have_values() {
        check(
            Program::Kiln,
            "prune --all=true --verbose=false --wait=maybe",
            "prune --all --wait=maybe",
        );
    }

    #[test]
    fn the_name_of_the_program_is_the_last_part_of_its_path() {
        assert_eq!(Program::of(&"/usr/bin/buildctl".into()), Program::Buildctl);
        assert_eq!(Program::of(&"kiln".into()), Program::Kiln);
    }
}
