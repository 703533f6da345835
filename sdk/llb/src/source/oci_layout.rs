//! Images in an OCI layout (`oci-layout://`), which a session or a store of the daemon offers.

use super::SourceVertex;
use crate::{Constraints, State, caps};

/// Options of [`State::oci_layout`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OciLayout {
    /// Who has the layout; the session of the build if absent.
    pub store: Option<OciStore>,
    /// Take only the lowest layers, so many of them.
    pub layer_limit: Option<u32>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(OciLayout {
    with_store(store: impl Into<Option<OciStore>>),
    with_layer_limit(layer_limit: Option<u32>),
    with_constraints(constraints: Constraints),
});

/// Who has a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OciStore {
    /// The session.
    pub session_id: String,
    /// The name of the store in that session.
    pub store_id: String,
}

crate::setters!(OciStore {
    with_session_id(session_id: impl Into<String>),
    with_store_id(store_id: impl Into<String>),
});

impl OciStore {
    pub(super) fn describe(&self, source: &mut SourceVertex) {
        source.set("oci.session", self.session_id.as_str());
        source.set("oci.store", self.store_id.as_str());
    }
}

impl State {
    /// An image of an OCI layout, by `name@digest`.
    ///
    /// The reference travels as it is written: it names nothing outside the layout.
    pub fn oci_layout(reference: &str, layout: OciLayout) -> Self {
        let mut source = SourceVertex::new(caps::SOURCE_OCI_LAYOUT);
        source.identifier = format!("oci-layout://{reference}");
        if let Some(store) = &layout.store {
            store.describe(&mut source);
        }
        source.set("oci.layerlimit", layout.layer_limit.map(|n| n.to_string()).unwrap_or_default());
        source.state(layout.constraints)
    }
}
