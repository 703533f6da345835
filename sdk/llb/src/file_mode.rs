//! Modes of files: numbers that are read and written as octal, and cannot be taken for others.

use std::fmt;
use std::str::FromStr;

/// The mode of a file, as `stat` has it: its permissions and, of a file that exists, its type.
///
/// Options take a number for one, `Mkdir::default().with_mode(0o750)`, and people write it in octal:
///
/// ```
/// use kiln_llb::FileMode;
///
/// let mode: FileMode = "0750".parse()?;
/// assert_eq!((mode, mode.to_string()), (FileMode::from(0o750), "0750".to_owned()));
/// # Ok::<(), kiln_llb::FileModeError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(u32);

/// Why a text is no mode.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a file mode, expected octal digits such as 0644")]
pub struct FileModeError(String);

const TYPE: u32 = 0o17_0000;
const REGULAR: u32 = 0o10_0000;
const DIRECTORY: u32 = 0o4_0000;
const SYMLINK: u32 = 0o12_0000;

impl FileMode {
    /// These bits.
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// A regular file with permissions.
    pub const fn file(permissions: u32) -> Self {
        Self(REGULAR | permissions)
    }

    /// A directory with permissions.
    pub const fn directory(permissions: u32) -> Self {
        Self(DIRECTORY | permissions)
    }

    /// A symbolic link.
    pub const fn symlink() -> Self {
        Self(SYMLINK | 0o777)
    }

    /// All bits, those of the type included.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The permissions, with the set-id and sticky bits.
    pub const fn permissions(self) -> u32 {
        self.0 & 0o7777
    }

    /// Whether it is a directory.
    pub const fn is_dir(self) -> bool {
        self.0 & TYPE == DIRECTORY
    }

    /// Whether it is a regular file.
    pub const fn is_file(self) -> bool {
        self.0 & TYPE == REGULAR
    }

    /// Whether it is a symbolic link.
    pub const fn is_symlink(self) -> bool {
        self.0 & TYPE == SYMLINK
    }
}

impl From<u32> for FileMode {
    fn from(bits: u32) -> Self {
        Self(bits)
    }
}

impl From<FileMode> for u32 {
    fn from(mode: FileMode) -> Self {
        mode.0
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, FileModeError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let bits = match digits.bytes().all(|digit| digit.is_ascii_digit()) {
            true => u32::from_str_radix(digits, 8).ok(),
            false => None,
        };
        let bits = bits.filter(|bits| bits & !(TYPE | 0o7777) == 0);
        bits.map(Self).ok_or_else(|| FileModeError(kiln_oci::excerpt(text)))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0{:o}", self.0)
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileMode({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for bits in [0, 0o7, 0o644, 0o4755, 0o10_0644, 0o14_0777, 0o17_7777] {
            let mode = FileMode::new(bits);
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("755".parse(), "0o755".parse::<FileMode>());
        assert_eq!(format!("{:?}", FileMode::file(0o600)), "FileMode(0100600)");
    }

    #[test]
    fn what_is_no_mode_is_quoted() {
        for text in ["", "0o", "0o+7", "+7", "-1", "08", "u=rw", "0x1ff", "1000000", "7 "] {
            let error = text.parse::<FileMode>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a file mode")), "{error}");
        }
    }

    #[test]
    fn a_mode_knows_the_type_of_its_file() {
        let modes = [FileMode::file(0o644), FileMode::directory(0o755), FileMode::symlink()];
        let types = modes.map(|mode| (mode.is_file(), mode.is_dir(), mode.is_symlink()));
        let (yes, no) = (true, false);
        assert_eq!(types, [(yes, no, no), (no, yes, no), (no, no, yes)]);
        assert_eq!(FileMode::file(0o4711).permissions(), 0o4711);
    }
}
