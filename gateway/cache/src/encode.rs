//! Records, links and results as keys of a database.
//!
//! Four kinds of entries, told apart by their first byte. Keys have a fixed length, so the parts are
//! where they are; the order of the parts is the order in which they are asked for.
//!
//! | entry | key | value |
//! |---|---|---|
//! | link | `l` from, link, to | nothing |
//! | backlink | `b` to, link, from | nothing |
//! | result | `r` record, result | when it was made |
//! | use | `u` length of the result, result, record | nothing |

use crate::key::{Scope, Sum};
use crate::{CacheKey, InputKey, Link, SavedResult};

const KEY: usize = 33;
const LINK: usize = 4 + KEY + KEY;

/// Begins the keys of all links.
pub(crate) const LINKS: &[u8] = b"l";

/// Begins the keys of all results.
pub(crate) const RESULTS: &[u8] = b"r";

/// Begins the keys of all uses of results.
pub(crate) const USES: &[u8] = b"u";

fn push_key(bytes: &mut Vec<u8>, key: CacheKey) {
    bytes.push(match key.scope {
        Scope::Digest => 1,
        Scope::Session => 2,
        Scope::Links => 3,
    });
    bytes.extend(key.sum.0);
}

fn push_link(bytes: &mut Vec<u8>, link: &Link) {
    bytes.extend(link.input.to_be_bytes());
    push_key(bytes, link.operation);
    bytes.push(u8::from(link.selector.is_some()));
    bytes.extend(link.selector.map_or([0; 32], |selector| selector.0));
}

fn begin(kind: u8, key: CacheKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + KEY + LINK + KEY);
    bytes.push(kind);
    push_key(&mut bytes, key);
    bytes
}

/// Begins the keys of all links from a record.
pub(crate) fn links_from(record: CacheKey) -> Vec<u8> {
    begin(b'l', record)
}

/// Begins the keys of the links from an input to records of an operation.
pub(crate) fn links_along(operation: CacheKey, input: u32, key: InputKey) -> Vec<u8> {
    let mut bytes = links_from(key.record);
    push_link(&mut bytes, &Link { input, operation, selector: key.selector });
    bytes
}

/// The key of one link.
pub(crate) fn link(from: CacheKey, link: &Link, to: CacheKey) -> Vec<u8> {
    let mut bytes = links_from(from);
    push_link(&mut bytes, link);
    push_key(&mut bytes, to);
    bytes
}

/// Begins the keys of all links to a record, seen from there.
pub(crate) fn links_to(record: CacheKey) -> Vec<u8> {
    begin(b'b', record)
}

/// The key of one link, seen from its end.
pub(crate) fn backlink(from: CacheKey, link: &Link, to: CacheKey) -> Vec<u8> {
    let mut bytes = links_to(to);
    push_link(&mut bytes, link);
    push_key(&mut bytes, from);
    bytes
}

/// Begins the keys of all results of a record.
pub(crate) fn results_of(record: CacheKey) -> Vec<u8> {
    begin(b'r', record)
}

/// The key of a result of a record.
pub(crate) fn result(record: CacheKey, result: &str) -> Vec<u8> {
    let mut bytes = results_of(record);
    bytes.extend(result.as_bytes());
    bytes
}

/// Begins the keys of all uses of a result.
pub(crate) fn uses_of(result: &str) -> Vec<u8> {
    let mut bytes = USES.to_vec();
    bytes.extend(u32::try_from(result.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(result.as_bytes());
    bytes
}

/// The key of a use of a result.
pub(crate) fn used(result: &str, record: CacheKey) -> Vec<u8> {
    let mut bytes = uses_of(result);
    push_key(&mut bytes, record);
    bytes
}

/// The value of a result.
pub(crate) fn created(result: &SavedResult) -> Vec<u8> {
    result.created.to_be_bytes().to_vec()
}

fn read_key(bytes: &[u8]) -> Option<CacheKey> {
    let (scope, sum) = bytes.split_first()?;
    let scope = match scope {
        1 => Scope::Digest,
        2 => Scope::Session,
        3 => Scope::Links,
        _ => return None,
    };
    Some(CacheKey { scope, sum: Sum(sum.try_into().ok()?) })
}

/// The record at the end of a link, a backlink or a use.
pub(crate) fn last_key(bytes: &[u8]) -> Option<CacheKey> {
    read_key(bytes.get(bytes.len().checked_sub(KEY)?..)?)
}

/// The record at the beginning of a link or a result.
pub(crate) fn first_key(bytes: &[u8]) -> Option<CacheKey> {
    read_key(bytes.get(1..1 + KEY)?)
}

/// The link in the middle of a link or a backlink.
pub(crate) fn read_link(bytes: &[u8]) -> Option<Link> {
    let bytes = bytes.get(1 + KEY..1 + KEY + LINK)?;
    let (input, rest) = bytes.split_first_chunk()?;
    let (operation, selector) = rest.split_at(KEY);
    let selector = match selector[0] {
        0 => None,
        _ => Some(Sum(selector[1..].try_into().ok()?)),
    };
    Some(Link { input: u32::from_be_bytes(*input), operation: read_key(operation)?, selector })
}

/// A result of a record, from key and value.
pub(crate) fn read_result(key: &[u8], value: &[u8]) -> Option<SavedResult> {
    let id = std::str::from_utf8(key.get(1 + KEY..)?).ok()?.to_owned();
    Some(SavedResult { created: u64::from_be_bytes(value.try_into().ok()?), id })
}

/// The result in the key of a use.
pub(crate) fn used_result(key: &[u8]) -> Option<String> {
    let id = key.get(USES.len() + 4..key.len().checked_sub(KEY)?)?;
    Some(std::str::from_utf8(id).ok()?.to_owned())
}
