//! Platforms: what a process or an image needs of the machine (OCI image index, `platform`).
//!
//! Text such as `linux/arm/v7` or `darwin` comes in, normalised values go out. Formatting follows
//! containerd's `platforms` package, because the text is used as a key between programs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::null_is_default;
use crate::words::{excerpt, quoted};

/// An operating system, an architecture and what is special about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `amd64`, in Go's spelling.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Such as `linux`, in Go's spelling.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The version of the operating system, used by Windows images.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_version: String,
    /// Required features of the operating system, such as `win32k`.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// Such as `v7` for arm.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub variant: String,
}

/// Why a text is not a platform, in the words that users of Docker know.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformError {
    /// There is a `*` in it.
    #[error("{}: wildcards not yet supported: invalid argument", quoted(.0))]
    Wildcard(String),
    /// The part before the first slash is no operating system with a version and features.
    #[error(
        "{} is an invalid OS component of {}: OSAndVersion specifier component must match \
         \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.%-]*)((?:\\\\+[A-Za-z0-9_.%-]+)*)\\\\))?$\": invalid argument",
        quoted(.part), quoted(.text)
    )]
    System {
        /// The part.
        part: String,
        /// The whole text.
        text: String,
    },
    /// Another part is empty or has a character outside `A-Za-z0-9_.-`.
    #[error(
        "{} is an invalid component of {}: platform specifier component must match \
         \"^[A-Za-z0-9_.-]+$\": invalid argument",
        quoted(.part), quoted(.text)
    )]
    Part {
        /// The part.
        part: String,
        /// The whole text.
        text: String,
    },
    /// A version or a feature has a `%` that starts no escape.
    #[error("{} has an invalid OS version or feature: invalid argument", quoted(.0))]
    Escape(String),
    /// A single word that names neither an operating system nor an architecture.
    #[error("{}: unknown operating system or architecture: invalid argument", quoted(.0))]
    Unknown(String),
    /// More than three parts.
    #[error("{}: cannot parse platform specifier: invalid argument", quoted(.0))]
    TooManyParts(String),
}

/// Operating systems there are, as platforms name them.
pub const OPERATING_SYSTEMS: &[&str] = &[
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

/// Processors there are, as platforms name them.
pub const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
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
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
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
        self.os_features.sort_unstable();
        self.os_features.dedup();
        self
    }

    /// Reads `os[(version[+feature]*)][/architecture[/variant]]` as it is written: `linux/arm/7` is
    /// `linux/arm/v7`, but `linux/arm64/v8` keeps its variant. What is left out is the host's.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] if the text is no platform.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        if text.contains('*') {
            return Err(PlatformError::Wildcard(excerpt(text)));
        }
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let wrong = |part: &str| PlatformError::System { part: excerpt(part), text: excerpt(text) };
        let (name, options) = system(parts[0]).ok_or_else(|| wrong(parts[0]))?;
        let fine = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        if let Some(part) = parts[1..].iter().find(|part| !fine(part)) {
            return Err(PlatformError::Part { part: excerpt(part), text: excerpt(text) });
        }
        let mut words = options.split('+').map(unescaped);
        let words: Option<Vec<String>> = words.by_ref().collect();
        let mut words = words.ok_or_else(|| PlatformError::Escape(excerpt(text)))?.into_iter();
        let os = Self { os: name.into(), ..Self::default() }.normalized().os;
        let base = Self {
            os_version: words.next().unwrap_or_default(),
            os_features: words.filter(|feature| !feature.is_empty()).collect(),
            os,
            ..Self::default()
        };
        base.completed(&parts).ok_or_else(|| match parts.len() {
            1 => PlatformError::Unknown(excerpt(text)),
            _ => PlatformError::TooManyParts(excerpt(text)),
        })
    }

    /// With the architecture that the parts of a text name.
    fn completed(self, parts: &[&str]) -> Option<Self> {
        let with = |architecture: &str, variant: &str| {
            let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
            Self { architecture, variant, ..self.clone() }.normalized()
        };
        // Nobody wrote the variant that is the default, so it is not written here either.
        let unsaid = |mut platform: Self| {
            if platform.architecture == "arm" && platform.variant == "v7" {
                platform.variant.clear();
            }
            platform
        };
        match *parts {
            [_] if OPERATING_SYSTEMS.contains(&self.os.as_str()) => {
                let host = Self::host();
                Some(unsaid(with(&host.architecture, &host.variant)))
            }
            [word] => {
                let platform = Self { os: Self::host().os, ..unsaid(with(word, "")) };
                ARCHITECTURES.contains(&platform.architecture.as_str()).then_some(platform)
            }
            [_, architecture] => Some(unsaid(with(architecture, ""))),
            [_, architecture, variant] => {
                let mut platform = with(architecture, variant);
                if platform.architecture == "arm64" && platform.variant.is_empty() {
                    platform.variant = "v8".into();
                }
                Some(platform)
            }
            _ => None,
        }
    }

    /// `os/architecture[/variant]`.
    pub fn format(&self) -> String {
        self.joined(&self.os)
    }

    /// Like [`Platform::format`], with the version and the features of the operating system in
    /// parentheses behind its name; the key of `refs.platforms`.
    pub fn format_all(&self) -> String {
        let mut features: Vec<&str> = self.os_features.iter().map(String::as_str).collect();
        features.sort_unstable();
        features.dedup();
        let mut options = escaped(&self.os_version);
        for feature in features.into_iter().filter(|feature| !feature.is_empty()) {
            options.push('+');
            options.push_str(&escaped(feature));
        }
        match options.is_empty() {
            true => self.format(),
            false => self.joined(&format!("{}({options})", self.os)),
        }
    }

    fn joined(&self, os: &str) -> String {
        if self.os.is_empty() {
            return "unknown".into();
        }
        let parts = [os, &self.architecture, &self.variant];
        parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
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
            ("amd64", v) => {
                if let Some(v) = v.filter(|v| (2..10).contains(v)) {
                    list.extend((2..v).rev().map(|v| same(&format!("v{v}"))));
                    list.push(same(""));
                }
                list.push(("386".to_owned(), String::new()));
            }
            ("arm64", _) => {
                list = arm64_versions(&self.variant).iter().map(|version| same(version)).collect();
                // One that nobody knows runs nothing, not even itself.
                if !list.is_empty() {
                    list.extend((5..=8).rev().map(|v| ("arm".to_owned(), format!("v{v}"))));
                }
            }
            _ => {}
        }
        list
    }
}

/// The versions that a processor of an arm64 variant has, the newest first and as they are normalised:
/// all lower ones of its own row, and v9.N those of v8.(N+5) as well.
fn arm64_versions(variant: &str) -> Vec<String> {
    let row = |major: u8, minor: u8| {
        (0..=minor).rev().map(move |minor| match (major, minor) {
            (8, 0) => String::new(),
            (major, 0) => format!("v{major}"),
            (major, minor) => format!("v{major}.{minor}"),
        })
    };
    let version = match variant {
        "" => Some((8, 0)),
        "v9" => Some((9, 0)),
        _ => variant.strip_prefix('v').and_then(|version| {
            let (major, minor) = version.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        }),
    };
    match version {
        Some((8, minor)) if minor < 10 => row(8, minor).collect(),
        Some((9, minor)) if minor < 8 => row(9, minor).chain(row(8, (minor + 5).min(9))).collect(),
        _ => Vec::new(),
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses and normalises: `linux/arm64/v8` becomes `linux/arm64`.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text).map(Self::normalized)
    }
}

/// The name of an operating system, and what stands in the parentheses behind it.
fn system(part: &str) -> Option<(&str, &str)> {
    let (name, options) = match part.strip_suffix(')') {
        Some(part) => part.split_once('(')?,
        None => (part, ""),
    };
    let word = |text: &str, more: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c) || more.contains(c))
    };
    let mut words = options.split('+');
    let version = words.next().is_some_and(|version| word(version, ".%"));
    let features = words.all(|feature| !feature.is_empty() && word(feature, ".%"));
    (!name.is_empty() && word(name, "") && version && features).then_some((name, options))
}

/// An option of an operating system without its escapes; nothing if they are wrong.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | '+' | '(' | ')' | '/' => out.push_str(&format!("%{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
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
    fn images_serve_machines_as_in_containerd() {
        for (image, machine, rank) in [
            ("linux/386", "linux/amd64", Some(1)),
            ("linux/386", "linux/amd64/v3", Some(3)),
            ("linux/amd64/v1", "linux/amd64/v3", Some(2)),
            ("linux/amd64/v3", "linux/amd64", None),
            ("linux/amd64", "linux/386", None),
            ("linux/arm/v8", "linux/arm64", Some(1)),
            ("linux/arm/v5", "linux/arm64/v8", Some(4)),
            ("linux/arm64", "linux/arm64/v8.2", Some(2)),
            ("linux/arm64/v8.1", "linux/arm64/v9", Some(5)),
            ("linux/arm64/v8.6", "linux/arm64/v9", None),
            ("linux/arm64/v8.9", "linux/arm64/v9.7", Some(8)),
            ("linux/arm64/v10", "linux/arm64/v10", None),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
        ] {
            let image: Platform = image.parse().unwrap();
            assert_eq!(image.rank_for(&machine.parse().unwrap()), rank, "{image} on {machine}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a/b/c/d", "linux//amd64", "li nux/amd64", "toaster"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
