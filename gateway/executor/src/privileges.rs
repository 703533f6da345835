//! What the kernel grants this process, found out once by trying it.
//!
//! Root in a container may have no rights at all, and a user without any name may have all that
//! builds need: neither the user id nor a list of capabilities says it. So [`Privileges::acquire`]
//! takes the best there is (mounts of its own, or a user namespace) before the process has threads,
//! tries what containers are made of in a child, and everything else decides by its findings.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::container::{closed, filesystem};
use crate::spawner::describe;
use crate::{sys, userns};

/// Where a process stands with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has the rights of root over its mounts.
    #[default]
    Root,
    /// It is root in a user namespace.
    UserNamespace,
    /// It has no rights beyond those of its user.
    Plain,
}

/// What the kernel grants, and why not what it does not. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Where the process stands.
    pub standing: Standing,
    findings: Findings,
}

/// What a child found out: for each thing why it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Findings {
    namespaces: Option<String>,
    proc: Option<String>,
    overlay: Option<String>,
}

impl Privileges {
    /// Takes what the kernel gives, and finds out what that is.
    ///
    /// Returns in namespaces of its own if it can have them, possibly in a child of the calling
    /// process. `root` is a directory on the file system where layers will be; it is made if it is
    /// not there, and left as it was. To be called before any thread is started.
    ///
    /// # Errors
    ///
    /// Only if a helper process cannot be made or talked to; a refusal is a finding.
    pub fn acquire(root: &Path) -> io::Result<Self> {
        let (standing, refused) = stand();
        let mut findings = probe(root)?;
        if let Some(error) = refused {
            let namespaces = findings.namespaces.as_deref().unwrap_or("have mounts of its own");
            let also = format!("{namespaces}, nor enter a user namespace: {}", describe(&error));
            findings.namespaces = Some(also);
            findings.overlay = Some("mounts are refused".to_owned());
        }
        Ok(Self { standing, findings })
    }

    /// Why no process can be run in a container, with what would help; `None` if one can.
    pub fn refuses_containers(&self) -> Option<String> {
        let Findings { namespaces, proc, .. } = &self.findings;
        let refused = namespaces.as_ref().or(proc.as_ref())?;
        let help = match namespaces {
            Some(_) => {
                "Kiln needs CAP_SYS_ADMIN, or leave to make user namespaces: on a host, allow them \
                 (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns); in a container, \
                 start it with --privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
            }
            None => {
                "in a container, start it with --privileged, or with --security-opt systempaths=unconfined"
            }
        };
        Some(format!(
            "no process can be run here, because the kernel does not let this one (user {}, capabilities {}) {refused}. \
             {help}. Files can be copied, added and exported all the same. `kiln doctor` says what else is missing",
            rustix::process::geteuid().as_raw(),
            capabilities(),
        ))
    }

    /// Why directories cannot be stacked with overlayfs; `None` if they can.
    pub fn refuses_overlays(&self) -> Option<&str> {
        self.findings.overlay.as_deref()
    }

    /// The findings as labels of a worker: name and value.
    pub fn labels(&self) -> Vec<(&'static str, String)> {
        let standing = match self.standing {
            Standing::Root => "root",
            Standing::UserNamespace => "user namespace",
            Standing::Plain => "plain user",
        };
        let granted = |refused: Option<&str>| match refused {
            None => "granted".to_owned(),
            Some(why) => format!("refused: {why}"),
        };
        let Findings { namespaces, proc, overlay } = &self.findings;
        vec![
            ("kiln.dev/standing", standing.to_owned()),
            (
                "kiln.dev/containers",
                granted(namespaces.as_ref().or(proc.as_ref()).map(String::as_str)),
            ),
            ("kiln.dev/overlay", granted(overlay.as_deref())),
        ]
    }
}

/// Takes mounts of its own, in a user namespace if need be; with the reason if neither is given.
fn stand() -> (Standing, Option<io::Error>) {
    if rustix::process::geteuid().is_root() && userns::private_mounts().is_ok() {
        let inside = userns::inside();
        return (if inside { Standing::UserNamespace } else { Standing::Root }, None);
    }
    match userns::enter() {
        Ok(()) => (Standing::UserNamespace, None),
        Err(error) => (Standing::Plain, Some(error)),
    }
}

/// Tries what containers are made of, in a child.
fn probe(root: &Path) -> io::Result<Findings> {
    let place = Place::new(root);
    let (findings, told) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    match sys::clone3(flags as u64, None) {
        Err(error) => {
            let namespaces = Some(format!("make namespaces: {}", describe(&error)));
            Ok(Findings { namespaces, ..Findings::default() })
        }
        Ok(None) => {
            let found = serde_json::to_vec(&try_all(&place)).unwrap_or_default();
            File::from(told).write_all(&found).ok();
            sys::exit_now(0)
        }
        Ok(Some(child)) => {
            drop(told);
            let mut text = String::new();
            let read = File::from(findings).read_to_string(&mut text);
            wait(child)?;
            read?;
            Ok(serde_json::from_str(&text)?)
        }
    }
}

fn wait(child: Pid) -> io::Result<()> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// What is tried in the child, which is the first process of its namespaces.
fn try_all(place: &Place) -> Findings {
    let found = |what: &str, result: io::Result<()>| {
        result.err().map(|error| format!("{what}: {}", describe(&error)))
    };
    if let Some(namespaces) = found("change mounts", userns::make_mounts_private()) {
        return Findings { namespaces: Some(namespaces), ..Findings::default() };
    }
    Findings {
        namespaces: found("mount memory", filesystem("tmpfs", &[], closed()).map(drop)),
        proc: found("mount /proc", filesystem("proc", &[], closed()).map(drop)),
        // Where there is no place to try it, a disk may be full, and nothing is known.
        overlay: place.usable.then(|| found("mount an overlay", place.mount_overlay())).flatten(),
    }
}

/// A directory for trying overlays, on the file system of the layers; gone when dropped.
struct Place {
    path: PathBuf,
    made: Vec<PathBuf>,
    usable: bool,
}

impl Place {
    fn new(root: &Path) -> Self {
        let path = root.join(format!("probe-{}", std::process::id()));
        let missing = root.ancestors().take_while(|path| !path.exists());
        let mut made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        for directory in made.iter().rev() {
            rustix::fs::mkdir(directory, Mode::from_raw_mode(0o700)).ok();
        }
        made.insert(0, path.clone());
        let usable = ["lower", "upper", "work", "view"]
            .iter()
            .all(|name| fs::create_dir_all(path.join(name)).is_ok());
        Self { path, made, usable }
    }

    fn mount_overlay(&self) -> io::Result<()> {
        rustix::process::chdir(&self.path)?;
        let mount = |more: &str| {
            let options = format!("lowerdir=lower,upperdir=upper,workdir=work{more}");
            let options = std::ffi::CString::new(options).unwrap_or_default();
            rustix::mount::mount("overlay", "view", "overlay", MountFlags::empty(), &*options)
        };
        mount(if userns::inside() { ",userxattr" } else { "" })?;
        // Some file systems let themselves be mounted so and then cannot be written.
        let written = fs::write("view/file", "");
        rustix::mount::unmount("view", UnmountFlags::DETACH)?;
        match written.map_err(|error| (error.kind(), error)) {
            Err((io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _)) | Ok(()) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
        for directory in &self.made {
            fs::remove_dir(directory).ok();
        }
    }
}

/// The capabilities in effect, as people write them.
fn capabilities() -> String {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    match effective.unwrap_or(CapabilitySet::empty()) {
        none if none.is_empty() => "none".to_owned(),
        all if all == CapabilitySet::all() => "all".to_owned(),
        some => {
            some.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_missing_and_what_helps() {
        assert_eq!(Privileges::default().refuses_containers(), None);
        let refused = Privileges {
            standing: Standing::Plain,
            findings: Findings {
                namespaces: Some("make namespaces: operation not permitted".into()),
                overlay: Some("mounts are refused".into()),
                ..Findings::default()
            },
        };
        let text = refused.refuses_containers().unwrap();
        for part in
            ["make namespaces: operation not permitted", "CAP_SYS_ADMIN", "--privileged", "copied"]
        {
            assert!(text.contains(part), "{text}");
        }
        let labels = refused.labels();
        assert_eq!(labels[0].1, "plain user");
        assert!(labels[1].1.starts_with("refused: make namespaces"), "{labels:?}");
    }

    #[test]
    fn the_place_of_a_probe_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b");
        let place = Place::new(&root);
        assert!(place.path.join("upper").is_dir());
        drop(place);
        assert!(!directory.path().join("a").exists());
    }
}
