//! In: a level as users write it. Out: how to search for matches at that level.

use crate::error::LevelError;

/// How the input is turned into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// No compression at all.
    Stored,
    /// Huffman codes over single bytes, no matches.
    Huffman,
    /// One hash table without chains.
    Fast,
    /// Hash chains; the first match found is taken.
    Greedy {
        search: Search,
        /// Matches longer than this leave their inside out of the chains.
        insert_up_to: usize,
    },
    /// Hash chains; a match gives way to a longer one at the next byte.
    Lazy {
        search: Search,
        /// Matches at least this long are taken without a look at the next byte.
        good_enough: usize,
    },
}

/// How hard to look along one hash chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Search {
    /// A match this long ends the search.
    pub nice: usize,
    /// How many candidates to look at.
    pub tries: usize,
}

impl Method {
    pub(crate) fn of(level: i32) -> Result<Self, LevelError> {
        Ok(match level {
            -2 => Self::Huffman,
            0 => Self::Stored,
            1 => Self::Fast,
            2 => greedy(5, 16, 8),
            3 => greedy(6, 32, 32),
            4 => lazy(4, 16, 16),
            5 => lazy(16, 32, 32),
            -1 | 6 => lazy(16, 128, 128),
            7 => lazy(32, 128, 256),
            8 => lazy(128, 258, 1024),
            9 => lazy(258, 258, 4096),
            _ => return Err(LevelError::new(level)),
        })
    }
}

const fn greedy(insert_up_to: usize, nice: usize, tries: usize) -> Method {
    Method::Greedy { search: Search { nice, tries }, insert_up_to }
}

const fn lazy(good_enough: usize, nice: usize, tries: usize) -> Method {
    Method::Lazy { search: Search { nice, tries }, good_enough }
}
