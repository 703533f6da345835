//! What the name of an image means now, and where the image is.
//!
//! Content that is here is given out only under names that it can be reached by. That a repository
//! has a digest is asked of its registry, unless it was found to be so before without any login, and
//! so for anyone; with a login it is asked again in each build, because another client may have none.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use kiln_graph::{ImageSource, ResolveMode};
use kiln_oci::{Descriptor, Digest, Platform, Reference, chain_ids};
use kiln_registry::ImagePlan;
use serde::{Deserialize, Serialize};

use crate::image::documents::{RememberedDocuments, describe};
use crate::image::{Image, ImageError, Origin};
use crate::named::NamedImage;
use crate::source::Context;
use crate::state::{IMAGES, REACHED, REFS};

/// How long a registry may take to say what a name means, if the store has an image of that name.
const TIMEOUT: Duration = Duration::from_secs(1);
/// More than this is not remembered of the builds that run.
const MOST_REACHED: usize = 4096;

/// What a name meant when its registry was asked last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    descriptor: Descriptor,
    at: SystemTime,
}

/// Digests that were found in repositories with the logins of the clients of now.
#[derive(Default)]
pub(super) struct Reached(Mutex<BTreeSet<(String, String)>>);

impl Reached {
    fn contains(&self, identity: &str, key: &str) -> bool {
        let reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reached.contains(&(identity.to_owned(), key.to_owned()))
    }

    fn insert(&self, identity: &str, key: &str) {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reached.len() >= MOST_REACHED {
            reached.clear();
        }
        reached.insert((identity.to_owned(), key.to_owned()));
    }
}

impl Image {
    /// What the name means, and where the image is.
    pub(super) async fn resolve(
        &self,
        source: &ImageSource,
        platform: &Platform,
        context: &Context,
    ) -> Result<(Origin, Descriptor), ImageError> {
        let reference = &source.reference;
        let named = match source.resolve_mode {
            ResolveMode::Pull => None,
            ResolveMode::Default | ResolveMode::Local => self.named.find(reference),
        };
        if source.resolve_mode == ResolveMode::Local
            && let Some(known) = self.known(reference, platform, context).await
            && named.as_ref().is_none_or(|image| image.since < known.at)
        {
            return Ok((Origin::Registry(reference.clone()), known.descriptor));
        }
        let ask = self.ask(reference, context);
        let Some(image) = named else {
            return Ok((Origin::Registry(reference.clone()), ask.await?));
        };
        // An image of the store has its name here; only a tag may mean another one elsewhere.
        if reference.digest().is_none() && source.resolve_mode == ResolveMode::Default {
            let reason = match tokio::time::timeout(TIMEOUT, ask).await {
                Ok(Ok(root)) => return Ok((Origin::Registry(reference.clone()), root)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} second", TIMEOUT.as_secs()),
            };
            tracing::info!(%reference, reason, "an image of the store stands in for its registry");
            drop(context.begin(format!("use {reference} from the store"), 0));
        }
        Ok(stored(reference, image))
    }

    /// What a tag meant when its registry was asked last, if the image is here and this client may
    /// have it.
    async fn known(
        &self,
        reference: &Reference,
        platform: &Platform,
        context: &Context,
    ) -> Option<Known> {
        if reference.digest().is_some() {
            return None;
        }
        let known = self.state.get::<Known>(&IMAGES, &reference.to_string()).await?;
        let may = self.is_reached(reference, &known.descriptor.digest, context).await;
        (may && self.is_here(&known.descriptor, platform).await).then_some(known)
    }

    /// Whether all of an image is in the store.
    async fn is_here(&self, root: &Descriptor, platform: &Platform) -> bool {
        let documents = RememberedDocuments(self);
        let Ok(plan) = ImagePlan::read("", root.clone(), platform, &documents).await else {
            return false;
        };
        let Some(chain_id) = chain_ids(&plan.config.rootfs.diff_ids).pop() else { return true };
        let id = self.state.get::<String>(&REFS, &format!("image {chain_id}")).await;
        id.is_some_and(|id| self.store.load(&id).is_ok())
    }

    /// What the name means according to its registry, which is asked unless it is known that it has
    /// the digest.
    async fn ask(
        &self,
        reference: &Reference,
        context: &Context,
    ) -> Result<Descriptor, ImageError> {
        if let Some(digest) = reference.digest()
            && self.is_reached(reference, digest, context).await
            && let Some(bytes) = self.remembered(digest).await
        {
            return Ok(describe(digest, &bytes));
        }
        let credentials = context.session.credentials();
        let resolved = self.registry_of(context).resolve(reference, &*credentials).await?;
        let descriptor = resolved.descriptor;
        if let Some(bytes) = &resolved.bytes {
            self.remember(&descriptor.digest, bytes).await;
        }
        let key = reached_key(reference, &descriptor.digest);
        match resolved.is_public {
            true => self.state.put(&REACHED, &key, &()).await,
            false => self.reached.insert(credentials.identity(), &key),
        }
        let known = Known { descriptor: descriptor.clone(), at: SystemTime::now() };
        self.state.put(&IMAGES, &reference.to_string(), &known).await;
        Ok(descriptor)
    }

    /// Whether a repository is known to have a digest, for whoever this client is.
    async fn is_reached(&self, reference: &Reference, digest: &Digest, context: &Context) -> bool {
        let key = reached_key(reference, digest);
        self.reached.contains(context.session.credentials().identity(), &key)
            || self.state.get::<()>(&REACHED, &key).await.is_some()
    }
}

/// An image of the store that has the name.
fn stored(reference: &Reference, image: NamedImage) -> (Origin, Descriptor) {
    let root = image.root.clone();
    (Origin::Store { name: reference.to_string(), image: Box::new(image) }, root)
}

fn reached_key(reference: &Reference, digest: &Digest) -> String {
    format!("{} {digest}", reference.name())
}
