//! Scripts that complete words in shells.
//!
//! A shell and a program come in, a script goes out. Clap makes it of the flags; what may stand
//! behind them is listed here, since most of that is read as text. In Bash a word that has `=` in it is
//! several; a function around clap's puts it together.

use clap::builder::PossibleValuesParser;
use clap_complete::aot;

use crate::args::{ProgramName, Shell, command};

const CACHES: &[&str] =
    &["type=registry", "type=inline", "type=local", "type=s3", "type=gha", "type=azblob"];
const FORMATS: &[&str] = &["table", "json"];
const FRONTENDS: &[&str] = &["dockerfile.v0", "mockerfile.v0", "gateway.v0"];

/// What may stand behind a flag: the command's words, the flag, and the values.
const VALUES: &[(&str, &str, &[&str])] = &[
    (
        "kiln build",
        "output",
        &["type=image", "type=registry", "type=oci", "type=docker", "type=local", "type=tar"],
    ),
    ("kiln build", "export_cache", CACHES),
    ("kiln build", "import_cache", CACHES),
    ("kiln build", "progress", &["auto", "plain", "tty", "rawjson", "quiet"]),
    ("kiln build", "frontend", FRONTENDS),
    ("kiln build", "allow", &["network.host", "security.insecure", "device"]),
    ("kiln build", "ssh", &["default"]),
    (
        "kiln build",
        "platform",
        &[
            "linux/amd64",
            "linux/arm64",
            "linux/arm/v7",
            "linux/riscv64",
            "linux/s390x",
            "linux/ppc64le",
        ],
    ),
    ("kiln frontend pack", "output", &["store", "registry", "type=oci,dest=", "dir="]),
    ("kiln du", "format", FORMATS),
    ("kiln prune", "format", FORMATS),
    ("kiln why", "format", FORMATS),
    ("kiln doctor", "format", FORMATS),
    ("kiln history ls", "format", FORMATS),
    ("kiln debug workers", "format", FORMATS),
    ("kiln debug info", "format", FORMATS),
    ("kiln frontend conform", "format", FORMATS),
];

/// Puts a word with `=` in it together, and offers what stands behind the last one.
const BASH: &str = r#"
_kiln_words() {
    local line=${COMP_LINE:0:COMP_POINT}
    local word=${line##*[[:space:]]} flag value cut i
    value=$word
    case $word in
        --*=*)
            flag=${word%%=*}
            value=${word#*=}
            ;;
        *=*)
            flag=${line%"$word"}
            flag=${flag%"${flag##*[![:space:]]}"}
            flag=${flag##*[[:space:]]}
            ;;
        *)
            _kiln "$@"
            return
            ;;
    esac
    _kiln "$1" "$value" "$flag"
    compopt -o nospace 2>/dev/null
    if [[ $value == *=* ]]; then
        cut=${value%=*}=
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$cut"}
        done
    fi
}

complete -F _kiln_words -o bashdefault -o default kiln
"#;

/// The script for a shell.
pub(crate) fn script(shell: Shell, program: ProgramName) -> Vec<u8> {
    let (mut command, name) = match program {
        ProgramName::Kiln => (with_values(command(), ""), "kiln"),
        ProgramName::Kilnd => {
            let program = kiln_daemon::config::Program::Kilnd;
            (kiln_daemon::config::command(program), "kilnd")
        }
    };
    let mut script = Vec::new();
    let generator = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    aot::generate(generator, &mut command, name, &mut script);
    if (shell, program) == (Shell::Bash, ProgramName::Kiln) {
        script.extend_from_slice(BASH.as_bytes());
    }
    script
}

/// The same command, with the values of its flags as clap knows them.
fn with_values(command: clap::Command, above: &str) -> clap::Command {
    let path = format!("{above}{}", command.get_name());
    let values = |id: &str| {
        VALUES.iter().find(|(of, flag, _)| *of == path && *flag == id).map(|(_, _, values)| values)
    };
    command
        .mut_args(|arg| match values(arg.get_id().as_str()) {
            Some(values) => arg.value_parser(PossibleValuesParser::new(values.iter())),
            None => arg,
        })
        .mut_subcommands(|below| with_values(below, &format!("{path} ")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn text(shell: Shell, program: ProgramName) -> String {
        String::from_utf8(script(shell, program)).unwrap()
    }

    /// What Bash offers at the end of `line`.
    fn offered(line: &str) -> Vec<String> {
        // As Bash splits words, `=` is one.
        let words = line.replace('=', " = ");
        let program = format!(
            "{}\nCOMP_LINE='{line}' COMP_POINT={} COMP_WORDS=({words} {}) COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))\n\
             word=${{COMP_WORDS[COMP_CWORD]}}; [[ $word == = ]] && word=\n\
             $(complete -p kiln | sed 's/.*-F \\([^ ]*\\).*/\\1/') kiln \"$word\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            text(Shell::Bash, ProgramName::Kiln),
            line.len(),
            if line.ends_with(' ') { "''" } else { "" },
        );
        // It is longer than a command line may be.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), program).unwrap();
        let output = Command::new("bash").arg("--norc").arg(file.path()).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_what_stands_behind_an_equals_sign() {
        if Command::new("bash").arg("--version").output().is_err() {
            return;
        }
        assert!(offered("kiln bu").contains(&"build".to_owned()));
        assert!(offered("kiln build --out").contains(&"--output".to_owned()));
        let exporters = ["image", "registry", "oci", "docker", "local", "tar"];
        assert_eq!(offered("kiln build --output type="), exporters);
        assert_eq!(offered("kiln build . --output=type="), exporters);
        assert_eq!(offered("kiln build . -o type=o"), ["oci"]);
        assert_eq!(offered("kiln build . --cache-to type=re"), ["registry"]);
        assert_eq!(offered("kiln build . --progress=pl"), ["plain"]);
        assert_eq!(offered("kiln build . --progress pl"), ["plain"]);
        // Paths are the shell's own.
        assert_eq!(offered("kiln build . -o type=oci,dest=fo"), [""]);
    }

    #[test]
    fn every_shell_is_told_of_the_values_and_every_flag_with_values_exists() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = text(shell, ProgramName::Kiln);
            for word in ["type=oci", "rawjson", "history", "cache-to"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
            assert!(text(shell, ProgramName::Kilnd).contains("stop-timeout"));
        }
        for (path, flag, _) in VALUES {
            let mut command = command();
            for word in path.split(' ').skip(1) {
                command = command.find_subcommand(word).unwrap().clone();
            }
            let known = command.get_arguments().any(|arg| arg.get_id() == flag);
            assert!(known, "{path} has no {flag}");
        }
    }
}
