//! Stories about records that are put together.

use std::collections::BTreeSet;

use kiln_cache::{CacheKey, Sum};
use kiln_oci::Digest;

use crate::chains::{ChainLayer, ChainResult, Chains, Item};
use crate::config::{CacheConfig, parse_time, time_text};

#[derive(Clone, Debug, PartialEq)]
struct Layer(Digest);

impl ChainLayer for Layer {
    fn blob(&self) -> &Digest {
        &self.0
    }
}

fn key(name: &str) -> CacheKey {
    CacheKey::of_digest(&Digest::sha256(name))
}

fn digest(name: &str) -> Digest {
    Digest::sha256(name)
}

fn result(created: u64, layers: &[&str]) -> ChainResult<Layer> {
    let layers = layers.iter().map(|layer| Layer(digest(layer))).collect();
    ChainResult { created, layers }
}

fn ways(items: &[Item]) -> BTreeSet<(Item, Option<Sum>)> {
    items.iter().map(|item| (*item, None)).collect()
}

fn record<'a>(config: &'a CacheConfig, name: &str) -> &'a crate::ConfigRecord {
    let named = config.records.iter().find(|record| record.digest == digest(name));
    named.unwrap_or_else(|| panic!("no record {name}"))
}

#[test]
fn records_on_a_way_in_common_are_one() {
    let mut chains: Chains<Layer> = Chains::default();
    let (image, other) =
        (chains.add(key("image"), Vec::new()), chains.add(key("other"), Vec::new()));
    let content = chains.add(key("content"), Vec::new());
    let run = chains.add(key("run"), vec![ways(&[image])]);
    assert_eq!(chains.add(key("run"), vec![ways(&[image, content])]), run);
    assert_eq!(chains.add(key("run"), vec![ways(&[content])]), run, "by what was added");
    assert_ne!(chains.add(key("run"), vec![ways(&[other])]), run);
    assert_ne!(chains.add(key("walk"), vec![ways(&[image])]), run);
    assert_eq!(chains.add(key("image"), Vec::new()), image);
}

#[test]
fn records_that_turn_out_to_be_one_are_merged_with_all_that_hangs_on_them() {
    let mut chains: Chains<Layer> = Chains::default();
    let (a, b) = (chains.add(key("a"), Vec::new()), chains.add(key("b"), Vec::new()));
    let (by_a, by_b) =
        (chains.add(key("run"), vec![ways(&[a])]), chains.add(key("run"), vec![ways(&[b])]));
    chains.add(key("last"), vec![ways(&[by_b])]);
    chains.add_result(by_a, result(1, &["one"]));
    chains.add_result(by_b, result(2, &["two"]));
    chains.add(key("run"), vec![ways(&[a, b])]);
    chains.add_result(by_b, result(3, &["three"]));
    let (config, layers) = chains.config();
    assert_eq!(config.records.len(), 4);
    assert_eq!(record(&config, "run").inputs[0].len(), 2);
    assert_eq!(record(&config, "last").inputs[0].len(), 1);
    // Of several results the newest is exported.
    assert_eq!(layers, [Layer(digest("three"))]);
}

#[test]
fn no_record_leads_to_itself() {
    let mut chains: Chains<Layer> = Chains::default();
    let content = chains.add(key("content"), Vec::new());
    let touch = chains.add(key("touch"), vec![ways(&[content])]);
    let chmod = chains.add(key("chmod"), vec![ways(&[touch])]);
    // It changed nothing, so that what comes of it leads to it by content.
    chains.add(key("touch"), vec![ways(&[content, chmod, touch])]);
    let (config, _) = chains.config();
    assert_eq!(record(&config, "touch").inputs[0].len(), 1);
    assert_eq!(record(&config, "chmod").inputs[0].len(), 1);
}

#[test]
fn layers_of_results_share_what_is_below_them() {
    let mut chains: Chains<Layer> = Chains::default();
    let image = chains.add(key("image"), Vec::new());
    let one = chains.add(key("one"), vec![ways(&[image])]);
    let two = chains.add(key("two"), vec![ways(&[one])]);
    chains.add_result(one, result(1_000_000_000, &["base", "one"]));
    chains.add_result(two, result(1_500_000_000, &["base", "one", "two"]));
    let (config, layers) = chains.config();
    assert_eq!((config.layers.len(), layers.len()), (3, 3));
    let of = |name: &str| config.layers_below(record(&config, name).results[0].layer).unwrap();
    assert_eq!((of("one").len(), of("two").len()), (2, 3));
    assert_eq!(of("two")[..2], of("one"));
    assert_eq!(record(&config, "two").results[0].created_at, "1970-01-01T00:00:01.5Z");
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(CacheConfig::parse(json.as_bytes()).unwrap(), config);
}

#[test]
fn the_same_records_give_the_same_config_in_whatever_order_they_came() {
    let made = |backwards: bool| {
        let mut chains: Chains<Layer> = Chains::default();
        let mut names = ["a", "b", "c", "d"];
        if backwards {
            names.reverse();
        }
        let roots = names.map(|name| chains.add(key(name), Vec::new()));
        for (root, name) in roots.iter().zip(names) {
            let run = chains.add(key("run"), vec![ways(&[*root])]);
            chains.add_result(run, result(1, &["base", name]));
        }
        chains.config().0
    };
    assert_eq!(made(false), made(true));
}

#[test]
fn in_an_image_results_are_named_by_its_layers() {
    let mut chains: Chains<Layer> = Chains::default();
    let image = chains.add(key("image"), Vec::new());
    let whole = chains.add(key("whole"), vec![ways(&[image])]);
    let upper = chains.add(key("upper"), vec![ways(&[image])]);
    let elsewhere = chains.add(key("elsewhere"), vec![ways(&[image])]);
    chains.add_result(whole, result(5, &["0", "1", "2"]));
    chains.add_result(upper, result(6, &["1", "2"]));
    chains.add_result(elsewhere, result(7, &["0", "9"]));
    let layers = ["0", "1", "2"].map(digest);
    let records = chains.config_within(&layers).unwrap();
    let config = CacheConfig { records, ..CacheConfig::default() };
    let whole = record(&config, "whole");
    assert_eq!((whole.results[0].layer, whole.chains.len()), (2, 0));
    let upper = record(&config, "upper");
    assert_eq!((upper.results.len(), &upper.chains[0].layers[..]), (0, &[1, 2][..]));
    assert_eq!(upper.chains[0].created_at, "0001-01-01T00:00:00Z");
    let elsewhere = record(&config, "elsewhere");
    assert!(elsewhere.results.is_empty() && elsewhere.chains.is_empty());
    assert_eq!(chains.config_within(&[digest("9")]), None);
}

#[test]
fn times_are_written_and_read_as_go_does() {
    for (nanos, text) in [
        (0, "0001-01-01T00:00:00Z"),
        (1_764_348_003_127_761_376, "2025-11-28T16:40:03.127761376Z"),
        (1_764_348_003_100_000_000, "2025-11-28T16:40:03.1Z"),
    ] {
        assert_eq!(time_text(nanos), text);
        assert_eq!(parse_time(text), nanos);
    }
    assert_eq!(parse_time("yesterday"), 0);
}
