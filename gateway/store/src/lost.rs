//! Layers that are known and cannot be had.
//!
//! Somebody who keeps results for others, such as a cache that was imported, may name layers that it
//! does not have, or has otherwise than it says. What is read of it then fails once, as [`LostLayer`];
//! for a while every ref that needs the layer is a miss, so that who builds again makes it anew, and
//! other layers of the same provider are believed to be there only when they are here.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_oci::{Descriptor, Digest};

use crate::provider::{BlobProvider, Cause};

/// How long somebody is not asked again for what was lost.
const ASKED_AGAIN: Duration = Duration::from_secs(600);

/// How many losses are remembered.
const MOST: usize = 10_000;

/// A layer that has to be made anew, because who should have it does not give it. Stands in the chain
/// of sources of an error, and says what that one says which it holds.
pub struct LostLayer(Cause);

impl LostLayer {
    /// Whether one stands in the chain of sources of an error.
    pub fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| (*error).source())
            .any(|error| error.is::<Self>())
    }
}

impl fmt::Debug for LostLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LostLayer").field(&self.0).finish()
    }
}

impl fmt::Display for LostLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for LostLayer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Who has lost which blobs, and since when.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<(Digest, String), Instant>>);

impl Losses {
    /// Notes that somebody has lost a blob, if that follows from an error; the error, marked then.
    pub(crate) fn judge(
        &self,
        blob: &Descriptor,
        provider: &dyn BlobProvider,
        error: Cause,
    ) -> Cause {
        if !provider.has_lost(&*error) {
            return error;
        }
        let now = Instant::now();
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.retain(|_, since| now.duration_since(*since) < ASKED_AGAIN);
        if lost.len() < MOST {
            lost.insert((blob.digest.clone(), provider.name()), now);
        }
        Box::new(LostLayer(error))
    }

    /// Whether somebody has lost a blob a short while ago.
    pub(crate) fn has_lost(&self, provider: &Arc<dyn BlobProvider>, blob: &Digest) -> bool {
        self.any(provider, |lost| lost == blob)
    }

    /// Whether somebody has lost anything a short while ago.
    pub(crate) fn is_doubtful(&self, provider: &Arc<dyn BlobProvider>) -> bool {
        self.any(provider, |_| true)
    }

    fn any(&self, provider: &Arc<dyn BlobProvider>, which: impl Fn(&Digest) -> bool) -> bool {
        let lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Hardly anything is ever lost; names are made up of parts.
        if lost.is_empty() {
            return false;
        }
        let name = provider.name();
        lost.iter().any(|((blob, from), since)| {
            *from == name && which(blob) && since.elapsed() < ASKED_AGAIN
        })
    }
}
