//! A list of a tree in place of most of the tree.
//!
//! [`Listing`] is what a receiver asks for. `List` writes down every entry as it is described, and
//! says which are placed: those that are wanted, each preceded by the directories above it that
//! nothing was placed in yet. All others are only noted. The list is a file of the destination.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_paths::Patterns;
use kiln_paths::pattern::Matched;
use kiln_pb::filetree::Stat;
use prost::Message;
use rustix::fs::{AtFlags, Mode};

use crate::destination::{contains, failed, too_much};
use crate::receive::ReceiveError;
use crate::{mode, path, sys};

/// The file of the destination that has the list: of each entry, in wire order, the length of its
/// description in four bytes, the least significant first, and the description as it travels. An entry of
/// this name is neither listed nor placed.
pub const NAME: &str = ".fsutil-metadata";

/// Places only some of a tree, and a list of everything.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What is placed: what fits one of these, or is below what does.
    pub files: Patterns,
}

/// The list while it is written.
pub(crate) struct List {
    files: Patterns,
    /// The directories above the entry that was described last, outermost first.
    above: Vec<Above>,
    output: BufWriter<File>,
    root: OwnedFd,
    /// The name it has until it is complete; empty afterwards.
    name: String,
}

struct Above {
    path: String,
    matched: Matched,
    /// Its number and description, until something in it is placed.
    waits: Option<(u32, Stat)>,
}

impl List {
    pub(crate) fn create(root: BorrowedFd<'_>, listing: &Listing) -> io::Result<Self> {
        let name = format!(".kiln-{}-list", std::process::id());
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        // One that another transfer left is in the way.
        rustix::fs::unlinkat(root, &name, AtFlags::empty()).ok();
        let file: File = rustix::fs::openat(root, &name, sys::CREATE, mode)?.into();
        // Whatever the mask of the process is.
        rustix::fs::fchmod(&file, mode)?;
        let root = root.try_clone_to_owned()?;
        let output = BufWriter::new(file);
        Ok(Self { files: listing.files.clone(), above: Vec::new(), output, root, name })
    }

    /// Notes an entry, and answers with what is to be placed now, in order.
    pub(crate) fn add(
        &mut self,
        id: u32,
        stat: Stat,
        depth: usize,
    ) -> Result<Vec<(u32, Stat)>, ReceiveError> {
        if contains(NAME, &stat.path) {
            return Ok(Vec::new());
        }
        let parent = path::parent(&stat.path);
        while self.above.last().is_some_and(|above| !contains(&above.path, parent)) {
            self.above.pop();
        }
        let above = self.above.last();
        if above.map_or("", |above| above.path.as_str()) != parent {
            let rule = "its directory was not described";
            return Err(ReceiveError::Entry { path: stat.path, rule });
        }
        if self.above.len() >= depth {
            return Err(too_much("directories inside each other", depth as u64));
        }
        let (wanted, matched) =
            self.files.matches_below(&stat.path, above.map(|above| &above.matched));
        self.note(&stat).map_err(|source| failed(NAME, source))?;
        let mut placed = Vec::new();
        if wanted {
            placed.extend(self.above.iter_mut().filter_map(|above| above.waits.take()));
        }
        if mode::is_directory(stat.mode) {
            let waits = (!wanted).then(|| (id, stat.clone()));
            self.above.push(Above { path: stat.path.clone(), matched, waits });
        }
        if wanted {
            placed.push((id, stat));
        }
        Ok(placed)
    }

    fn note(&mut self, stat: &Stat) -> io::Result<()> {
        let bytes = stat.encode_to_vec();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.output.write_all(&length.to_le_bytes())?;
        self.output.write_all(&bytes)
    }

    /// Gives the complete list its name, which nothing else may have.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        self.output.flush()?;
        rustix::fs::renameat(&self.root, &self.name, &self.root, NAME)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            rustix::fs::unlinkat(self.root.as_fd(), &self.name, AtFlags::empty()).ok();
        }
    }
}
