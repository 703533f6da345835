//! The file as it is meant: names resolved, paths and addresses checked, every mistake found.
//!
//! Text comes in, a [`Plan`] or all mistakes go out; past this boundary nothing is asked again. What to
//! build of a plan is decided in [`crate::lower`].

use std::collections::BTreeMap;

use kiln_sdk::document::{self, Diagnostic, Language, Limits, Source, Span};
use kiln_sdk::frontend::Parsed;
use kiln_sdk::oci::{Digest, Reference};

use crate::check;
use crate::file::File;

/// A whole file: images, of which each starts from something that is known.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order of the file; never empty.
    pub(crate) images: Vec<Image>,
}

/// One image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) base: Base,
    /// Where the base is named.
    pub(crate) base_span: Span,
    pub(crate) workdir: Option<Placed<String>>,
    pub(crate) packages: Packages,
    pub(crate) externals: Vec<External>,
    pub(crate) steps: Vec<Placed<String>>,
    pub(crate) output: Vec<Placed<String>>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) user: Option<String>,
}

/// A value and the part of the file it stands for.
pub(crate) type Placed<T> = document::Spanned<T>;

/// What an image starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An image of a registry.
    Image(Reference),
    /// The result of another image of the plan, by index.
    Result(usize),
    /// Another image of the plan, by index, before its output is taken.
    Whole(usize),
}

/// What apt is asked to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packages {
    /// Lines of the list of sources, and the places of all of them.
    pub(crate) sources: Option<Placed<Vec<String>>>,
    /// Addresses of keys.
    pub(crate) keys: Vec<Placed<String>>,
    /// Names of packages, and the places of all of them.
    pub(crate) install: Option<Placed<Vec<String>>>,
}

/// A file from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct External {
    pub(crate) from: Origin,
    /// An absolute path; of a directory when the file is unpacked.
    pub(crate) to: String,
    /// Whether the file is an archive whose content is wanted.
    pub(crate) unpack: bool,
    pub(crate) install: Vec<Placed<String>>,
    pub(crate) span: Span,
}

impl External {
    /// Whether what is unpacked is called a zip file.
    pub(crate) fn is_zip(&self) -> bool {
        let name = match &self.from {
            Origin::Url { file_name, .. } => file_name,
            Origin::Context(path) => path,
        };
        self.unpack && name.to_ascii_lowercase().ends_with(".zip")
    }
}

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A download.
    Url {
        /// Its address.
        url: String,
        /// What its bytes must add up to.
        checksum: Option<Digest>,
        /// What to call it.
        file_name: String,
    },
    /// A path in the build context, relative and without `..`.
    Context(String),
}

impl Plan {
    /// Reads and checks a file. On success the diagnostics are warnings.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in its order.
    pub(crate) fn read(source: &Source) -> Result<Parsed<Self>, Vec<Diagnostic>> {
        let language = Language::of(&source.name).unwrap_or(Language::Yaml);
        let file: File = document::parse(source, language, &Limits::default())?;
        check::check(&file)
    }

    /// The image called `name`, or the default one: the last of the file.
    ///
    /// # Errors
    ///
    /// A text for people when there is no such image.
    pub(crate) fn target(&self, name: Option<&str>) -> Result<usize, String> {
        let Some(name) = name else { return Ok(self.images.len().saturating_sub(1)) };
        if let Some(index) = self.images.iter().position(|image| image.name == name) {
            return Ok(index);
        }
        let names: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
        let guess = document::did_you_mean(name, names.iter().copied());
        let guess = guess.map(|guess| format!("did you mean `{guess}`? ")).unwrap_or_default();
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(format!("target `{name}` does not exist; {guess}images of this file are {list}"))
    }

    /// `target` and the images it needs, each after what it starts from.
    pub(crate) fn needed(&self, target: usize) -> Vec<usize> {
        let mut chain = vec![target];
        // Bases make no circles, see `check`; the bound is for the reader.
        while chain.len() <= self.images.len() {
            match self.images[chain[chain.len() - 1]].base {
                Base::Result(base) | Base::Whole(base) => chain.push(base),
                Base::Scratch | Base::Image(_) => break,
            }
        }
        chain.reverse();
        chain
    }
}
