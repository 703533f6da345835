//! An op as it comes over the wire, and how its vertex is keyed; a tree with a question about its
//! content.

use kiln_keys::contenthash::{Entries, Kind, Origin, checksum};
use kiln_keys::source::{Found, maps};
use kiln_keys::{Selector, cache_map};
use kiln_oci::{Digest, Platform};
use kiln_pb::gojson::Json as _;
use kiln_pb::pb;
use prost::Message as _;

/// An op: keyed the same way twice, with an entry per input and JSON that is JSON.
pub(crate) fn cache_maps(bytes: &[u8]) {
    let Ok(op) = pb::Op::decode(bytes) else { return };
    serde_json::from_str::<serde_json::Value>(&op.to_json()).expect("JSON");
    let platform = Platform::new("linux", "amd64");
    if let Some(pb::op::Op::Source(source)) = &op.op {
        return sources(source, &platform);
    }
    let Ok(map) = cache_map(&op, &platform) else { return };
    assert_eq!(map.deps.len(), op.inputs.len());
    assert_eq!(cache_map(&op, &platform).as_ref(), Ok(&map));
    for dep in &map.deps {
        // Content is only computed of what was selected.
        assert!(dep.content.is_none() || dep.selector.is_some());
        assert!(dep.content.as_ref().is_none_or(|query| !query.selectors.is_empty()));
    }
}

fn sources(source: &pb::SourceOp, platform: &Platform) {
    let digest = Digest::sha256("found");
    let config = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;
    let http =
        Found::Http { checksum: &digest, disposition: Some("a; filename=b"), last_modified: "" };
    for found in [
        Found::Nothing,
        Found::Image { digest: &digest, config },
        Found::Local { session: "session" },
        Found::Git { object: "0", commit: None, reference: "refs/heads/main" },
        http,
    ] {
        let Ok(maps) = maps(source, platform, &found) else { continue };
        assert!(maps.iter().all(|map| map.deps.is_empty()), "a source has inputs");
        let local = source.identifier.starts_with("local://");
        assert!(maps.iter().all(|map| map.session_scoped == local || !local));
    }
}

/// A question on the first line and the entries of a tree on the others. Questions are `path`, then
/// words that begin with `w` (wildcard), `f` (follow), `+` (include), `-` (exclude) or `!` (required);
/// entries are `d path`, `f path bytes` or `l path target`.
pub(crate) fn content(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (question, entries) = text.split_once('\n').unwrap_or((text, ""));
    let selector = selector(question);
    let (scanned, sent) = (tree(entries, Origin::Scanned), tree(entries, Origin::Sent));
    for tree in [scanned, sent] {
        let answer = checksum(&tree, &selector).map_err(|error| error.to_string());
        assert_eq!(checksum(&tree, &selector).map_err(|error| error.to_string()), answer);
        // A pattern that fits nothing changes nothing.
        if selector.is_filtered() {
            let mut more = selector.clone();
            more.exclude.push("no such name, ever".into());
            assert_eq!(checksum(&tree, &more).ok(), answer.ok());
        }
    }
}

fn selector(question: &str) -> Selector {
    let mut words = question.split(' ');
    let mut selector =
        Selector { path: words.next().unwrap_or_default().to_owned(), ..Selector::default() };
    for word in words {
        let mut chars = word.chars();
        match (chars.next(), chars.as_str().to_owned()) {
            (Some('w'), _) => selector.wildcard = true,
            (Some('f'), _) => selector.follow_links = true,
            (Some('+'), pattern) => selector.include.push(pattern),
            (Some('-'), pattern) => selector.exclude.push(pattern),
            (Some('!'), path) => selector.required_paths.push(path),
            _ => {}
        }
    }
    selector
}

fn tree(entries: &str, origin: Origin) -> Entries {
    let mut tree = Entries::new(origin);
    for line in entries.lines() {
        let mut words = line.splitn(3, ' ');
        let (kind, path) = (words.next(), words.next().unwrap_or_default());
        let rest = words.next().unwrap_or_default();
        let is_clean = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        if !path.split('/').all(is_clean) {
            continue;
        }
        // The directories above are there, as in every tree.
        for (at, _) in path.match_indices('/') {
            tree.insert(&path[..at], Kind::Directory, Digest::sha256("directory"));
        }
        let kind = match kind {
            Some("d") => Kind::Directory,
            Some("l") => Kind::Symlink(rest.as_bytes().to_vec()),
            _ => Kind::Other,
        };
        tree.insert(path, kind, Digest::sha256(rest));
    }
    tree
}
