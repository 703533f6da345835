//! How this machine runs steps that are not for it.
//!
//! The way of a platform is [decided](Machine::way) by what the machine has, which is looked at again
//! from time to time: an emulator that is installed while the daemon runs is found. Whether the kernel
//! hands programs to it is tried when the first step wants that; where it does not, the emulator is
//! put before the program, and the log says what that means.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_emulation::{Lack, Machine, SearchPath, Way};
use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_executor::{Emulation, Spawner};
use kiln_oci::Platform;
use kiln_progress::VertexStatus;

/// Where emulators are looked for, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmulatorOptions {
    /// Where.
    pub search: SearchPath,
    /// How long what was found is taken for granted; `None` is forever.
    pub max_age: Option<Duration>,
}

/// How a machine runs what is not its own.
pub(crate) struct Emulators {
    options: EmulatorOptions,
    spawner: Option<Spawner>,
    seen: Mutex<Option<(Instant, Arc<Machine>)>>,
    /// Whether the log has said that the kernel has no table of the builds' own.
    told: AtomicBool,
}

impl Emulators {
    pub(crate) fn new(options: EmulatorOptions, spawner: Option<Spawner>) -> Self {
        Self { options, spawner, seen: Mutex::new(None), told: AtomicBool::new(false) }
    }

    /// The machine, as it was a short time ago.
    pub(crate) fn machine(&self) -> Arc<Machine> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = |at: Instant| self.options.max_age.is_none_or(|age| now - at < age);
        match &*seen {
            Some((at, machine)) if fresh(*at) => Arc::clone(machine),
            _ => {
                let machine = Arc::new(Machine::inspect(&self.options.search));
                *seen = Some((now, Arc::clone(&machine)));
                machine
            }
        }
    }

    /// What runs the programs of a platform, if the machine does not do it itself.
    pub(crate) fn emulator(&self, platform: &Platform) -> Option<String> {
        match self.machine().way(platform) {
            Way::Registered { interpreter: program } | Way::Emulated { emulator: program } => {
                Some(name(&program))
            }
            Way::Own | Way::Lacking(_) => None,
        }
    }

    /// How a process for a platform is to be run; whoever watches is told if it is emulated.
    ///
    /// # Errors
    ///
    /// If the processor of the machine is too old for it. Where only an emulator is missing the
    /// process is tried all the same: it may be a program of this machine.
    pub(crate) async fn of(
        &self,
        platform: &Platform,
        job: &JobContext,
    ) -> Result<Option<Emulation>, OpError> {
        let machine = self.machine();
        let (emulation, program) = match machine.way(platform) {
            Way::Own | Way::Lacking(Lack::Emulator | Lack::System) => return Ok(None),
            Way::Lacking(Lack::Processor) => return Err(too_old(&machine, platform)),
            Way::Registered { interpreter } => (None, interpreter),
            Way::Emulated { emulator } => {
                (Some(self.emulation(&machine, &emulator).await), emulator)
            }
        };
        tell(job, &format!("{} under {}", platform.format(), name(&program)));
        Ok(emulation)
    }

    /// By the kernel, with all emulators or at least the one that is wanted; else before the program.
    async fn emulation(&self, machine: &Machine, emulator: &Path) -> Emulation {
        let all = machine.registrations();
        let one = all.iter().filter(|it| it.interpreter == emulator).cloned().collect();
        for registrations in [all, one] {
            let Some(spawner) = &self.spawner else { break };
            match spawner.prepare_emulation(&registrations).await {
                Ok(()) => return Emulation::Private(registrations),
                Err(error) if !self.told.swap(true, Ordering::Relaxed) => tracing::warn!(
                    %error,
                    "the kernel cannot be told of emulators for builds alone; emulated programs may not be \
                     able to start others (see `kiln doctor`)"
                ),
                Err(error) => tracing::debug!(%error, "the kernel cannot be told of emulators"),
            }
        }
        Emulation::Explicit(PathBuf::from(emulator))
    }
}

/// Says on a vertex that it is emulated: as a part of it, which is shown with it and is no warning.
fn tell(job: &JobContext, text: &str) {
    let now = SystemTime::now();
    job.progress.status(VertexStatus {
        id: text.to_owned(),
        vertex: job.vertex.clone(),
        name: String::new(),
        current: 0,
        total: 0,
        timestamp: now,
        started: Some(now),
        completed: Some(now),
    });
}

fn too_old(machine: &Machine, platform: &Platform) -> OpError {
    let best = machine.variants.last().map_or_else(String::new, |variant| format!("/{variant}"));
    let message = format!(
        "this machine cannot run steps for {}, its processor is {}{best}",
        platform.format(),
        machine.own.format(),
    );
    OpError::new(ErrorKind::Unsupported, message)
}

/// The name of a program.
fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
