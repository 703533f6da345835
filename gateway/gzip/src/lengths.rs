//! In: how often each symbol occurs and how long a code may be. Out: how long the
//! code of each symbol is, the same among equally good answers as Go's.

use crate::token::LITERALS;

/// The longest code the format knows.
pub(crate) const LONGEST: usize = 15;

/// Occurrences of symbols that occur, in rising order.
struct Sorted {
    /// The count above the symbol, which orders by both at once.
    keys: [u32; LITERALS],
    len: usize,
}

const SYMBOL_BITS: u32 = 9;

/// How many symbols have a code of each length.
type Histogram = [usize; LONGEST + 1];

/// The code length of each symbol; 0 where `counts` has none.
///
/// `limit` is at most [`LONGEST`], the sum of all counts below 2^23.
pub(crate) fn code_lengths<const N: usize>(counts: &[u32; N], limit: usize) -> [u8; N] {
    let sorted = Sorted::of(counts);
    let histogram = match sorted.len {
        0..=2 => tiny(sorted.len),
        _ => tree(&sorted).filter(|it| fits(it, limit)).unwrap_or_else(|| packages(&sorted, limit)),
    };
    let mut lengths = [0; N];
    let rare_first = (1..=LONGEST).rev().flat_map(|n| std::iter::repeat_n(n, histogram[n]));
    for (key, length) in sorted.keys.iter().zip(rare_first) {
        if let Some(slot) = lengths.get_mut((key & ((1 << SYMBOL_BITS) - 1)) as usize) {
            *slot = length as u8;
        }
    }
    lengths
}

impl Sorted {
    fn of(counts: &[u32]) -> Self {
        let mut keys = [0; LITERALS];
        let mut len = 0;
        for (symbol, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
            keys[len] = count << SYMBOL_BITS | symbol as u32;
            len += 1;
        }
        keys[..len].sort_unstable();
        Self { keys, len }
    }

    /// The count at a place of the order; past the end more than any sum.
    fn weight(&self, at: usize) -> u32 {
        if at < self.len { self.keys[at] >> SYMBOL_BITS } else { u32::MAX }
    }
}

/// One or two symbols take one bit each.
fn tiny(symbols: usize) -> Histogram {
    let mut histogram = [0; LONGEST + 1];
    histogram[1] = symbols;
    histogram
}

fn fits(histogram: &Histogram, limit: usize) -> bool {
    histogram[limit + 1..].iter().all(|&symbols| symbols == 0)
}

/// Huffman's tree from two queues, if none of its leaves is deeper than
/// [`LONGEST`].
///
/// Go merges packages and takes a package before a leaf of the same weight. As
/// long as the limit does not bind, the packages are the inner nodes of this
/// tree, in the order they are made here, so the same choice between equals gives
/// the same lengths at a fraction of the work.
fn tree(sorted: &Sorted) -> Option<Histogram> {
    let nodes = 2 * sorted.len - 2;
    let mut weights = [0; LITERALS];
    let mut is_leaf = [false; 2 * LITERALS];
    let (mut leaf, mut inner) = (0, 0);
    for node in 0..nodes {
        // The inner nodes made so far: one of every two nodes taken.
        let made = if inner < node / 2 { weights[inner] } else { u32::MAX };
        let weight = sorted.weight(leaf).min(made);
        is_leaf[node] = weight < made;
        leaf += usize::from(weight < made);
        inner += usize::from(weight >= made);
        weights[node / 2] = if node % 2 == 0 { weight } else { weights[node / 2] + weight };
    }
    depths(&is_leaf[..nodes], inner)
}

/// Counts leaves by depth. Nodes stand in the order they were taken, two and two
/// under one parent; parents follow in the order of their children.
fn depths(is_leaf: &[bool], inner_nodes: usize) -> Option<Histogram> {
    let mut histogram = [0; LONGEST + 1];
    let mut depth = [0usize; LITERALS];
    let mut inner = inner_nodes;
    for (node, &leaf) in is_leaf.iter().enumerate().rev() {
        let below_parent = depth[node / 2] + 1;
        if leaf {
            *histogram.get_mut(below_parent)? += 1;
        } else {
            inner -= 1;
            depth[inner] = below_parent;
        }
    }
    Some(histogram)
}

/// The package-merge algorithm, for trees that would grow too deep.
fn packages(sorted: &Sorted, limit: usize) -> Histogram {
    let limit = limit.min(sorted.len - 1);
    // For every row, from the deepest up: how many of its first items are leaves.
    let mut leaves_among = vec![[0u16; 2 * LITERALS]; limit];
    let mut row = [0; 2 * LITERALS];
    let mut row_len = 0;
    for leaves_among in &mut leaves_among {
        (row, row_len) = merge_row(sorted, &row[..row_len], leaves_among);
    }
    let mut histogram = [0; LONGEST + 1];
    let (mut take, mut shallower) = (row_len, sorted.len);
    for (depth, leaves_among) in leaves_among.iter().rev().enumerate() {
        let leaves = usize::from(leaves_among[take]);
        // A leaf is as deep as the number of rows that take it.
        histogram[depth] = shallower - leaves;
        shallower = leaves;
        take = 2 * (take - leaves);
    }
    histogram[limit] = shallower;
    histogram
}

/// Merges the leaves with the pairs of the row below into the next row.
fn merge_row(
    sorted: &Sorted,
    below: &[u32],
    leaves_among: &mut [u16; 2 * LITERALS],
) -> ([u32; 2 * LITERALS], usize) {
    let mut row = [0; 2 * LITERALS];
    let len = (2 * sorted.len - 2).min(sorted.len + below.len() / 2);
    let (mut leaf, mut pair) = (0, 0);
    for at in 0..len {
        let package = match below.get(2 * pair..2 * pair + 2) {
            Some(two) => two.iter().sum(),
            None => u32::MAX,
        };
        let weight = sorted.weight(leaf);
        row[at] = weight.min(package);
        leaf += usize::from(weight < package);
        pair += usize::from(weight >= package);
        leaves_among[at + 1] = leaf as u16;
    }
    (row, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kraft(lengths: &[u8]) -> u32 {
        lengths.iter().filter(|n| **n != 0).map(|n| 1 << (LONGEST as u32 - u32::from(*n))).sum()
    }

    #[test]
    fn both_algorithms_agree_where_the_limit_does_not_bind() {
        let mut seed = 1u32;
        for size in 3..LITERALS {
            let counts: [u32; LITERALS] = std::array::from_fn(|symbol| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Few different weights, so that many are equal.
                if symbol < size { 1 + (seed >> 24) % (2 + size as u32 / 8) } else { 0 }
            });
            let sorted = Sorted::of(&counts);
            let tree = tree(&sorted).expect("flat weights make a flat tree");
            assert_eq!(tree, packages(&sorted, LONGEST), "{size} symbols");
        }
    }

    #[test]
    fn a_deep_tree_is_cut_to_the_limit_and_stays_complete() {
        let mut counts = [0; 19];
        let (mut a, mut b) = (1, 1);
        for count in &mut counts {
            *count = a;
            (a, b) = (b, a + b);
        }
        let lengths = code_lengths(&counts, 7);
        assert_eq!(lengths.iter().max(), Some(&7));
        assert_eq!(kraft(&lengths), 1 << LONGEST);
    }

    #[test]
    fn one_and_two_symbols_take_one_bit() {
        assert_eq!(code_lengths(&[0, 7, 0], 15), [0, 1, 0]);
        assert_eq!(code_lengths(&[9, 0, 1], 15), [1, 0, 1]);
        assert_eq!(code_lengths(&[0, 0, 0], 15), [0, 0, 0]);
    }
}
