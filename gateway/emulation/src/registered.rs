//! What the kernel of the machine hands to interpreters: the entries of its `binfmt_misc`.
//!
//! They are read and never written: they are everybody's on the machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;

/// Where the machine shows its entries.
const PLACE: &str = "/proc/sys/fs/binfmt_misc";

/// An entry of the machine's `binfmt_misc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Its name, such as `qemu-aarch64`.
    pub name: String,
    /// The program that runs what it matches.
    pub interpreter: PathBuf,
    /// Whether it is in force.
    pub enabled: bool,
    /// Whether the kernel keeps the interpreter open, so that it need not be in the root of a process.
    pub fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registered {
    /// All entries of the machine; none where they are not shown.
    pub(crate) fn all() -> Vec<Self> {
        // The whole of it can be switched off.
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        if read(&Path::new(PLACE).join("status")).trim() != "enabled" {
            return Vec::new();
        }
        let mut names: Vec<PathBuf> =
            fs::read_dir(PLACE).into_iter().flatten().flatten().map(|it| it.path()).collect();
        names.sort();
        names
            .iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                let ours = !["register", "status"].contains(&name);
                ours.then(|| Self::parse(name, &read(path)))?
            })
            .collect()
    }

    /// Reads an entry as the kernel shows it.
    pub fn parse(name: &str, text: &str) -> Option<Self> {
        let mut entry = Self { name: name.to_owned(), ..Self::default() };
        for line in text.lines() {
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "enabled" => entry.enabled = true,
                "interpreter" => entry.interpreter = value.into(),
                "flags:" => entry.fixed = value.contains('F'),
                "offset" => entry.offset = value.parse().ok()?,
                "magic" => entry.magic = bytes(value)?,
                "mask" => entry.mask = bytes(value)?,
                _ => {}
            }
        }
        (!entry.interpreter.as_os_str().is_empty()).then_some(entry)
    }

    /// Whether programs of an architecture are handed to it, wherever they are.
    pub fn runs(&self, architecture: &Architecture) -> bool {
        self.enabled && self.fixed && self.matches(architecture)
    }

    /// Whether it is about programs of an architecture.
    pub fn matches(&self, architecture: &Architecture) -> bool {
        let sample = architecture.program();
        let Some(found) = sample.get(self.offset..) else { return false };
        // An entry by the end of a file's name has no magic.
        !self.magic.is_empty()
            && found.len() >= self.magic.len()
            && self.magic.iter().zip(found).enumerate().all(|(index, (magic, found))| {
                let mask = self.mask.get(index).unwrap_or(&0xff);
                magic & mask == found & mask
            })
    }
}

/// Two digits for each byte.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
