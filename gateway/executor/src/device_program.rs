//! The kernel program that decides which devices a control group of version 2 may use.
//!
//! Version 1 has a list of rules in files for that; version 2 runs a program for each attempt. It
//! is assembled here from the same table, as numbers only; [`crate::sys`] loads it.

use crate::container::Usable;

/// The kernel's words for an attempt: access in the upper half, kind in the lower.
const ACCESS_MAKE: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const KIND_BLOCK: i32 = 1;
const KIND_CHARACTER: i32 = 2;

/// Offsets of what the program is given.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Operations of the kernel's machine.
const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SHIFT_RIGHT: u8 = 0x77;
const AND: u8 = 0x57;
const SET: u8 = 0xb7;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

/// Registers: the answer, the attempt, and three to work with.
const ANSWER: u8 = 0;
const ATTEMPT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const NUMBER: u8 = 4;

/// A program that lets any node be made and the devices in `usable` be used.
pub(crate) fn assemble(usable: &[Usable]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, ATTEMPT, ACCESS_AND_KIND, 0),
        instruction(COPY, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(JUMP_UNLESS_EQUAL, ACCESS, 0, 2, ACCESS_MAKE),
        instruction(SET, ANSWER, 0, 0, 1),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    for device in usable {
        let tests = [(MAJOR, Some(device.major)), (MINOR, device.minor)];
        let tests: Vec<_> = tests.iter().filter_map(|(at, it)| Some((*at, (*it)?))).collect();
        // Past the remaining tests of this device and its answer.
        let mut rest = 2 * tests.len() as i16 + 3;
        let kind = if device.block { KIND_BLOCK } else { KIND_CHARACTER };
        program.push(instruction(JUMP_UNLESS_EQUAL, KIND, 0, rest, kind));
        rest -= 1;
        program.push(instruction(JUMP_IF_ANY_BIT, ACCESS, 0, rest, refused(&device.access)));
        for (offset, number) in tests {
            rest -= 2;
            program.push(instruction(LOAD_WORD, NUMBER, ATTEMPT, offset, 0));
            program.push(instruction(JUMP_UNLESS_EQUAL, NUMBER, 0, rest, number as i32));
        }
        program.push(instruction(SET, ANSWER, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(SET, ANSWER, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// The bits of an attempt that are not in `access`.
fn refused(access: &str) -> i32 {
    let bits = [('m', ACCESS_MAKE), ('r', ACCESS_READ), ('w', ACCESS_WRITE)];
    let refused = bits.iter().filter(|(letter, _)| !access.contains(*letter));
    refused.fold(0, |all, (_, bit)| all | bit)
}

/// One instruction, in the byte order of the machine.
fn instruction(operation: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let [offset_low, offset_high] = offset.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    let [a, b, c, d] = value.to_ne_bytes();
    u64::from_ne_bytes([operation, registers, offset_low, offset_high, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(access: u32, kind: u32, major: u32, minor: u32) -> bool {
        let usable = |block, major, minor, access: &str| Usable {
            block,
            major,
            minor,
            access: access.to_owned(),
        };
        let program = assemble(&[
            usable(false, 1, Some(3), "rwm"),
            usable(false, 136, None, "rwm"),
            usable(true, 7, Some(1), "r"),
        ]);
        let (mut at, mut registers) = (0, [0_u64; 5]);
        loop {
            let [operation, both, o1, o2, a, b, c, d] = program[at].to_ne_bytes();
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let offset = i16::from_ne_bytes([o1, o2]);
            let value = i64::from(i32::from_ne_bytes([a, b, c, d])) as u64;
            at += 1;
            match operation {
                LOAD_WORD => {
                    registers[to] = match offset {
                        0 => u64::from(access << 16 | kind),
                        4 => u64::from(major),
                        8 => u64::from(minor),
                        other => panic!("loads from {other}"),
                    }
                }
                COPY => registers[to] = registers[from],
                SHIFT_RIGHT => registers[to] >>= value,
                AND => registers[to] &= value,
                SET => registers[to] = value,
                JUMP_UNLESS_EQUAL if registers[to] != value => at += offset as usize,
                JUMP_UNLESS_EQUAL => {}
                JUMP_IF_ANY_BIT if registers[to] & value != 0 => at += offset as usize,
                JUMP_IF_ANY_BIT => {}
                EXIT => return registers[0] == 1,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    #[test]
    fn any_node_may_be_made() {
        assert!(allows(1, 1, 8, 0));
        assert!(allows(1, 2, 1, 1));
    }

    #[test]
    fn only_listed_devices_may_be_used() {
        assert!(allows(2, 2, 1, 3) && allows(6, 2, 1, 3), "null");
        assert!(allows(2, 2, 136, 0) && allows(4, 2, 136, 77), "terminals");
        assert!(!allows(2, 2, 1, 1), "memory");
        assert!(!allows(2, 1, 1, 3), "a block device with the numbers of null");
        assert!(!allows(2, 1, 8, 0), "a disk");
        assert!(!allows(3, 1, 8, 0), "a disk, made and read at once");
    }

    #[test]
    fn a_device_may_be_used_as_it_is_said() {
        assert!(allows(2, 1, 7, 1), "read");
        assert!(!allows(4, 1, 7, 1) && !allows(6, 1, 7, 1), "written");
        assert!(!allows(2, 1, 7, 2) && !allows(2, 2, 7, 1), "another");
    }
}
