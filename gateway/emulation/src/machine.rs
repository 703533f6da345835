//! A machine, and the way it runs a platform.
//!
//! The kernel's own way comes first, and what it already hands to an emulator second: both leave a
//! step as it is. An emulator that the operator named goes before what the machine happens to have
//! registered, since it was named for a reason. What remains is an emulator among the files of the
//! machine, to which the executor hands programs without touching what is everybody's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_executor::Registration;
use kiln_oci::Platform;

use crate::architecture::{ARCHITECTURES, Architecture};
use crate::emulator::{Emulator, SearchPath};
use crate::processor;
use crate::registered::Registered;

/// What a machine has to run programs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What it is.
    pub own: Platform,
    /// Variants of its own architecture that it runs too, the least first.
    pub variants: Vec<&'static str>,
    /// Architectures that its kernel runs by itself besides its own.
    pub older: Vec<&'static str>,
    /// What its kernel hands to interpreters.
    pub registered: Vec<Registered>,
    /// Emulators by architecture, in the words of images.
    pub emulators: BTreeMap<&'static str, Emulator>,
}

/// How programs of a platform are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the machine itself.
    Own,
    /// By an interpreter that the machine's kernel hands them to.
    Registered {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// By an emulator.
    Emulated {
        /// Its file.
        emulator: PathBuf,
    },
    /// Not at all.
    Lacking(Lack),
}

/// Why programs of a platform are not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The processor is too old for the variant.
    Processor,
    /// There is no emulator.
    Emulator,
    /// There can be none.
    System,
}

impl Machine {
    /// Looks at this machine. Files are read and nothing is run; what is found may change with the
    /// next package that is installed.
    pub fn inspect(search: &SearchPath) -> Self {
        let own = Platform::host();
        let emulators = Architecture::named(&own.architecture).map_or_else(BTreeMap::new, |it| {
            let others = ARCHITECTURES.iter().filter(|other| *other != it);
            others.filter_map(|other| Some((other.name, search.find(other, it)?))).collect()
        });
        Self {
            variants: processor::variants(),
            older: processor::older(),
            registered: Registered::all(),
            own,
            emulators,
        }
    }

    /// How programs of a platform are run here.
    pub fn way(&self, platform: &Platform) -> Way {
        let wanted = platform.clone().normalized();
        if wanted.os != self.own.os {
            return Way::Lacking(Lack::System);
        }
        if wanted.architecture == self.own.architecture {
            return match self.has_variant(&wanted.variant) {
                true => Way::Own,
                false => Way::Lacking(Lack::Processor),
            };
        }
        if self.older.contains(&wanted.architecture.as_str()) {
            return Way::Own;
        }
        let Some(architecture) = Architecture::named(&wanted.architecture) else {
            return Way::Lacking(Lack::System);
        };
        let emulator = self.emulators.get(architecture.name);
        let registered = self.registered.iter().find(|entry| entry.runs(architecture));
        match (emulator, registered) {
            (Some(emulator), None) | (Some(emulator @ Emulator { chosen: true, .. }), _) => {
                Way::Emulated { emulator: emulator.path.clone() }
            }
            (_, Some(entry)) => Way::Registered { interpreter: entry.interpreter.clone() },
            (None, None) => Way::Lacking(Lack::Emulator),
        }
    }

    /// Every platform that is run here, the own ones first.
    pub fn platforms(&self) -> Vec<Platform> {
        let os = self.own.os.as_str();
        let variant = |name: &str, variant: &str| {
            let platform = Platform::new(os, name);
            Platform { variant: variant.to_owned(), ..platform }
        };
        let mut platforms = vec![self.own.clone()];
        let own = self.own.architecture.as_str();
        platforms.extend(self.variants.iter().map(|it| variant(own, it)));
        for architecture in ARCHITECTURES.iter().filter(|it| it.name != own) {
            let platform = Platform::new(os, architecture.name);
            if matches!(self.way(&platform), Way::Lacking(_)) {
                continue;
            }
            platforms.push(platform);
            platforms.extend(architecture.variants.iter().map(|it| variant(architecture.name, it)));
        }
        platforms
    }

    /// What the kernel has to know to hand programs to the emulators: all of them, since a step for
    /// one platform may run a program for another.
    pub fn registrations(&self) -> Vec<Registration> {
        let known = ARCHITECTURES.iter().filter(|it| !self.older.contains(&it.name));
        known
            .filter_map(|architecture| {
                let emulator = self.emulators.get(architecture.name)?;
                Some(Registration {
                    name: format!("qemu-{}", architecture.qemu),
                    magic: architecture.magic(),
                    mask: architecture.mask(),
                    interpreter: emulator.path.clone(),
                })
            })
            .collect()
    }

    /// Whether the own processor has a variant. What is not known is not refused: variants of other
    /// architectures than these say little.
    fn has_variant(&self, variant: &str) -> bool {
        let known = self.own.architecture == "amd64" && ["v2", "v3", "v4"].contains(&variant);
        !known || self.variants.contains(&variant)
    }
}
