//! The containers of one build, at the side that answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Status;

use crate::containers::Container;

/// Containers that one build may have at a time.
const MAX_CONTAINERS: usize = 256;

/// The containers of one build, by the names that the far side chose. Dropping it releases them.
#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<String, Arc<dyn Container>>>);

impl Table {
    /// Adds a container under a name that is not taken.
    pub(crate) fn add(&self, name: &str, container: Arc<dyn Container>) -> Result<(), Status> {
        let mut table = self.lock();
        if table.contains_key(name) {
            return Err(Status::already_exists(format!("Container {name} already exists")));
        }
        if table.len() >= MAX_CONTAINERS {
            let message = format!("a build may have {MAX_CONTAINERS} containers at a time");
            return Err(Status::resource_exhausted(message));
        }
        table.insert(name.to_owned(), container);
        Ok(())
    }

    /// The container of a name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<dyn Container>, Status> {
        let missing =
            || Status::not_found(format!("container {name:?} previously released or not created"));
        self.lock().get(name).cloned().ok_or_else(missing)
    }

    /// Releases the container of a name.
    pub(crate) async fn release(&self, name: &str) -> Result<(), Status> {
        let missing = || Status::unknown(format!("container details for {name} not found"));
        let container = self.lock().remove(name).ok_or_else(missing)?;
        container.release();
        container.ended().await.map_err(|error| error.to_status())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Container>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.lock().values().for_each(|container| container.release());
    }
}
