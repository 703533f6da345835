//! Sums of files: of a download, taken while it is written, and of one that is here.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_oci::{Digest, Hasher};
use sha2::Digest as _;

/// The sum of a file and of some bytes behind it. A link is not followed.
pub(crate) fn of_file(path: &Path, algorithm: &str, suffix: &[u8]) -> io::Result<Digest> {
    let mut file = open(path)?;
    match algorithm {
        "sha384" => sum::<sha2::Sha384>(&mut file, algorithm, suffix),
        "sha512" => sum::<sha2::Sha512>(&mut file, algorithm, suffix),
        _ => sum::<sha2::Sha256>(&mut file, "sha256", suffix),
    }
}

/// Opens a file. A link is not followed.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?.into())
}

fn sum<H: sha2::Digest>(file: &mut File, algorithm: &str, suffix: &[u8]) -> io::Result<Digest> {
    let (mut hasher, mut piece) = (H::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => hasher.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    hasher.update(suffix);
    let digest = format!("{algorithm}:{}", hex::encode(hasher.finalize()));
    digest.parse().map_err(io::Error::other)
}

/// The sha256 of a download, and its sum by the user's algorithm.
pub(crate) struct Sums {
    sha256: Hasher,
    sha384: Option<sha2::Sha384>,
    sha512: Option<sha2::Sha512>,
}

impl Sums {
    pub(crate) fn new(expected: Option<&Digest>) -> Self {
        let algorithm = expected.map_or("sha256", Digest::algorithm);
        Self {
            sha256: Hasher::default(),
            sha384: (algorithm == "sha384").then(sha2::Sha384::default),
            sha512: (algorithm == "sha512").then(sha2::Sha512::default),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sum) = &mut self.sha384 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.sha512 {
            sum.update(bytes);
        }
    }

    /// The sha256, if the content is what is expected by whichever algorithm.
    ///
    /// # Errors
    ///
    /// The digest of what came, by the algorithm of what is expected.
    pub(crate) fn finish(self, expected: Option<&Digest>) -> Result<Digest, Digest> {
        let sha256 = self.sha256.finish();
        let other = match (self.sha384, self.sha512) {
            (Some(sum), _) => format!("sha384:{}", hex::encode(sum.finalize())).parse().ok(),
            (_, Some(sum)) => format!("sha512:{}", hex::encode(sum.finalize())).parse().ok(),
            _ => None,
        };
        let got = other.unwrap_or_else(|| sha256.clone());
        match expected {
            Some(wanted) if *wanted != got => Err(got),
            _ => Ok(sha256),
        }
    }
}
