//! Platforms: what a process or an image needs of the machine (OCI image index, `platform`).
//!
//! Text such as `linux/arm/v7` or `darwin` comes in, normalised values go out. Formatting follows
//! containerd's `platforms` package, because the text is used as a key between programs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture and what is special about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `amd64`, in Go's spelling.
    pub architecture: String,
    /// Such as `linux`, in Go's spelling.
    pub os: String,
    /// The version of the operating system, used by Windows images.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Required features of the operating system, such as `win32k`.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Such as `v7` for arm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PlatformError {
    /// More than three parts, an empty part, or a character outside `A-Za-z0-9_.-`.
    #[error("`{0}` is not a platform, expected os/architecture[/variant] such as linux/amd64")]
    Malformed(String),
    /// A single word that names neither an operating system nor an architecture.
    #[error("`{0}` is neither a known operating system nor a known architecture")]
    Unknown(String),
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "wasm",
];

impl Platform {
    /// A platform by operating system and architecture, normalised.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.into(), architecture: architecture.into(), ..Self::default() }.normalized()
    }

    /// The platform this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// The same platform in the spelling that programs compare: `x86_64` is `amd64`, `arm64/v8` is
    /// `arm64`, `arm` is `arm/v7`.
    pub fn normalized(mut self) -> Self {
        self.os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".into(),
            os => os.into(),
        };
        let (architecture, variant) =
            (self.architecture.to_lowercase(), self.variant.to_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "x86", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (a, v) => (a, v),
        };
        (self.architecture, self.variant) = (architecture.to_owned(), variant.to_owned());
        self
    }

    /// `os/architecture[/variant]`.
    pub fn format(&self) -> String {
        let parts = [self.os.as_str(), &self.architecture, &self.variant];
        parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
    }

    /// Like [`Platform::format`], with the version of the operating system in parentheses behind
    /// its name; the key of `refs.platforms`.
    pub fn format_all(&self) -> String {
        if self.os_version.is_empty() {
            return self.format();
        }
        let os = format!("{}({})", self.os, self.os_version);
        Self { os, ..self.clone() }.format()
    }

    /// How well an image for `self` serves a machine that wants `wanted`: 0 is exact, higher is
    /// worse, `None` is not at all. The order is that of containerd's `platforms.Only`.
    pub fn rank_for(&self, wanted: &Self) -> Option<usize> {
        let (own, wanted) = (self.clone().normalized(), wanted.clone().normalized());
        if own.os != wanted.os {
            return None;
        }
        if own.os == "windows" && !wanted.os_version.is_empty() && !own.os_version.is_empty() {
            let build =
                |version: &str| version.splitn(4, '.').take(3).collect::<Vec<_>>().join(".");
            if build(&own.os_version) != build(&wanted.os_version) {
                return None;
            }
        }
        wanted.fallbacks().iter().position(|(architecture, variant)| {
            own.architecture == *architecture && own.variant == *variant
        })
    }

    /// Architectures and variants that a machine of this platform runs, best first.
    fn fallbacks(&self) -> Vec<(String, String)> {
        let same = |variant: &str| (self.architecture.clone(), variant.to_owned());
        let number = |text: &str| text.trim_start_matches('v').parse::<u8>().ok();
        let mut list = vec![same(&self.variant)];
        match (self.architecture.as_str(), number(&self.variant)) {
            ("arm", Some(v)) if v > 5 && v < 10 => {
                list.extend((5..v).rev().map(|v| same(&format!("v{v}"))));
            }
            ("amd64", Some(v)) if v > 1 && v < 10 => {
                list.extend((2..v).rev().map(|v| same(&format!("v{v}"))));
                list.push(same(""));
            }
            ("arm64", _) => {
                if !self.variant.is_empty() {
                    list.push(same(""));
                }
                list.extend((5..=8).rev().map(|v| ("arm".to_owned(), format!("v{v}"))));
            }
            _ => {}
        }
        list
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(text.chars().take(100).collect());
        let (text_without_version, os_version) = match text.split_once('(') {
            Some((os, rest)) => {
                let (version, rest) = rest.split_once(')').ok_or_else(malformed)?;
                (format!("{os}{rest}"), version.to_owned())
            }
            None => (text.to_owned(), String::new()),
        };
        let parts: Vec<&str> = text_without_version.split('/').collect();
        let fine = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        if parts.len() > 3 || !parts.iter().all(fine) {
            return Err(malformed());
        }
        let platform = match parts[..] {
            [word] => {
                let as_os = Self { os: word.into(), ..Self::default() }.normalized().os;
                let as_architecture = Self::new("linux", word);
                if SYSTEMS.contains(&as_os.as_str()) {
                    Self { os: as_os, ..Self::host() }
                } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    Self { os: Self::host().os, ..as_architecture }
                } else {
                    return Err(PlatformError::Unknown(word.into()));
                }
            }
            [os, architecture] => {
                Self { os: os.into(), architecture: architecture.into(), ..Self::default() }
            }
            [os, architecture, variant] => Self {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.into(),
                ..Self::default()
            },
            _ => return Err(malformed()),
        };
        Ok(Self { os_version, ..platform.normalized() })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_normalised() {
        for (text, want) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/i386", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().map(|p| p.format()), Ok(want.into()), "{text}");
        }
    }

    #[test]
    fn an_older_variant_serves_a_newer_machine_but_not_the_reverse() {
        let v7: Platform = "linux/arm/v7".parse().unwrap();
        let v6: Platform = "linux/arm/v6".parse().unwrap();
        assert_eq!(v6.rank_for(&v7), Some(1));
        assert_eq!(v7.rank_for(&v6), None);
        assert_eq!(v7.rank_for(&v7), Some(0));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a/b/c/d", "linux//amd64", "li nux/amd64", "toaster"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
