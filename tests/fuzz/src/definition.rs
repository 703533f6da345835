//! A definition as it comes over the wire: decoded, shown, written again, loaded as a graph.

use kiln_graph::{Graph, LoadContext};
use kiln_llb::Definition;
use kiln_oci::Platform;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(definition) = Definition::from_bytes(bytes) else { return };
    let again = Definition::from_bytes(&definition.to_bytes());
    assert_eq!(again.expect("what was written can be read").to_bytes(), definition.to_bytes());
    definition.to_json().ok();
    definition.to_dot().ok();
    let context = LoadContext {
        default_platform: Platform::new("linux", "amd64"),
        session: "session".into(),
        lenders: Default::default(),
        entitlements: kiln_graph::Entitlements::default(),
        devices: None,
        proxy_network: None,
    };
    let is_empty = definition.is_empty();
    let Ok(graph) = Graph::load(&definition.into(), &context) else { return };
    assert_eq!(graph.root().is_none(), is_empty, "only no definition at all has no result");
}
