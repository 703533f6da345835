//! How programs of another architecture are run: what a caller says, and what the kernel is told.
//!
//! The kernel hands a program to an emulator by its first bytes (`binfmt_misc`). Its table of the
//! machine is everybody's and is not touched here: since Linux 6.7 a user namespace may have a table
//! of its own, and processes that are moved to such a namespace see that one. The namespace has the
//! ids of the one around it, each as it is, so a process in it owns what it owned.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How programs of another architecture are run in a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emulation {
    /// By the kernel, which hands them to emulators by a table of the process' own. All programs that
    /// the process starts are run so, too.
    ///
    /// For the process this is a user namespace: it can then make no device nodes and open no raw
    /// sockets, and listens on low ports only in a network of its own. All else is as without.
    Private(Vec<Registration>),
    /// By putting this emulator before the program. It then cannot start programs of its own
    /// architecture, unless the emulator sees to that: for kernels that have no such tables.
    Explicit(PathBuf),
}

/// Which programs the kernel hands to an emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The name of the entry, without slashes and colons.
    pub name: String,
    /// How the programs begin.
    pub magic: Vec<u8>,
    /// Which bits of that count; as long as `magic`.
    pub mask: Vec<u8>,
    /// The emulator: a program that needs no other file. It is opened once, so it need not be in the
    /// roots of processes.
    pub interpreter: PathBuf,
}

impl Registration {
    /// The line by which the kernel learns of it.
    ///
    /// The emulator is kept open (`F`), is told the program's own idea of its name (`P`) and given the
    /// program opened (`O`), so that one that may be executed and not read runs, too. Rights that a
    /// program's file gives are the program's (`C`), not the emulator's: `su` and `sudo` work.
    pub fn line(&self) -> Vec<u8> {
        let escaped = |bytes: &[u8]| bytes.iter().map(|it| format!("\\x{it:02x}")).collect();
        let (magic, mask): (String, String) = (escaped(&self.magic), escaped(&self.mask));
        let interpreter = self.interpreter.display();
        format!(":{}:M::{magic}:{mask}:{interpreter}:POCF", self.name).into_bytes()
    }
}
