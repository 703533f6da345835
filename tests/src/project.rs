//! A directory with a build file and what it builds.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A project of the user's; removed on drop.
#[derive(Debug)]
pub struct Project {
    directory: TempDir,
}

impl Project {
    /// A directory with these files.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { directory: tempfile::tempdir().expect("failed to make a directory") };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// A project with this mockerfile and nothing else.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn mockerfile(text: &str) -> Self {
        Self::new(&[("Mockerfile.yaml", text)])
    }

    /// Writes a file, with the directories it lies in.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        let parent = path.parent().expect("a file lies in a directory");
        std::fs::create_dir_all(parent).expect("failed to make a directory");
        std::fs::write(&path, content).expect("failed to write a file");
        path
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
