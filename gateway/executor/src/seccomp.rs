//! Which system calls a sandbox may make.
//!
//! In the spirit of the field's default profile: calls up to the newest one that was looked at are
//! allowed, except those listed here; later ones do not exist, so that programs fall back. The
//! program is built once, by the spawner, and installed by each child.

use libc::sock_filter;

/// The newest system call that was judged for this table (`mseal`); numbers are common since 424.
const NEWEST: u32 = 462;

/// `clone` flags that make namespaces.
pub(crate) const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// Sockets between virtual machines and their host.
pub(crate) const AF_VSOCK: u32 = 40;
/// Personalities that programs need: none, Linux on either side, and the question.
const PERSONALITIES: &[u32] = &[0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Offsets in the kernel's `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: u32 = 16;

/// The architecture has no such call.
const NONE: u32 = u32::MAX;

/// What a sandbox is refused: name, and number on x86-64, on i386 and on aarch64.
#[rustfmt::skip]
const REFUSED: &[(&str, u32, u32, u32)] = &[
    ("_sysctl", 156, 149, NONE),
    ("acct", 163, 51, 89),
    ("add_key", 248, 286, 217),
    ("bpf", 321, 357, 280),
    ("clock_settime", 227, 264, 112),
    ("clock_settime64", NONE, 404, NONE),
    ("create_module", 174, 127, NONE),
    ("delete_module", 176, 129, 106),
    ("fanotify_init", 300, 338, 262),
    ("finit_module", 313, 350, 273),
    ("fsconfig", 431, 431, 431),
    ("fsmount", 432, 432, 432),
    ("fsopen", 430, 430, 430),
    ("fspick", 433, 433, 433),
    ("get_kernel_syms", 177, 130, NONE),
    ("get_mempolicy", 239, 275, 236),
    ("init_module", 175, 128, 105),
    ("io_uring_enter", 426, 426, 426),
    ("io_uring_register", 427, 427, 427),
    ("io_uring_setup", 425, 425, 425),
    ("ioperm", 173, 101, NONE),
    ("iopl", 172, 110, NONE),
    ("kexec_file_load", 320, NONE, 294),
    ("kexec_load", 246, 283, 104),
    ("keyctl", 250, 288, 219),
    ("listmount", 458, 458, 458),
    ("lookup_dcookie", 212, 253, 18),
    ("mbind", 237, 274, 235),
    ("migrate_pages", 256, 294, 238),
    ("mount", 165, 21, 40),
    ("mount_setattr", 442, 442, 442),
    ("move_mount", 429, 429, 429),
    ("move_pages", 279, 317, 239),
    ("nfsservctl", 180, 169, 42),
    ("open_by_handle_at", 304, 342, 265),
    ("open_tree", 428, 428, 428),
    ("perf_event_open", 298, 336, 241),
    ("pivot_root", 155, 217, 41),
    ("query_module", 178, 167, NONE),
    ("quotactl", 179, 131, 60),
    ("quotactl_fd", 443, 443, 443),
    ("reboot", 169, 88, 142),
    ("request_key", 249, 287, 218),
    ("set_mempolicy", 238, 276, 237),
    ("set_mempolicy_home_node", 450, 450, 450),
    ("setns", 308, 346, 268),
    ("settimeofday", 164, 79, 170),
    ("statmount", 457, 457, 457),
    ("stime", NONE, 25, NONE),
    ("swapoff", 168, 115, 225),
    ("swapon", 167, 87, 224),
    ("sysfs", 139, 135, NONE),
    ("syslog", 103, 103, 116),
    ("umount", NONE, 22, NONE),
    ("umount2", 166, 52, 39),
    ("unshare", 272, 310, 97),
    ("uselib", 134, 86, NONE),
    ("userfaultfd", 323, 374, 282),
    ("ustat", 136, 62, NONE),
    ("vhangup", 153, 111, 58),
    ("vm86", NONE, 166, NONE),
    ("vm86old", NONE, 113, NONE),
];

/// The names of what a sandbox is refused whatever the arguments, as an OCI configuration wants them.
pub(crate) fn refused_names() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|(name, ..)| *name)
}

/// One architecture's numbers.
struct Architecture {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    /// Its column in [`REFUSED`].
    column: fn(&(&str, u32, u32, u32)) -> u32,
    clone: u32,
    socket: u32,
    personality: u32,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        audit: 0xc000_003e,
        column: |row| row.1,
        clone: 56,
        socket: 41,
        personality: 135,
    },
    // 32-bit programs on a 64-bit kernel.
    Architecture {
        audit: 0x4000_0003,
        column: |row| row.2,
        clone: 120,
        socket: 359,
        personality: 136,
    },
];

#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[Architecture] = &[Architecture {
    audit: 0xc000_00b7,
    column: |row| row.3,
    clone: 220,
    socket: 198,
    personality: 92,
}];

/// A program for the kernel's filter machine.
#[derive(Debug)]
pub(crate) struct Filter {
    instructions: Vec<sock_filter>,
}

impl Filter {
    /// The filter of a sandbox.
    pub(crate) fn sandbox() -> Self {
        let mut program = vec![load(ARCHITECTURE)];
        for architecture in ARCHITECTURES {
            let body = architecture.body();
            // Further than a conditional jump reaches, so it jumps over an unconditional one.
            program.push(jump(libc::BPF_JEQ, architecture.audit, 1, 0));
            program.push(statement(libc::BPF_JMP | libc::BPF_JA, body.len() as u32));
            program.extend(body);
        }
        program.push(refuse(libc::ENOSYS));
        Self { instructions: program }
    }

    /// What the kernel takes.
    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }
}

impl Architecture {
    /// The rules for one architecture; every path through them ends with a verdict.
    fn body(&self) -> Vec<sock_filter> {
        let mut body = vec![load(NUMBER)];
        // Beyond are also the calls of x86's third calling convention.
        body.extend([jump(libc::BPF_JGT, NEWEST, 0, 1), refuse(libc::ENOSYS)]);
        // Its arguments are in memory, out of a filter's sight; libraries fall back to clone.
        body.extend([jump(libc::BPF_JEQ, 435, 0, 1), refuse(libc::ENOSYS)]);
        for number in REFUSED.iter().map(self.column).filter(|number| *number != NONE) {
            body.extend([jump(libc::BPF_JEQ, number, 0, 1), refuse(libc::EPERM)]);
        }
        body.extend([
            jump(libc::BPF_JEQ, self.clone, 0, 4),
            load(ARGUMENT),
            jump(libc::BPF_JSET, NAMESPACE_FLAGS, 0, 1),
            refuse(libc::EPERM),
            allow(),
            jump(libc::BPF_JEQ, self.socket, 0, 4),
            load(ARGUMENT),
            jump(libc::BPF_JEQ, AF_VSOCK, 0, 1),
            refuse(libc::EPERM),
            allow(),
            jump(libc::BPF_JEQ, self.personality, 0, 2 + 2 * PERSONALITIES.len() as u8),
            load(ARGUMENT),
        ]);
        for personality in PERSONALITIES {
            body.extend([jump(libc::BPF_JEQ, *personality, 0, 1), allow()]);
        }
        body.extend([refuse(libc::EPERM), allow()]);
        body
    }
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn allow() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn refuse(error: i32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = libc::BPF_JMP | condition | libc::BPF_K;
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(audit: u32, number: u32, argument: u32) -> u32 {
        let filter = Filter::sandbox();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter.instructions[at];
            at += 1;
            let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
            match u32::from(code) {
                0x20 => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        ARGUMENT => argument,
                        other => panic!("loads from {other}"),
                    }
                }
                0x05 => at += k as usize,
                0x15 => branch(accumulator == k),
                0x25 => branch(accumulator > k),
                0x45 => branch(accumulator & k != 0),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn native(number: i64, argument: u32) -> u32 {
        verdict(ARCHITECTURES[0].audit, number as u32, argument)
    }

    #[test]
    fn everyday_calls_pass() {
        for call in [
            libc::SYS_read,
            libc::SYS_execve,
            libc::SYS_openat2,
            libc::SYS_chroot,
            libc::SYS_capset,
            libc::SYS_statx,
            libc::SYS_ptrace,
            libc::SYS_fchmodat2,
        ] {
            assert_eq!(native(call, 0), ALLOW, "call {call}");
        }
    }

    #[test]
    fn calls_that_reach_the_host_are_refused() {
        for call in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_pivot_root,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_syslog,
            libc::SYS_userfaultfd,
            libc::SYS_move_mount,
            libc::SYS_io_uring_setup,
            libc::SYS_fanotify_init,
            libc::SYS_quotactl,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_acct,
            libc::SYS_mbind,
            libc::SYS_move_pages,
            libc::SYS_migrate_pages,
            libc::SYS_set_mempolicy,
            libc::SYS_get_mempolicy,
            libc::SYS_vhangup,
            libc::SYS_kexec_file_load,
            libc::SYS_lookup_dcookie,
            libc::SYS_nfsservctl,
        ] {
            assert_eq!(native(call, 0), EPERM, "call {call}");
        }
    }

    #[test]
    fn unknown_calls_do_not_exist() {
        assert_eq!(native(libc::SYS_clone3, 0), ENOSYS);
        assert_eq!(native(i64::from(NEWEST) + 1, 0), ENOSYS);
        assert_eq!(native(0x4000_0000, 0), ENOSYS);
        assert_eq!(verdict(1, 0, 0), ENOSYS);
    }

    #[test]
    fn arguments_are_looked_at() {
        assert_eq!(native(libc::SYS_clone, libc::SIGCHLD as u32), ALLOW);
        assert_eq!(native(libc::SYS_clone, libc::CLONE_NEWUSER as u32), EPERM);
        assert_eq!(native(libc::SYS_socket, libc::AF_INET as u32), ALLOW);
        assert_eq!(native(libc::SYS_socket, AF_VSOCK), EPERM);
        assert_eq!(native(libc::SYS_personality, 0x0008), ALLOW);
        assert_eq!(native(libc::SYS_personality, 0xffff_ffff), ALLOW);
        assert_eq!(native(libc::SYS_personality, 0x4_0000), EPERM);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn programs_of_32_bits_follow_the_same_rules() {
        let call = |number, argument| verdict(ARCHITECTURES[1].audit, number, argument);
        assert_eq!(call(4, 0), ALLOW, "write");
        assert_eq!(call(21, 0), EPERM, "mount");
        assert_eq!(call(120, libc::CLONE_NEWNS as u32), EPERM, "clone");
        assert_eq!(call(346, 0), EPERM, "setns");
    }
}
