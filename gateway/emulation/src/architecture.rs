//! The processors that there are emulators for: their names, how the kernel knows their programs, and
//! the shortest program of each.
//!
//! One row per architecture. A program is known by the first bytes of its file (ELF: class, byte
//! order, type and machine); what differs between systems of one kind does not count.

/// The length of the part of an ELF header that tells programs apart.
const HEADER_BYTES: usize = 20;

/// Where the smallest programs are loaded: above what any kernel keeps to itself.
const ADDRESS: u64 = 0x40_0000;

/// An architecture that an emulator can stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// In the words of images, such as `arm64`.
    pub name: &'static str,
    /// In QEMU's words, such as `aarch64`.
    pub qemu: &'static str,
    /// Variants that the emulator runs besides the usual one.
    pub variants: &'static [&'static str],
    wide: bool,
    big: bool,
    machine: u16,
    flags: u32,
    /// Instructions that end a process with success.
    code: &'static [u8],
}

/// Every architecture, by how often it is asked for.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "amd64",
        qemu: "x86_64",
        variants: &["v2"],
        wide: true,
        big: false,
        machine: 62,
        flags: 0,
        code: b"\x31\xff\xb8\x3c\0\0\0\x0f\x05",
    },
    Architecture {
        name: "arm64",
        qemu: "aarch64",
        variants: &[],
        wide: true,
        big: false,
        machine: 183,
        flags: 0,
        code: b"\0\0\x80\xd2\xa8\x0b\x80\xd2\x01\0\0\xd4",
    },
    Architecture {
        name: "riscv64",
        qemu: "riscv64",
        variants: &[],
        wide: true,
        big: false,
        machine: 243,
        flags: 0,
        code: b"\x13\x05\0\0\x93\x08\xd0\x05\x73\0\0\0",
    },
    Architecture {
        name: "ppc64le",
        qemu: "ppc64le",
        variants: &[],
        wide: true,
        big: false,
        machine: 21,
        flags: 2,
        code: b"\x01\0\0\x38\0\0\x60\x38\x02\0\0\x44",
    },
    Architecture {
        name: "s390x",
        qemu: "s390x",
        variants: &[],
        wide: true,
        big: true,
        machine: 22,
        flags: 0,
        code: b"\xa7\x29\0\0\x0a\x01",
    },
    Architecture {
        name: "386",
        qemu: "i386",
        variants: &[],
        wide: false,
        big: false,
        machine: 3,
        flags: 0,
        code: b"\x31\xdb\xb8\x01\0\0\0\xcd\x80",
    },
    Architecture {
        name: "mips64le",
        qemu: "mips64el",
        variants: &[],
        wide: true,
        big: false,
        machine: 8,
        flags: 0x8000_0007,
        code: b"\xc2\x13\x02\x24\0\0\x04\x24\x0c\0\0\0",
    },
    Architecture {
        name: "loong64",
        qemu: "loongarch64",
        variants: &[],
        wide: true,
        big: false,
        machine: 258,
        flags: 0x43,
        code: b"\x04\0\x80\x02\x0b\x74\x81\x02\0\0\x2b\0",
    },
    Architecture {
        name: "arm",
        qemu: "arm",
        variants: &["v6", "v5"],
        wide: false,
        big: false,
        machine: 40,
        flags: 0x0500_0000,
        code: b"\0\0\xa0\xe3\x01\x70\xa0\xe3\0\0\0\xef",
    },
];

impl Architecture {
    /// The architecture of a platform, by its name in images.
    pub fn named(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|it| it.name == name)
    }

    /// How a program of it begins.
    pub fn magic(&self) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([if self.wide { 2 } else { 1 }, if self.big { 2 } else { 1 }, 1, 0]);
        bytes.extend([0; 8]);
        bytes.extend(self.half(2));
        bytes.extend(self.half(self.machine));
        bytes
    }

    /// Which bits of [`Self::magic`] count: all but the system that it was made for, and whether it
    /// can be loaded anywhere.
    pub fn mask(&self) -> Vec<u8> {
        let mut mask = vec![0xff; HEADER_BYTES];
        mask[7] = 0;
        mask[if self.big { 17 } else { 16 }] = 0xfe;
        mask
    }

    /// Whether a file that begins with these bytes is a program of it.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let magic = self.magic();
        bytes.len() >= HEADER_BYTES
            && self.mask().iter().zip(&magic).zip(bytes).all(|((m, a), b)| m & a == m & b)
    }

    /// The smallest program: it ends with success, and that is all.
    pub fn program(&self) -> Vec<u8> {
        let (header, entry) = if self.wide { (64, 56) } else { (52, 32) };
        let start = header + entry;
        let end = start + self.code.len() as u64;
        let mut file = self.magic();
        file.extend(self.word(1));
        file.extend(self.address(ADDRESS + start));
        file.extend(self.address(header));
        file.extend(self.address(0));
        file.extend(self.word(self.flags));
        for number in [header as u16, entry as u16, 1, 0, 0, 0] {
            file.extend(self.half(number));
        }
        // One segment: the whole file, to be read and executed.
        file.extend(self.word(1));
        if self.wide {
            file.extend(self.word(5));
        }
        for number in [0, ADDRESS, ADDRESS, end, end] {
            file.extend(self.address(number));
        }
        if !self.wide {
            file.extend(self.word(5));
        }
        file.extend(self.address(0x1_0000));
        file.extend(self.code);
        file
    }

    fn half(&self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn word(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A number as wide as an address.
    fn address(&self, value: u64) -> Vec<u8> {
        match (self.wide, self.big) {
            (true, true) => value.to_be_bytes().to_vec(),
            (true, false) => value.to_le_bytes().to_vec(),
            (false, _) => self.word(value as u32).to_vec(),
        }
    }
}
