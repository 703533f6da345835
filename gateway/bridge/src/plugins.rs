//! Frontend plugins: executables of this machine, and who may have put them there.
//!
//! Whoever can call the daemon can name a frontend, so a name must never lead to a program of the
//! caller's choice: plugins are found by name, in directories that the operator chose, and only if
//! nobody but root and the daemon's user can change them, the directories on the way included. A
//! path is for the daemon that a user runs in a process of their own, and only from its own client.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// The name of a plugin's executable is this and the frontend's name.
pub(crate) const PREFIX: &str = "kiln-frontend-";
/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Only the owner of an entry may replace it.
const STICKY: u32 = 0o1000;

/// Which executables may be started as frontends, and how.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// Where plugins are, found by name.
    pub directories: Vec<PluginDirectory>,
    /// Whether this daemon's client may name one by its path: it is the same user, in the same
    /// process.
    pub by_path: bool,
    /// Run them as plain processes of the host, with all that the daemon may do.
    pub unconfined: bool,
}

/// A directory with plugins, as it was when the daemon started.
///
/// Looked at before the daemon continues in a user namespace, where files of the machine's root
/// cannot be told from those of other users any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginDirectory {
    path: PathBuf,
    /// Plugins that were root's then: device and inode.
    of_root: BTreeSet<(u64, u64)>,
    /// Whether the directory itself was found to be safe, by the owners as they are.
    safe: bool,
}

/// Why a file is not started as a plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The name is not one.
    #[error("`{0}` is no name of a plugin: letters, digits, `-`, `_` and `.` make one")]
    Name(String),
    /// A path, of a daemon that starts no program of the caller's choice.
    #[error(
        "frontend `{path}` is a path, and this daemon starts plugins by name only, from its own directories \
         ({directories}): have its operator put the executable there as {PREFIX}NAME, make an image of it with \
         `kiln frontend pack`, or build with kiln's own daemon, without an address"
    )]
    Path {
        /// The path.
        path: String,
        /// Where plugins may be.
        directories: String,
    },
    /// A path that a frontend named.
    #[error(
        "frontend `{0}` is a path, and only the user may name one: frontends call each other by name or image"
    )]
    NestedPath(String),
    /// Others may change it.
    #[error(
        "plugin `{plugin}` is not started, because `{path}` {problem}: a plugin and the directories it is in must \
         belong to root or to the daemon's user, and be writable by no one else"
    )]
    Unsafe {
        /// The plugin.
        plugin: PathBuf,
        /// The file or directory that is not safe.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be looked at.
    #[error("plugin `{plugin}` cannot be used")]
    Io {
        /// The plugin.
        plugin: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl PluginError {
    /// Whether it is there, and must not be started.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Path { .. } | Self::NestedPath(_) | Self::Unsafe { .. })
    }
}

impl PluginDirectory {
    /// Looks at a directory and what is in it now.
    pub fn inspect(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut of_root = BTreeSet::new();
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let plugin = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let file = entry.path();
            if plugin
                && check_way(&file).is_ok()
                && let Ok(metadata) = fs::metadata(&file)
                && metadata.uid() == 0
            {
                of_root.insert((metadata.dev(), metadata.ino()));
            }
        }
        let safe = path.canonicalize().is_ok_and(|path| check_ancestors(&path).is_ok());
        Self { path, of_root, safe }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plugin of this name, if there is one here.
    fn find(&self, name: &str) -> Result<Option<PathBuf>, PluginError> {
        let plugin = self.path.join(format!("{PREFIX}{name}"));
        let failed = |source| PluginError::Io { plugin: plugin.clone(), source };
        let metadata = match fs::metadata(&plugin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed)?,
        };
        let unsafe_at =
            |(path, problem)| PluginError::Unsafe { plugin: plugin.clone(), path, problem };
        let known = self.of_root.contains(&(metadata.dev(), metadata.ino()));
        match check_way(&plugin) {
            Ok(real) => Ok(Some(real)),
            // In a user namespace root's files look like anyone's; these were root's.
            Err(_) if known && self.safe && metadata.mode() & WRITABLE_BY_OTHERS == 0 => {
                plugin.canonicalize().map(Some).map_err(failed)
            }
            Err(Problem::Io(source)) => Err(failed(source)),
            Err(Problem::Unsafe(path, problem)) => Err(unsafe_at((path, problem))),
        }
    }
}

impl Plugins {
    /// The executable that a client, or for `nested` a frontend, means by a name or path; `None` if
    /// there is no plugin of that name.
    ///
    /// # Errors
    ///
    /// If it must not be started.
    pub(crate) fn choose(&self, name: &str, nested: bool) -> Result<Option<PathBuf>, PluginError> {
        if !name.contains('/') {
            return self.find(name);
        }
        let path = || name.chars().take(400).collect::<String>();
        if !self.by_path {
            let list = self.directories.iter().map(|place| place.path.display().to_string());
            let directories = list.reduce(|list, next| format!("{list}, {next}"));
            let directories = directories.unwrap_or_else(|| "none".to_owned());
            return Err(PluginError::Path { path: path(), directories });
        }
        if nested {
            return Err(PluginError::NestedPath(path()));
        }
        let real = fs::canonicalize(name);
        real.map(Some).map_err(|source| PluginError::Io { plugin: name.into(), source })
    }

    /// The plugin of a name, in the first directory that has one.
    ///
    /// # Errors
    ///
    /// If that one is not to be trusted; a later one is not looked for.
    fn find(&self, name: &str) -> Result<Option<PathBuf>, PluginError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = name.strip_suffix(".v0").unwrap_or(name);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(PluginError::Name(name.chars().take(80).collect()));
        }
        for directory in &self.directories {
            if let Some(found) = directory.find(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Why a file is not to be trusted.
#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Unsafe(PathBuf, String),
}

/// Follows the links of a path, and checks the file in the end and all directories above it, as
/// well as those that hold the links.
fn check_way(path: &Path) -> Result<PathBuf, Problem> {
    let real = path.canonicalize().map_err(Problem::Io)?;
    let metadata = fs::metadata(&real).map_err(Problem::Io)?;
    let problem = if !metadata.is_file() {
        Some("is no regular file".to_owned())
    } else if metadata.mode() & 0o111 == 0 {
        Some("cannot be executed".to_owned())
    } else {
        problem(&metadata, false)
    };
    if let Some(problem) = problem {
        return Err(Problem::Unsafe(real, problem));
    }
    check_ancestors(real.parent().unwrap_or(Path::new("/")))?;
    if let Some(parent) = path.parent() {
        check_ancestors(&parent.canonicalize().map_err(Problem::Io)?)?;
    }
    Ok(real)
}

/// Checks a directory, given without links, and all above it.
fn check_ancestors(directory: &Path) -> Result<(), Problem> {
    for (distance, path) in directory.ancestors().enumerate() {
        let metadata = fs::metadata(path).map_err(Problem::Io)?;
        // What belongs to us cannot be replaced in a sticky directory above, but added beside us it can.
        if let Some(problem) = problem(&metadata, distance > 0) {
            return Err(Problem::Unsafe(path.to_owned(), problem));
        }
    }
    Ok(())
}

/// What is wrong with a file or directory, if someone else may change it.
fn problem(metadata: &Metadata, sticky_is_fine: bool) -> Option<String> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 && uid != geteuid().as_raw() {
        return Some(format!("belongs to user {uid}"));
    }
    let sticky = sticky_is_fine && mode & STICKY != 0;
    (mode & WRITABLE_BY_OTHERS != 0 && !sticky)
        .then(|| format!("is writable by others (mode {mode:04o})"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// A directory of plugins with one in it, and what finding that gives.
    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let scene = Self(directory);
            fs::create_dir(scene.directory()).unwrap();
            fs::write(scene.plugin(), "#!/bin/sh\n").unwrap();
            scene.mode(&scene.directory(), 0o755);
            scene.mode(&scene.plugin(), 0o755);
            scene
        }

        fn directory(&self) -> PathBuf {
            self.0.path().join("plugins")
        }

        fn plugin(&self) -> PathBuf {
            self.directory().join("kiln-frontend-toml")
        }

        fn mode(&self, path: &Path, mode: u32) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn find(&self, name: &str) -> Result<Option<PathBuf>, String> {
            let directories = vec![PluginDirectory::inspect(self.directory())];
            let plugins = Plugins { directories, ..Plugins::default() };
            plugins.find(name).map_err(|error| error.to_string())
        }

        #[track_caller]
        fn refuses(&self, why: &str) {
            let error = self.find("toml").unwrap_err();
            assert!(error.contains(why) && error.contains("must belong to root"), "{error}");
        }
    }

    #[test]
    fn a_plugin_is_found_by_its_name_alone() {
        let scene = Scene::new();
        let plugin = scene.plugin().canonicalize().unwrap();
        assert_eq!(scene.find("toml"), Ok(Some(plugin.clone())));
        assert_eq!(scene.find("toml.v0"), Ok(Some(plugin)));
        assert_eq!(scene.find("yaml"), Ok(None));
        for name in ["", "../toml", "a/b", "..%2f", "a b"] {
            assert!(scene.find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_path_is_for_the_user_of_a_daemon_in_the_same_process() {
        let scene = Scene::new();
        let path = scene.plugin().display().to_string();
        let choose = |by_path, nested| {
            let plugins = Plugins { by_path, ..Plugins::default() };
            plugins.choose(&path, nested).map_err(|error| error.to_string())
        };
        let real = scene.plugin().canonicalize().unwrap();
        assert_eq!(choose(true, false), Ok(Some(real)));
        let error = choose(true, true).unwrap_err();
        assert!(error.contains("only the user may name one"), "{error}");
        for nested in [false, true] {
            let error = choose(false, nested).unwrap_err();
            assert!(error.contains("by name only") && error.contains("(none)"), "{error}");
        }
    }

    #[test]
    fn what_others_may_change_is_not_started() {
        let scene = Scene::new();
        scene.mode(&scene.plugin(), 0o775);
        scene.refuses("is writable by others (mode 0775)");
        scene.mode(&scene.plugin(), 0o644);
        scene.refuses("cannot be executed");
        scene.mode(&scene.plugin(), 0o755);
        for mode in [0o775, 0o757, 0o1777] {
            scene.mode(&scene.directory(), mode);
            scene.refuses("/plugins` is writable by others");
        }
        scene.mode(&scene.directory(), 0o755);
        scene.mode(scene.0.path(), 0o777);
        scene.refuses("is writable by others (mode 0777)");
        scene.mode(scene.0.path(), 0o1777);
        assert!(scene.find("toml").unwrap().is_some());
    }

    #[test]
    fn a_link_is_followed_and_its_end_is_held_to_the_same() {
        let scene = Scene::new();
        let elsewhere = scene.0.path().join("elsewhere");
        fs::rename(scene.plugin(), &elsewhere).unwrap();
        symlink(&elsewhere, scene.plugin()).unwrap();
        assert_eq!(scene.find("toml"), Ok(Some(elsewhere.canonicalize().unwrap())));
        scene.mode(&elsewhere, 0o777);
        scene.refuses("/elsewhere` is writable by others");
    }

    #[test]
    fn a_plugin_of_another_user_is_not_started() {
        if !geteuid().is_root() {
            return;
        }
        let scene = Scene::new();
        chown(scene.plugin(), Some(1234), None).unwrap();
        scene.refuses("belongs to user 1234");
        chown(scene.plugin(), Some(0), None).unwrap();
        chown(scene.directory(), Some(1234), None).unwrap();
        scene.refuses("/plugins` belongs to user 1234");
    }
}
