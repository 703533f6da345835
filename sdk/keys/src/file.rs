//! How file actions are keyed.
//!
//! An input that is only copied from, or looked up in for the name of an owner, counts by the
//! content of what is read; one that is changed counts by how it was made.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::Digest;
use kiln_paths::glob::has_wildcard;
use kiln_paths::path::base;
use kiln_pb::gojson::{Json, Object, base64};
use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::user_opt::User;

use crate::content::{ContentQuery, Selector, without_nested};
use crate::map::{CacheMap, Dep, KeyError, PathSelector};

pub(crate) fn cache_map(op: &pb::FileOp, inputs: usize) -> Result<CacheMap, KeyError> {
    let counted = counted(op, inputs);
    let actions = counted.actions.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let map = CacheMap::plain(Digest::sha256(json(op, &actions)), inputs);
    Ok(CacheMap { deps: deps(op, inputs)?, ..map })
}

/// Actions as far as they count. Of what is copied from an input only the name does: where it was is
/// in the selector, what it holds in the content.
pub(crate) fn counted(op: &pb::FileOp, inputs: usize) -> pb::FileOp {
    let mut counted = op.clone();
    for action in &mut counted.actions {
        let is_input = copied_input(action, inputs).is_some();
        if let Some(Action::Copy(copy)) = action.action.as_mut().filter(|_| is_input) {
            copy.src = base(&copy.src).to_owned();
        }
    }
    counted
}

fn plain(action: &pb::FileAction) -> Result<String, KeyError> {
    Ok(match action.action.as_ref().ok_or(KeyError::Missing("an action"))? {
        Action::Copy(copy) => copy.to_json(),
        Action::Mkfile(file) => file.to_json(),
        Action::Mkdir(dir) => dir.to_json(),
        Action::Rm(rm) => rm.to_json(),
        Action::Symlink(link) => link.to_json(),
    })
}

/// The input of the vertex that an action copies from.
fn copied_input(action: &pb::FileAction, inputs: usize) -> Option<usize> {
    usize::try_from(action.secondary_input).ok().filter(|input| *input < inputs)
}

fn json(op: &pb::FileOp, actions: &[String]) -> String {
    let mut json = String::new();
    let mut object = Object::open(&mut json);
    object.text("Type", "buildkit.file.v0");
    let actions: Vec<String> = actions.iter().map(|action| base64(action.as_bytes())).collect();
    object.texts("Actions", &actions);
    if !is_usual(op) {
        let indexes = op.actions.iter().map(|action| {
            format!("[{},{},{}]", action.input, action.secondary_input, action.output)
        });
        object.numbers("indexes", &indexes.collect::<Vec<_>>());
    }
    object.close();
    json
}

/// Whether every action works on the result of the one before, the first on input 0, and the last
/// makes output 0. Such ops are keyed without indexes, as they were when indexes did not count.
fn is_usual(op: &pb::FileOp) -> bool {
    let count = op.actions.len();
    op.actions.iter().enumerate().all(|(number, action)| {
        let input = if number == 0 { 0 } else { count + number - 1 };
        let output = if number + 1 == count { 0 } else { -1 };
        usize::try_from(action.input) == Ok(input)
            && matches!(action.secondary_input, -1 | 1)
            && action.output == output
    })
}

fn deps(op: &pb::FileOp, inputs: usize) -> Result<Vec<Dep>, KeyError> {
    let changed: BTreeSet<i64> = op.actions.iter().map(|action| action.input).collect();
    let mut reads = BTreeMap::<i64, Vec<Selector>>::new();
    for action in &op.actions {
        for (input, selector) in read_by(action, inputs) {
            reads.entry(input).or_default().push(selector);
        }
    }
    let mut deps = vec![Dep { preprocess: true, ..Dep::default() }; inputs];
    for (input, selectors) in reads.into_iter().filter(|(input, _)| !changed.contains(input)) {
        let dep = usize::try_from(input).ok().and_then(|input| deps.get_mut(input));
        let dep = dep.ok_or(KeyError::Input { op: "file", index: input, inputs })?;
        let mut paths: Vec<String> = selectors.iter().map(|read| read.path.clone()).collect();
        // Descending, because it always was.
        paths.sort_by(|a, b| b.cmp(a));
        dep.selector = Some(PathSelector::new(paths));
        dep.content = Some(query(selectors));
    }
    Ok(deps)
}

/// What an action reads, by input.
fn read_by(action: &pb::FileAction, inputs: usize) -> Vec<(i64, Selector)> {
    let mut reads = named_owners(action);
    if let Some(Action::Copy(copy)) = &action.action
        && copied_input(action, inputs).is_some()
    {
        reads.push((action.secondary_input, copied(copy)));
    }
    reads
}

fn copied(copy: &pb::FileActionCopy) -> Selector {
    Selector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && has_wildcard(&copy.src),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        required_paths: copy.required_paths.clone(),
    }
}

/// The lists in which an action looks up the names of owners. Links have none that is looked up, and
/// BuildKit does not look for a group behind a user that is in no input.
fn named_owners(action: &pb::FileAction) -> Vec<(i64, Selector)> {
    let owner = match &action.action {
        Some(Action::Copy(copy)) => copy.owner.as_ref(),
        Some(Action::Mkfile(file)) => file.owner.as_ref(),
        Some(Action::Mkdir(dir)) => dir.owner.as_ref(),
        _ => None,
    };
    let name = |user: Option<&pb::UserOpt>| match user.and_then(|user| user.user.as_ref()) {
        Some(User::ByName(name)) => Some(name.input),
        _ => None,
    };
    let user = owner.and_then(|owner| name(owner.user.as_ref()));
    let group = owner.and_then(|owner| name(owner.group.as_ref()));
    let lists = [(user, "/etc/passwd"), (group, "/etc/group")];
    lists
        .into_iter()
        .filter_map(|(input, list)| Some((input?, list)))
        .take_while(|(input, _)| *input >= 0)
        .map(|(input, list)| {
            let path = list.to_owned();
            (input, Selector { path, follow_links: true, ..Selector::default() })
        })
        .collect()
}

/// Plain paths first put together, those that follow links apart from those that do not.
fn query(selectors: Vec<Selector>) -> ContentQuery {
    let (mut all, plain): (Vec<_>, Vec<_>) = selectors.into_iter().partition(Selector::is_filtered);
    let (follow, stay): (Vec<_>, Vec<_>) =
        plain.into_iter().partition(|selector| selector.follow_links);
    let together = |selectors: Vec<Selector>, follow_links| {
        let paths = without_nested(selectors.into_iter().map(|selector| selector.path).collect());
        paths.into_iter().map(move |path| Selector { path, follow_links, ..Selector::default() })
    };
    let mut sorted: Vec<Selector> = together(stay, false).chain(together(follow, true)).collect();
    sorted.append(&mut all);
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    ContentQuery::of(sorted)
}
