//! Finds what an executable needs on this machine, as its loader would.
//!
//! An executable's path comes in, the files to pack go out, each with the place where the loader inside
//! the image will look for it. Libraries that are opened by name while running cannot be found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::elf::{self, Elf, ElfError, Machine};
use super::search::{built_in, configured, expand_tokens, multiarch, under};

/// No executable or library is larger, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// An executable and everything its loader will ask for.
#[derive(Debug)]
pub(crate) struct Closure {
    /// What it runs on.
    pub machine: Machine,
    /// The files besides the executable: where they go in the image, and their bytes.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// The executable's bytes.
    pub executable: Vec<u8>,
    /// Directories the loader in the image must be told of.
    pub library_path: Vec<PathBuf>,
}

/// Why an executable cannot be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClosureError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be understood.
    #[error("cannot tell what {path} needs")]
    Elf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// A file is too large.
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A library is nowhere.
    #[error("{requester} needs {name}, which is in none of {searched:?}")]
    Missing {
        /// Who needs it.
        requester: PathBuf,
        /// What.
        name: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The architecture has no name.
    #[error("{path} is for machine {number}, which images have no name for")]
    UnknownMachine {
        /// The file.
        path: PathBuf,
        /// ELF's number.
        number: u16,
    },
}

/// A file whose libraries are still to be found.
struct Request {
    path: PathBuf,
    elf: Elf,
}

impl Closure {
    /// Collects what `executable` needs from the machine whose root is `root`.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable, too large or no ELF file.
    pub(crate) fn collect(root: &Path, executable: &Path) -> Result<Self, ClosureError> {
        let bytes = read(executable)?;
        let elf = parse(executable, &bytes)?;
        let machine = elf.machine;
        let architecture = machine.architecture().ok_or_else(|| ClosureError::UnknownMachine {
            path: executable.to_owned(),
            number: machine.number,
        })?;
        let path = std::path::absolute(executable).unwrap_or_else(|_| executable.to_owned());
        let loader = Loader {
            root: root.to_owned(),
            machine,
            multiarch: multiarch(architecture),
            configured: configured(root),
            built_in: built_in(machine.wide, multiarch(architecture)),
        };
        let mut closure =
            Self { machine, files: BTreeMap::new(), executable: bytes, library_path: vec![] };
        if let Some(interpreter) = elf.interpreter.clone() {
            let place = normal(Path::new(&interpreter));
            let bytes = read(&under(root, &place))?;
            closure.files.insert(place, bytes);
        }
        closure.add_libraries(&loader, Request { path, elf })?;
        Ok(closure)
    }

    /// Breadth first, as loaders do; a name is loaded once.
    fn add_libraries(&mut self, loader: &Loader, first: Request) -> Result<(), ClosureError> {
        let inherited = first.elf.rpath.clone();
        let executable = first.path.clone();
        let mut loaded: BTreeSet<OsString> = BTreeSet::new();
        let mut queue = VecDeque::from([first]);
        while let Some(request) = queue.pop_front() {
            for name in &request.elf.needed {
                if !loaded.insert(name.clone()) {
                    continue;
                }
                let (place, bytes) = loader.find(name, &request, (&executable, &inherited))?;
                let elf = parse(&place, &bytes)?;
                self.tell_loader_of(loader, &place);
                self.files.insert(place.clone(), bytes);
                queue.push_back(Request { path: place, elf });
            }
        }
        Ok(())
    }

    /// The image has no `ld.so.cache`, and the executable is no longer where `$ORIGIN` was.
    fn tell_loader_of(&mut self, loader: &Loader, library: &Path) {
        let Some(directory) = library.parent() else { return };
        let known = loader.built_in.iter().any(|known| known == directory)
            || self.library_path.iter().any(|known| known == directory);
        if !known {
            self.library_path.push(directory.to_owned());
        }
    }
}

/// A machine's loader, as far as it searches.
struct Loader {
    root: PathBuf,
    machine: Machine,
    multiarch: &'static str,
    configured: Vec<PathBuf>,
    built_in: Vec<PathBuf>,
}

impl Loader {
    fn find(
        &self,
        name: &OsStr,
        request: &Request,
        (executable, inherited): (&Path, &[OsString]),
    ) -> Result<(PathBuf, Vec<u8>), ClosureError> {
        if Path::new(name).components().count() > 1 {
            let path = normal(Path::new(name));
            return Ok((path.clone(), read(&under(&self.root, &path))?));
        }
        let expand = |paths: &[OsString], from: &Path| -> Vec<PathBuf> {
            let expand =
                |path: &OsString| expand_tokens(path, from, self.machine.wide, self.multiarch);
            paths.iter().filter_map(expand).map(|path| normal(&path)).collect()
        };
        let Request { path, elf } = request;
        let mut searched = Vec::new();
        if elf.runpath.is_empty() {
            searched.extend(expand(&elf.rpath, path));
            searched.extend(expand(inherited, executable));
        }
        searched.extend(expand(&elf.runpath, path));
        searched.extend(self.configured.iter().cloned());
        searched.extend(self.built_in.iter().cloned());
        for directory in &searched {
            let place = directory.join(name);
            let on_machine = under(&self.root, &place);
            if self.runs_here(&on_machine) {
                return Ok((place, read(&on_machine)?));
            }
        }
        let requester = path.clone();
        let name = name.to_string_lossy().into_owned();
        Err(ClosureError::Missing { requester, name, searched })
    }

    /// Loaders pass over libraries for other machines.
    fn runs_here(&self, path: &Path) -> bool {
        let mut start = [0; 20];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && elf::machine(&start) == Ok(self.machine)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Elf, ClosureError> {
    Elf::parse(bytes).map_err(|source| ClosureError::Elf { path: path.to_owned(), source })
}

/// Reads a file of reasonable size.
fn read(path: &Path) -> Result<Vec<u8>, ClosureError> {
    let failed = |source| ClosureError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        let source = io::Error::other("not a regular file");
        return Err(ClosureError::Read { path: path.to_owned(), source });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ClosureError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// An absolute path without `.` and `..`, which an image's paths cannot hold.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}
