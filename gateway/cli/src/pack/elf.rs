//! The little of the ELF format that says what an executable needs to start.
//!
//! The bytes of a file come in; its machine, loader, libraries and search paths go out. Files are
//! hostile: every offset is checked, every count is bounded, nothing is trusted to end.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// No file needs more headers, libraries or longer names than these.
const MAX_PROGRAM_HEADERS: u64 = 1024;
const MAX_DYNAMIC_ENTRIES: u64 = 65_536;
const MAX_STRING: usize = 4096;
const MAX_LIBRARIES: usize = 1024;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What an executable or library needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// What it runs on.
    pub machine: Machine,
    /// The program that loads it, if it is not linked statically.
    pub interpreter: Option<OsString>,
    /// The libraries it names.
    pub needed: Vec<OsString>,
    /// Where it has them searched, after the environment.
    pub runpath: Vec<OsString>,
    /// Where it has them searched, before the environment.
    pub rpath: Vec<OsString>,
}

/// What a file runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The architecture, as ELF numbers them.
    pub number: u16,
    /// 64 bits, or 32.
    pub wide: bool,
    /// The most significant byte comes first.
    pub big_endian: bool,
}

/// Why a file cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ElfError {
    /// It does not begin as ELF does.
    #[error("not an ELF file")]
    NotElf,
    /// An offset points outside the file, or a count is beyond reason.
    #[error("damaged ELF file: {0}")]
    Damaged(&'static str),
}

/// Names of machines in image platforms.
const ARCHITECTURES: &[(u16, bool, bool, &str)] = &[
    (3, false, false, "386"),
    (8, true, true, "mips64"),
    (8, true, false, "mips64le"),
    (21, true, false, "ppc64le"),
    (22, true, true, "s390x"),
    (40, false, false, "arm"),
    (62, true, false, "amd64"),
    (183, true, false, "arm64"),
    (243, true, false, "riscv64"),
    (258, true, false, "loong64"),
];

impl Machine {
    /// Its name in image platforms.
    pub(crate) fn architecture(self) -> Option<&'static str> {
        let Self { number, wide, big_endian } = self;
        let row =
            ARCHITECTURES.iter().find(|row| (row.0, row.1, row.2) == (number, wide, big_endian));
        row.map(|row| row.3)
    }
}

/// The class, order and machine of a file, from its first bytes.
///
/// # Errors
///
/// If they are not those of an ELF file.
pub(crate) fn machine(start: &[u8]) -> Result<Machine, ElfError> {
    if start.get(..4) != Some(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let wide = match start.get(4) {
        Some(1) => false,
        Some(2) => true,
        _ => return Err(ElfError::Damaged("class")),
    };
    let big_endian = match start.get(5) {
        Some(1) => false,
        Some(2) => true,
        _ => return Err(ElfError::Damaged("byte order")),
    };
    let bytes = start.get(18..20).ok_or(ElfError::Damaged("header"))?;
    let number = if big_endian {
        u16::from_be_bytes([bytes[0], bytes[1]])
    } else {
        u16::from_le_bytes([bytes[0], bytes[1]])
    };
    Ok(Machine { number, wide, big_endian })
}

impl Elf {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// If it is no ELF file, or contradicts itself.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let machine = machine(bytes)?;
        let file = File { bytes, machine };
        let segments = file.segments()?;
        let interpreter = match segments.iter().find(|segment| segment.kind == PT_INTERP) {
            None => None,
            Some(segment) => {
                let path = file.slice(segment.offset, segment.size, "interpreter")?;
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                Some(os_string(&path[..end], "interpreter")?)
            }
        };
        let mut elf = Self { machine, interpreter, needed: vec![], runpath: vec![], rpath: vec![] };
        if let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
            elf.read_dynamic(&file, dynamic, &segments)?;
        }
        Ok(elf)
    }

    fn read_dynamic(
        &mut self,
        file: &File<'_>,
        dynamic: &Segment,
        segments: &[Segment],
    ) -> Result<(), ElfError> {
        let entries = file.dynamic_entries(dynamic)?;
        let table = entries.iter().find(|(tag, _)| *tag == DT_STRTAB);
        let Some((_, address)) = table else { return Ok(()) };
        let table = offset_of(*address, segments).ok_or(ElfError::Damaged("string table"))?;
        for (tag, value) in entries {
            match tag {
                DT_NEEDED if self.needed.len() >= MAX_LIBRARIES => {
                    return Err(ElfError::Damaged("number of libraries"));
                }
                DT_NEEDED => self.needed.push(os_string(file.string(table, value)?, "library")?),
                DT_RUNPATH => self.runpath = search_path(file.string(table, value)?),
                DT_RPATH => self.rpath = search_path(file.string(table, value)?),
                _ => {}
            }
        }
        Ok(())
    }
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

struct File<'a> {
    bytes: &'a [u8],
    machine: Machine,
}

impl<'a> File<'a> {
    fn slice(&self, offset: u64, size: u64, what: &'static str) -> Result<&'a [u8], ElfError> {
        let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
        let start = usize::try_from(offset).ok();
        start
            .zip(end)
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or(ElfError::Damaged(what))
    }

    /// An unsigned number of `size` bytes, at most 8.
    fn number(&self, offset: u64, size: u64, what: &'static str) -> Result<u64, ElfError> {
        let bytes = self.slice(offset, size, what)?;
        let join = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Ok(match self.machine.big_endian {
            true => bytes.iter().fold(0, join),
            false => bytes.iter().rev().fold(0, join),
        })
    }

    /// A number as wide as an address.
    fn word(&self, offset: u64, what: &'static str) -> Result<u64, ElfError> {
        self.number(offset, if self.machine.wide { 8 } else { 4 }, what)
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        const WHAT: &str = "program headers";
        let wide = self.machine.wide;
        let (table, size_at, count_at) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        let table = self.word(table, WHAT)?;
        let size = self.number(size_at, 2, WHAT)?;
        let count = self.number(count_at, 2, WHAT)?;
        if count > MAX_PROGRAM_HEADERS || (count > 0 && size < if wide { 56 } else { 32 }) {
            return Err(ElfError::Damaged(WHAT));
        }
        // kind, offset, address, size in the file
        let places = if wide { [0, 8, 16, 32] } else { [0, 4, 8, 16] };
        (0..count)
            .map(|index| {
                let at = table.checked_add(index * size).ok_or(ElfError::Damaged(WHAT))?;
                let at = |place: u64| at.checked_add(place).ok_or(ElfError::Damaged(WHAT));
                Ok(Segment {
                    kind: self.number(at(places[0])?, 4, WHAT)?,
                    offset: self.word(at(places[1])?, WHAT)?,
                    address: self.word(at(places[2])?, WHAT)?,
                    size: self.word(at(places[3])?, WHAT)?,
                })
            })
            .collect()
    }

    fn dynamic_entries(&self, dynamic: &Segment) -> Result<Vec<(u64, u64)>, ElfError> {
        const WHAT: &str = "dynamic section";
        let word = if self.machine.wide { 8 } else { 4 };
        // The whole section must be in the file; then no sum below can overflow.
        self.slice(dynamic.offset, dynamic.size, WHAT)?;
        let count = dynamic.size / (2 * word);
        if count > MAX_DYNAMIC_ENTRIES {
            return Err(ElfError::Damaged(WHAT));
        }
        let mut entries = Vec::new();
        for index in 0..count {
            let at = dynamic.offset + index * 2 * word;
            let entry = (self.word(at, WHAT)?, self.word(at + word, WHAT)?);
            if entry.0 == DT_NULL {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The string at `index` of the string table at `table`, without its NUL.
    fn string(&self, table: u64, index: u64) -> Result<&'a [u8], ElfError> {
        const WHAT: &str = "string table";
        let start = table.checked_add(index).and_then(|start| usize::try_from(start).ok());
        let rest =
            start.and_then(|start| self.bytes.get(start..)).ok_or(ElfError::Damaged(WHAT))?;
        let rest = &rest[..rest.len().min(MAX_STRING)];
        let end = rest.iter().position(|byte| *byte == 0).ok_or(ElfError::Damaged(WHAT))?;
        Ok(&rest[..end])
    }
}

/// Where in the file an address is.
fn offset_of(address: u64, segments: &[Segment]) -> Option<u64> {
    let holds = |segment: &&Segment| {
        segment.kind == PT_LOAD
            && address.checked_sub(segment.address).is_some_and(|inside| inside < segment.size)
    };
    let segment = segments.iter().find(holds)?;
    segment.offset.checked_add(address - segment.address)
}

fn os_string(bytes: &[u8], what: &'static str) -> Result<OsString, ElfError> {
    match bytes {
        [] => Err(ElfError::Damaged(what)),
        bytes if bytes.len() > MAX_STRING => Err(ElfError::Damaged(what)),
        bytes => Ok(OsString::from_vec(bytes.to_vec())),
    }
}

fn search_path(bytes: &[u8]) -> Vec<OsString> {
    let parts = bytes.split(|byte| *byte == b':').filter(|part| !part.is_empty());
    parts.map(|part| OsString::from_vec(part.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_names_its_loader_and_libraries() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.machine.wide, cfg!(target_pointer_width = "64"));
        let needed: Vec<_> = elf.needed.iter().map(|name| name.to_string_lossy()).collect();
        assert_eq!(elf.interpreter.is_some(), needed.iter().any(|name| name.contains("libc")));
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let whole = std::fs::read("/bin/true").unwrap();
        for length in (0..whole.len().min(4096)).chain([whole.len() - 1]) {
            Elf::parse(&whole[..length]).ok();
        }
        // Headers, and the dynamic section, with every byte wrong in turn.
        for index in 0..whole.len().min(2048) {
            let mut damaged = whole.clone();
            for value in [0, 0x7f, 0xff] {
                damaged[index] = value;
                Elf::parse(&damaged).ok();
            }
        }
    }

    #[test]
    fn what_is_not_elf_is_said_to_be() {
        assert_eq!(Elf::parse(b"#!/bin/sh\n"), Err(ElfError::NotElf));
        assert_eq!(Elf::parse(b""), Err(ElfError::NotElf));
        assert_eq!(Elf::parse(b"\x7fELF\x02"), Err(ElfError::Damaged("byte order")));
    }
}
