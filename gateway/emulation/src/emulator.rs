//! Emulators among the files of the machine.
//!
//! Only programs that need nothing beside them count: they run in the roots of images, which have
//! none of the machine's libraries.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;

/// How much of a file is read to know what it is; the headers of programs come first.
const HEAD_BYTES: u64 = 4096;
/// The kind of a segment that names the loader of a program which is not whole by itself.
const NEEDS_LOADER: u32 = 3;

/// A program that runs those of another architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the operator named it, and not just the machine had it.
    pub chosen: bool,
}

/// Where emulators are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// Files and directories that the operator names; they come first.
    pub chosen: Vec<PathBuf>,
    /// Directories with programs of the machine.
    pub directories: Vec<PathBuf>,
}

impl SearchPath {
    /// What the operator names, then the directories of a `PATH`, then where packages put emulators.
    pub fn new(chosen: Vec<PathBuf>, path: &str) -> Self {
        let named = path.split(':').filter(|it| it.starts_with('/'));
        let mut directories: Vec<PathBuf> = Vec::new();
        for directory in named.chain(["/usr/local/bin", "/usr/bin"]).map(PathBuf::from) {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        Self { chosen, directories }
    }

    /// The first emulator for an architecture that runs on this one.
    pub(crate) fn find(&self, wanted: &Architecture, own: &Architecture) -> Option<Emulator> {
        // The last is what BuildKit's images bring along.
        let names = [
            format!("qemu-{}-static", wanted.qemu),
            format!("qemu-{}", wanted.qemu),
            format!("buildkit-qemu-{}", wanted.qemu),
        ];
        let chosen = self.chosen.iter().flat_map(|path| {
            let file = names.iter().any(|name| path.ends_with(name)).then(|| path.clone());
            file.into_iter().chain(names.iter().map(|name| path.join(name)))
        });
        let found = self.directories.iter().flat_map(|it| names.iter().map(|name| it.join(name)));
        chosen
            .map(|path| (path, true))
            .chain(found.map(|path| (path, false)))
            .find(|(path, _)| is_whole(path, own))
            .map(|(path, chosen)| Emulator { path, chosen })
    }
}

/// Whether a file is a program of this machine that needs no other file.
fn is_whole(path: &Path, own: &Architecture) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && own.is_of(&head) && !needs_loader(&head)
}

/// Whether a program names a loader. Anything that is not understood does.
fn needs_loader(head: &[u8]) -> bool {
    let wide = head.get(4) == Some(&2);
    let big = head.get(5) == Some(&2);
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match big {
            true => bytes.iter().fold(0, push),
            false => bytes.iter().rev().fold(0, push),
        })
    };
    let (table, size, count) = match wide {
        true => (number(32, 8), number(54, 2), number(56, 2)),
        false => (number(28, 4), number(42, 2), number(44, 2)),
    };
    let (Some(table), Some(size), Some(count)) = (table, size, count) else { return true };
    (0..count).any(|index| {
        let at = index.checked_mul(size).and_then(|it| it.checked_add(table));
        let at = at.and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| number(at, 4)).is_none_or(|kind| kind == u64::from(NEEDS_LOADER))
    })
}
