//! Records that are put together into an exported cache, and the cache config that comes of them.
//!
//! Records come in one by one, each after those that lead to it; records that are reached on a way in
//! common are one. No record leads to itself, whatever came in. Nothing waits here.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_cache::{CacheKey, ExportGraph, Sum};
use kiln_oci::Digest;

use crate::config::{
    CacheConfig, ConfigChain, ConfigInput, ConfigLayer, ConfigRecord, ConfigResult, time_text,
};

/// A record by its number among those that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item(usize);

/// One way to an input: a record and what is read of it.
type Way = (Item, Option<Sum>);

/// A result of a record.
#[derive(Clone, Debug)]
pub struct ChainResult<L> {
    /// When it was made, in nanoseconds since 1970.
    pub created: u64,
    /// Its layers, bottom first; never empty.
    pub layers: Vec<L>,
}

/// What a layer has to say of itself.
pub trait ChainLayer {
    /// The blob that holds it.
    fn blob(&self) -> &Digest;
}

#[derive(Debug)]
struct Record<L> {
    digest: CacheKey,
    /// For every input, the ways to it.
    inputs: Vec<BTreeSet<Way>>,
    /// Records that it leads to.
    children: BTreeSet<Item>,
    results: Vec<ChainResult<L>>,
    /// The record that it turned out to be.
    same: Option<Item>,
}

/// Records that are put together.
#[derive(Debug)]
pub struct Chains<L> {
    records: Vec<Record<L>>,
    roots: HashMap<CacheKey, Item>,
    /// What a way leads to, by the input and the operation.
    along: HashMap<(Way, usize, CacheKey), BTreeSet<Item>>,
}

impl<L> Default for Chains<L> {
    fn default() -> Self {
        Self { records: Vec::new(), roots: HashMap::new(), along: HashMap::new() }
    }
}

impl<L> Chains<L> {
    /// Adds all records of a graph, without their results; what each became.
    pub fn add_graph(&mut self, graph: &ExportGraph) -> BTreeMap<CacheKey, Item> {
        let mut items: Vec<Item> = Vec::with_capacity(graph.records.len());
        let mut by_key = BTreeMap::new();
        for record in &graph.records {
            let ways = |links: &Vec<kiln_cache::ExportLink>| -> BTreeSet<Way> {
                links.iter().map(|link| (items[link.record], link.selector)).collect()
            };
            let inputs = record.inputs.iter().map(ways).collect();
            let item = self.add(record.operation, inputs);
            items.push(item);
            by_key.insert(record.key, item);
        }
        by_key
    }

    /// Adds a record, or the ways to it that were not known.
    pub fn add(&mut self, digest: CacheKey, mut inputs: Vec<BTreeSet<Way>>) -> Item {
        if inputs.is_empty() {
            if let Some(root) = self.roots.get(&digest) {
                return *root;
            }
            let root = self.new_record(digest, 0);
            self.roots.insert(digest, root);
            return root;
        }
        for ways in &mut inputs {
            *ways = ways.iter().map(|(item, selector)| (self.resolve(*item), *selector)).collect();
        }
        let matching = self.matching(digest, &inputs);
        let mut matching = matching.into_iter();
        let item = match matching.next() {
            None => self.new_record(digest, inputs.len()),
            Some(item) => {
                matching.for_each(|other| self.merge(item, other));
                self.drop_circles(item, &mut inputs);
                item
            }
        };
        for (input, ways) in inputs.into_iter().enumerate() {
            for way in ways {
                self.link(way, input, item);
            }
        }
        item
    }

    /// Adds a result to a record.
    pub fn add_result(&mut self, item: Item, result: ChainResult<L>) {
        let item = self.resolve(item);
        self.records[item.0].results.push(result);
    }

    /// The record that a record turned out to be.
    fn resolve(&self, mut item: Item) -> Item {
        while let Some(same) = self.records[item.0].same {
            item = same;
        }
        item
    }

    fn new_record(&mut self, digest: CacheKey, inputs: usize) -> Item {
        self.records.push(Record {
            digest,
            inputs: vec![BTreeSet::new(); inputs],
            children: BTreeSet::new(),
            results: Vec::new(),
            same: None,
        });
        Item(self.records.len() - 1)
    }

    /// The records of this operation to which every input leads.
    fn matching(&self, digest: CacheKey, inputs: &[BTreeSet<Way>]) -> BTreeSet<Item> {
        let mut matching: Option<BTreeSet<Item>> = None;
        for (input, ways) in inputs.iter().enumerate() {
            let led_to = ways.iter().filter_map(|way| self.along.get(&(*way, input, digest)));
            let led_to = led_to.flatten().map(|item| self.resolve(*item));
            let led_to = led_to.filter(|item| self.records[item.0].inputs.len() == inputs.len());
            let led_to: BTreeSet<Item> = led_to.collect();
            let both = match matching {
                None => led_to,
                Some(matching) => matching.intersection(&led_to).copied().collect(),
            };
            if both.is_empty() {
                return both;
            }
            matching = Some(both);
        }
        matching.unwrap_or_default()
    }

    fn link(&mut self, way: Way, input: usize, item: Item) {
        let digest = self.records[item.0].digest;
        if self.records[item.0].inputs[input].insert(way) {
            self.records[way.0.0].children.insert(item);
            self.along.entry((way, input, digest)).or_default().insert(item);
        }
    }

    /// Takes `other` into `item`: everything that leads to it or from it, and its results.
    fn merge(&mut self, item: Item, other: Item) {
        let children = std::mem::take(&mut self.records[other.0].children);
        let mut inputs = std::mem::take(&mut self.records[other.0].inputs);
        let results = std::mem::take(&mut self.records[other.0].results);
        self.records[other.0].same = Some(item);
        self.records[item.0].results.extend(results);
        self.drop_circles(item, &mut inputs);
        for (input, ways) in inputs.into_iter().enumerate() {
            ways.into_iter().for_each(|way| self.link(way, input, item));
        }
        for child in children.into_iter().map(|child| self.resolve(child)).collect::<Vec<_>>() {
            for input in 0..self.records[child.0].inputs.len() {
                let ways = &mut self.records[child.0].inputs[input];
                let moved: Vec<Way> = ways.iter().filter(|way| way.0 == other).copied().collect();
                ways.retain(|way| way.0 != other);
                if child != item {
                    moved.into_iter().for_each(|way| self.link((item, way.1), input, child));
                }
            }
        }
    }

    /// Drops ways that begin at the record itself or at what it leads to.
    fn drop_circles(&self, item: Item, inputs: &mut [BTreeSet<Way>]) {
        let known = &self.records[item.0].inputs;
        let is_new = |(input, ways): (usize, &BTreeSet<Way>)| {
            known.get(input).is_none_or(|known| !ways.is_subset(known))
        };
        if !inputs.iter().enumerate().any(is_new) {
            return;
        }
        let below = self.below(item);
        inputs.iter_mut().for_each(|ways| ways.retain(|(from, _)| !below.contains(from)));
    }

    /// A record and everything that it leads to.
    fn below(&self, item: Item) -> BTreeSet<Item> {
        let mut below = BTreeSet::new();
        let mut open = vec![item];
        while let Some(item) = open.pop() {
            let item = self.resolve(item);
            if below.insert(item) {
                open.extend(&self.records[item.0].children);
            }
        }
        below
    }
}

impl<L: ChainLayer + Clone> Chains<L> {
    /// The config, sorted so that the same records give the same bytes, and the layers in its order.
    ///
    /// Of several results of a record the newest is taken.
    pub fn config(&self) -> (CacheConfig, Vec<L>) {
        let mut layers = Layers::default();
        let mut numbers: HashMap<Item, i64> = HashMap::new();
        let mut records = Vec::new();
        for item in self.ordered() {
            let record = &self.records[item.0];
            // A way that leads in a circle is left out; there is none unless records were merged.
            let input = |way: &Way| {
                let link = *numbers.get(&self.resolve(way.0))?;
                let selector = way.1.map(|sum| format!("sha256:{sum}")).unwrap_or_default();
                Some(ConfigInput { selector, link })
            };
            let inputs = record.inputs.iter();
            let inputs = inputs.map(|ways| ways.iter().filter_map(input).collect()).collect();
            let best = record.results.iter().max_by_key(|result| result.created);
            let results = best.and_then(|best| {
                let layer = layers.add(&best.layers)?;
                Some(ConfigResult { layer, created_at: time_text(best.created) })
            });
            numbers.insert(item, records.len() as i64);
            records.push(ConfigRecord {
                results: results.into_iter().collect(),
                chains: Vec::new(),
                digest: digest_of(record.digest),
                inputs,
            });
        }
        let (sorted, order) = layers.sorted();
        let config = CacheConfig { layers: sorted, records, signatures: Vec::new() };
        (
            sort_records(config, &order),
            order.iter().map(|old| layers.layers[*old].clone()).collect(),
        )
    }

    /// The config for an image: of results only those whose layers are all among the image's, and
    /// each layer by its number there. `None` if there is no such result.
    pub fn config_within(&self, image: &[Digest]) -> Option<Vec<ConfigRecord>> {
        let mut within = self.restricted(image);
        let (config, layers) = within.config();
        within.records.clear();
        if config.layers.is_empty() {
            return None;
        }
        let mut records = config.records.clone();
        for record in &mut records {
            let mut results = Vec::new();
            for result in std::mem::take(&mut record.results) {
                let chain = config.layers_below(result.layer).ok()?;
                let blobs: Vec<&Digest> = chain.iter().map(|layer| layers[*layer].blob()).collect();
                let is_prefix = blobs.len() <= image.len()
                    && blobs.iter().zip(image).all(|(blob, of_image)| *blob == of_image);
                if is_prefix {
                    let layer = blobs.len() as i64 - 1;
                    results.push(ConfigResult { layer, ..result });
                    continue;
                }
                // Where a layer is in the image twice, the last counts, as in BuildKit.
                let place = |blob: &&Digest| image.iter().rposition(|of_image| of_image == *blob);
                let layers = blobs.iter().map(|blob| place(blob).map(|place| place as i64));
                let layers = layers.collect::<Option<Vec<i64>>>()?;
                record.chains.push(ConfigChain { layers, created_at: time_text(0) });
            }
            record.results = results;
        }
        Some(records)
    }

    /// The same records with those results whose layers are all in a list.
    fn restricted(&self, blobs: &[Digest]) -> Self {
        let has = |result: &&ChainResult<L>| {
            result.layers.iter().all(|layer| blobs.contains(layer.blob()))
        };
        let best = |record: &Record<L>| {
            let best = record.results.iter().max_by_key(|result| result.created);
            best.filter(has).cloned().into_iter().collect()
        };
        let record = |record: &Record<L>| Record {
            digest: record.digest,
            inputs: record.inputs.clone(),
            children: record.children.clone(),
            results: best(record),
            same: record.same,
        };
        let records = self.records.iter().map(record).collect();
        Self { records, roots: HashMap::new(), along: HashMap::new() }
    }

    /// The records, each after those that lead to it.
    fn ordered(&self) -> Vec<Item> {
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        let all = (0..self.records.len()).map(Item);
        for item in all.filter(|item| self.records[item.0].same.is_none()) {
            let mut open = vec![(item, false)];
            while let Some((item, is_left)) = open.pop() {
                if is_left {
                    order.push(item);
                } else if seen.insert(item) {
                    open.push((item, true));
                    let ways = self.records[item.0].inputs.iter().flatten();
                    open.extend(ways.map(|way| (self.resolve(way.0), false)));
                }
            }
        }
        order
    }
}

/// Layers with the ones below them, each once.
struct Layers<L> {
    config: Vec<ConfigLayer>,
    layers: Vec<L>,
    known: HashMap<(Digest, i64), i64>,
}

impl<L> Default for Layers<L> {
    fn default() -> Self {
        Self { config: Vec::new(), layers: Vec::new(), known: HashMap::new() }
    }
}

impl<L: ChainLayer + Clone> Layers<L> {
    /// Adds the layers of a result; the number of its top one.
    fn add(&mut self, layers: &[L]) -> Option<i64> {
        let mut parent = -1;
        for layer in layers {
            let blob = layer.blob().clone();
            let next = self.config.len() as i64;
            let number = *self.known.entry((blob.clone(), parent)).or_insert(next);
            if number == next {
                self.config.push(ConfigLayer { blob, parent, annotations: None });
                self.layers.push(layer.clone());
            }
            parent = number;
        }
        (parent >= 0).then_some(parent)
    }

    /// The layers by blob and parent, and what number each of them had.
    fn sorted(&self) -> (Vec<ConfigLayer>, Vec<usize>) {
        // Layers with the same blob are told apart by what is below them, all the way down.
        let chain = |mut number: i64| {
            let mut blobs = Vec::new();
            while number >= 0 {
                let layer = &self.config[number as usize];
                blobs.push(layer.blob.as_str());
                number = layer.parent;
            }
            blobs
        };
        let mut order: Vec<usize> = (0..self.config.len()).collect();
        order.sort_by_cached_key(|old| chain(*old as i64));
        let mut new = vec![-1; order.len()];
        order.iter().enumerate().for_each(|(at, old)| new[*old] = at as i64);
        let renumbered = order.iter().map(|old| {
            let layer = self.config[*old].clone();
            let parent = usize::try_from(layer.parent).map_or(-1, |parent| new[parent]);
            ConfigLayer { parent, ..layer }
        });
        (renumbered.collect(), order)
    }
}

/// Sorts the records: by digest, number of inputs, and what leads to them.
fn sort_records(mut config: CacheConfig, layers: &[usize]) -> CacheConfig {
    let digests: Vec<Digest> = config.records.iter().map(|record| record.digest.clone()).collect();
    for ways in config.records.iter_mut().flat_map(|record| &mut record.inputs) {
        ways.sort_by(|a, b| compare_ways(&digests, a, b));
    }
    let mut order: Vec<usize> = (0..config.records.len()).collect();
    order.sort_by(|a, b| compare(&digests, &config.records[*a], &config.records[*b]));
    let mut new = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, old)| new[*old] = at as i64);
    let mut new_layer = vec![0; layers.len()];
    layers.iter().enumerate().for_each(|(at, old)| new_layer[*old] = at as i64);
    config.records = order.iter().map(|old| config.records[*old].clone()).collect();
    for record in &mut config.records {
        for result in &mut record.results {
            result.layer = new_layer[result.layer as usize];
        }
        for ways in &mut record.inputs {
            ways.iter_mut().for_each(|way| way.link = new[way.link as usize]);
            ways.sort_by_key(|way| way.link);
        }
    }
    config
}

fn compare_ways(digests: &[Digest], a: &ConfigInput, b: &ConfigInput) -> Ordering {
    let digest = |way: &ConfigInput| digests[way.link as usize].as_str();
    (a.selector.as_str(), digest(a)).cmp(&(b.selector.as_str(), digest(b)))
}

fn compare(digests: &[Digest], a: &ConfigRecord, b: &ConfigRecord) -> Ordering {
    let by_ways = || {
        let both = a.inputs.iter().zip(&b.inputs);
        let compared = both.map(|(a, b)| {
            let by_way = || a.iter().zip(b).map(|(a, b)| compare_ways(digests, a, b));
            a.len()
                .cmp(&b.len())
                .then_with(|| by_way().find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
        });
        compared.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    };
    let of_digest = a.digest.as_str().cmp(b.digest.as_str());
    of_digest.then(a.inputs.len().cmp(&b.inputs.len())).then_with(by_ways)
}

/// The digest that a key of this scope is.
fn digest_of(key: CacheKey) -> Digest {
    // Keys of operations that are exported are sha256 sums in text.
    key.to_string().parse().unwrap_or_else(|_| Digest::sha256(key.to_string()))
}
