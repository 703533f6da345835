//! The operation that changes files, as data: a short program of actions.

use serde::Serialize;

/// The worker filter of a file operation that wants zip files to be unpacked, where it wants archives
/// unpacked at all. A filter is part of the operation and its digest, and daemons that do not know
/// this one copy zip files as they are.
pub const UNPACK_ZIP: &str = "kiln.unpack==zip";

/// A list of actions; each starts from an input or from what an earlier action made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOp {
    /// In order.
    pub steps: Vec<FileStep>,
}

impl FileOp {
    /// Makes every copy that unpacks archives unpack zip files too.
    pub(crate) fn unpack_zips(&mut self) {
        for step in &mut self.steps {
            if let FileAction::Copy(copy) = &mut step.action {
                copy.unpack_zip = copy.unpack;
            }
        }
    }
}

/// One action with what it starts from and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileStep {
    /// What it changes.
    pub input: FileInput,
    /// What it reads besides (the source of a copy).
    pub secondary: FileInput,
    /// The output of the operation that the result is; most have none.
    pub output: Option<usize>,
    /// What to do.
    pub action: FileAction,
}

/// What an action starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FileInput {
    /// Nothing.
    Scratch,
    /// An input of the vertex.
    Vertex(usize),
    /// The result of an earlier action of the same operation.
    Action(usize),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum FileAction {
    /// Copies from the secondary input.
    Copy(Box<CopyAction>),
    /// Writes a file.
    MakeFile {
        /// Where.
        path: String,
        /// Permissions of a new file.
        mode: u32,
        /// Its content.
        data: Vec<u8>,
        /// Its owner.
        owner: Option<FileOwner>,
        /// Its time in nanoseconds since 1970.
        timestamp: Option<i64>,
    },
    /// Makes a directory.
    MakeDir {
        /// Where.
        path: String,
        /// Its permissions.
        mode: u32,
        /// Make missing parents too.
        make_parents: bool,
        /// Its owner.
        owner: Option<FileOwner>,
        /// Its time in nanoseconds since 1970.
        timestamp: Option<i64>,
    },
    /// Removes files.
    Remove {
        /// Which.
        path: String,
        /// It is no error if there is none.
        allow_not_found: bool,
        /// `path` is a pattern.
        allow_wildcard: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where it points.
        target: String,
        /// Where it is.
        path: String,
        /// Its owner.
        owner: Option<FileOwner>,
        /// Its time in nanoseconds since 1970.
        timestamp: Option<i64>,
    },
}

/// Copies files from one file system to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyAction {
    /// What to copy.
    pub src: String,
    /// Where to; with a slash at the end it is a directory to copy into.
    pub dest: String,
    /// The owner of the copies.
    pub owner: Option<FileOwner>,
    /// The permissions of the copies, as a number.
    pub mode: Option<u32>,
    /// The permissions of the copies, as chmod's words.
    pub mode_text: String,
    /// Follow `src` if it is a symbolic link.
    pub follow_symlink: bool,
    /// Copy what is in the directory rather than the directory.
    pub dir_contents: bool,
    /// Unpack `src` if it is a tar archive, however compressed.
    pub unpack: bool,
    /// Unpack it if it is a zip file, too. Only who asks for [`UNPACK_ZIP`] gets this: jars, wheels
    /// and documents are zip files, and `ADD` copies them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpack_zip: bool,
    /// Make missing parents of `dest`.
    pub create_dest_path: bool,
    /// `src` is a pattern.
    pub allow_wildcard: bool,
    /// It is no error if the pattern fits nothing.
    pub allow_empty_wildcard: bool,
    /// The time of the copies in nanoseconds since 1970.
    pub timestamp: Option<i64>,
    /// Only what fits one of these.
    pub include_patterns: Vec<String>,
    /// Not what fits one of these.
    pub exclude_patterns: Vec<String>,
    /// Paths that must exist in the source.
    pub required_paths: Vec<String>,
    /// Replace what is in the way even if it is of another kind.
    pub always_replace: bool,
}

/// Who owns a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileOwner {
    /// The user.
    pub user: Option<FileUser>,
    /// The group.
    pub group: Option<FileUser>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum FileUser {
    /// By number.
    Id(u32),
    /// By name, looked up in a file system.
    Name {
        /// The name.
        name: String,
        /// Whose /etc/passwd and /etc/group; a scratch input finds nobody.
        input: FileInput,
    },
}
