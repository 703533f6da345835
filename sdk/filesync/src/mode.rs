//! File modes: the wire has Go's `os.FileMode` layout, the kernel has `st_mode`.
//!
//! Both directions are total: bits with no counterpart are dropped, an irregular file on the wire
//! becomes a type of zero, which no caller can mistake for a real one.

/// A directory.
pub const DIRECTORY: u32 = 1 << 31;
/// A symbolic link.
pub const SYMLINK: u32 = 1 << 27;
/// A device; a block device unless [`CHARACTER_DEVICE`] is set as well.
pub const DEVICE: u32 = 1 << 26;
/// A named pipe.
pub const PIPE: u32 = 1 << 25;
/// A socket.
pub const SOCKET: u32 = 1 << 24;
/// Set-user-id.
pub const SETUID: u32 = 1 << 23;
/// Set-group-id.
pub const SETGID: u32 = 1 << 22;
/// A character device, together with [`DEVICE`].
pub const CHARACTER_DEVICE: u32 = 1 << 21;
/// Sticky.
pub const STICKY: u32 = 1 << 20;
/// Something that is none of the others.
pub const IRREGULAR: u32 = 1 << 19;
/// All type bits; a regular file has none.
pub const TYPE: u32 = DIRECTORY | SYMLINK | DEVICE | PIPE | SOCKET | CHARACTER_DEVICE | IRREGULAR;

/// Type bits, wire and kernel.
const TYPES: &[(u32, u32)] = &[
    (0, libc::S_IFREG),
    (DIRECTORY, libc::S_IFDIR),
    (SYMLINK, libc::S_IFLNK),
    (DEVICE, libc::S_IFBLK),
    (DEVICE | CHARACTER_DEVICE, libc::S_IFCHR),
    (PIPE, libc::S_IFIFO),
    (SOCKET, libc::S_IFSOCK),
];

/// Permission bits above `0o777`, wire and kernel.
const SPECIAL: &[(u32, u32)] =
    &[(SETUID, libc::S_ISUID), (SETGID, libc::S_ISGID), (STICKY, libc::S_ISVTX)];

/// The wire's mode for an `st_mode`.
pub fn from_posix(st_mode: u32) -> u32 {
    let kind = TYPES
        .iter()
        .find(|(_, posix)| *posix == st_mode & libc::S_IFMT)
        .map_or(IRREGULAR, |(wire, _)| *wire);
    SPECIAL.iter().fold(kind | (st_mode & 0o777), |mode, (wire, posix)| {
        if st_mode & posix == 0 { mode } else { mode | wire }
    })
}

/// The `st_mode` for a mode of the wire.
pub fn to_posix(mode: u32) -> u32 {
    let kind = TYPES.iter().find(|(wire, _)| *wire == mode & TYPE).map_or(0, |(_, posix)| *posix);
    kind | permissions(mode)
}

/// The kernel's permission bits (`0o7777`) for a mode of the wire.
pub fn permissions(mode: u32) -> u32 {
    SPECIAL.iter().fold(
        mode & 0o777,
        |bits, (wire, posix)| if mode & wire == 0 { bits } else { bits | posix },
    )
}

/// Whether the mode is that of a regular file.
pub fn is_regular(mode: u32) -> bool {
    mode & TYPE == 0
}

/// Whether the mode is that of a directory.
pub fn is_directory(mode: u32) -> bool {
    mode & TYPE == DIRECTORY
}

/// Whether the mode is that of a symbolic link.
pub fn is_symlink(mode: u32) -> bool {
    mode & TYPE == SYMLINK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_survive_both_ways() {
        let cases = [
            (0o100_644, 0o644),
            (0o040_755, DIRECTORY | 0o755),
            (0o120_777, SYMLINK | 0o777),
            (0o104_755, SETUID | 0o755),
            (0o102_755, SETGID | 0o755),
            (0o041_777, DIRECTORY | STICKY | 0o777),
            (0o060_660, DEVICE | 0o660),
            (0o020_666, DEVICE | CHARACTER_DEVICE | 0o666),
            (0o010_600, PIPE | 0o600),
            (0o140_777, SOCKET | 0o777),
        ];
        for (posix, wire) in cases {
            assert_eq!(from_posix(posix), wire, "{posix:o}");
            assert_eq!(to_posix(wire), posix, "{wire:x}");
        }
    }

    #[test]
    fn an_unknown_type_is_never_a_regular_file() {
        assert!(!is_regular(from_posix(0o170_644)));
        assert_eq!(to_posix(IRREGULAR | 0o644) & libc::S_IFMT, 0);
    }
}
