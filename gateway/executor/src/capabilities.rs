//! Which capabilities a process may have.

use rustix::thread::CapabilitySet;

use crate::process::Security;

/// A sandbox's.
const SANDBOX_NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// The most that a process of this confinement may have.
pub(crate) fn of(security: Security) -> CapabilitySet {
    match security {
        Security::Insecure => CapabilitySet::all(),
        Security::Restricted => CapabilitySet::empty(),
        Security::Sandbox => {
            CapabilitySet::CHOWN
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::FOWNER
                | CapabilitySet::FSETID
                | CapabilitySet::KILL
                | CapabilitySet::SETGID
                | CapabilitySet::SETUID
                | CapabilitySet::SETPCAP
                | CapabilitySet::NET_BIND_SERVICE
                | CapabilitySet::NET_RAW
                | CapabilitySet::SYS_CHROOT
                | CapabilitySet::MKNOD
                | CapabilitySet::AUDIT_WRITE
                | CapabilitySet::SETFCAP
        }
    }
}

/// The names of [`of`] a confinement, as an OCI configuration wants them.
pub(crate) fn names(security: Security) -> Vec<String> {
    match security {
        Security::Restricted => Vec::new(),
        Security::Sandbox => SANDBOX_NAMES.iter().map(|name| (*name).to_owned()).collect(),
        Security::Insecure => {
            let available = rustix::thread::capabilities(None).map(|sets| sets.permitted);
            let available = available.unwrap_or_else(|_| of(Security::Sandbox));
            available.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
        }
    }
}
