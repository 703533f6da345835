//! Options from anybody: whatever they say, they are read or refused, and never end the program.

use std::collections::BTreeMap;

use kiln_frontend::{BuildInfo, Contexts, GitRef, NamedRequest, Options, Settings, fields};
use kiln_oci::{Platform, Reference};
use kiln_testing::{Fixture, block_on};
use proptest::prelude::*;

const KEYS: &[&str] = &[
    "add-hosts",
    "attest:sbom",
    "cache-imports",
    "context",
    "context:alpine",
    "contextsubdir",
    "cpusetcpus",
    "cpushares",
    "filename",
    "force-network-mode",
    "frontend.caps",
    "image-resolve-mode",
    "input-metadata:x",
    "memory",
    "multi-platform",
    "no-cache",
    "platform",
    "shm-size",
    "ulimit",
];

/// Values that look as if they meant something.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9=:,/@.#?&\"%+*() -]{0,40}",
        "(docker-image|oci-layout|local|input|git|https)://[a-z0-9./:@#?=-]{0,30}",
        "-?[0-9]{1,25}",
    ]
}

fn options() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = proptest::sample::select(KEYS).prop_map(str::to_owned);
    proptest::collection::btree_map(key, value(), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_options_are_read_or_refused(options in options()) {
        let info = BuildInfo::default().with_options(Options(options.clone()));
        let Ok(settings) = Settings::read(&info) else { return Ok(()) };
        let mut fixture = Fixture::new().file("dockerfile", "Dockerfile", "x").any_image();
        for (key, value) in &options {
            fixture = fixture.option(key, value);
        }
        let bridge = fixture.bridge();
        let contexts = Contexts::new(&bridge, &settings);
        block_on(async {
            drop(contexts.definition_file(&["Dockerfile"], "Dockerfile").await);
            drop(contexts.main_context().await);
            if let Ok(Some(named)) = contexts.named("alpine", NamedRequest::default()) {
                drop(named.load().await);
            }
        });
    }

    #[test]
    fn any_text_is_an_address_a_list_a_name_or_none(text in value()) {
        drop(GitRef::parse(&text).map(|git| git.options()));
        drop(fields(&text));
        drop(Reference::parse_verbatim(&text));
        if let Ok(platform) = Platform::parse(&text) {
            let again = Platform::parse(&platform.format_all()).unwrap();
            prop_assert_eq!(again.format_all(), platform.format_all());
        }
        if let Ok(reference) = Reference::parse_untagged(&text) {
            prop_assert_eq!(Reference::parse_untagged(&reference.familiar()), Ok(reference));
        }
    }
}
