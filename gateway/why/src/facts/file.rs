//! File actions as facts.

use kiln_oci::Digest;
use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::user_opt::User;

use crate::fact::{Fact, What};

/// What counts of file actions; `op` is the op as it came, with the places that are copied from.
pub(super) fn facts(file: &pb::FileOp, op: &pb::Op) -> Vec<Fact> {
    let mut facts = Vec::new();
    let arrived = match &op.op {
        Some(pb::op::Op::File(file)) => file.actions.as_slice(),
        _ => &[],
    };
    let is_alone = file.actions.len() == 1;
    for (number, action) in file.actions.iter().enumerate() {
        let label = if is_alone { String::new() } else { format!("action {}", number + 1) };
        let of = Of { label: &label };
        match &action.action {
            Some(Action::Copy(copy)) => {
                let source = match arrived.get(number).and_then(|action| action.action.as_ref()) {
                    Some(Action::Copy(copy)) => copy.src.as_str(),
                    _ => copy.src.as_str(),
                };
                of.copy(copy, source, &mut facts);
            }
            Some(Action::Mkfile(file)) => {
                facts.push(of.fact(What::Path, format!("file {}", file.path)));
                let shown = match std::str::from_utf8(&file.data) {
                    Ok(text) => text.to_owned(),
                    Err(_) => format!("{} bytes", file.data.len()),
                };
                let text = format!("{} bytes, {}", file.data.len(), Digest::sha256(&file.data));
                facts.push(of.fact(What::Text, text).shown(shown));
                of.made(file.mode, file.owner.as_ref(), file.timestamp, &mut facts);
            }
            Some(Action::Mkdir(dir)) => {
                let parents = if dir.make_parents { " with parents" } else { "" };
                facts.push(of.fact(What::Path, format!("directory {}{parents}", dir.path)));
                of.made(dir.mode, dir.owner.as_ref(), dir.timestamp, &mut facts);
            }
            Some(Action::Rm(rm)) => {
                let missing = if rm.allow_not_found { " if it is there" } else { "" };
                let pattern = if rm.allow_wildcard { " as a pattern" } else { "" };
                facts
                    .push(of.fact(What::Path, format!("removal of {}{pattern}{missing}", rm.path)));
            }
            Some(Action::Symlink(link)) => {
                let text = format!("link {} to {}", link.newpath, link.oldpath);
                facts.push(of.fact(What::Path, text));
                of.made(0, link.owner.as_ref(), link.timestamp, &mut facts);
            }
            None => {}
        }
        let places = format!("{} {} {}", action.input, action.secondary_input, action.output);
        facts.push(of.named(What::Order, "inputs and outputs", places));
    }
    facts
}

/// Facts of one action.
struct Of<'a> {
    label: &'a str,
}

impl Of<'_> {
    fn fact(&self, what: What, value: impl Into<String>) -> Fact {
        Fact::named(what, self.label, value)
    }

    fn named(&self, what: What, name: &str, value: impl Into<String>) -> Fact {
        let name = match self.label {
            "" => name.to_owned(),
            label => format!("{label}: {name}"),
        };
        Fact::named(what, name, value)
    }

    /// `source` is where it is copied from, of which perhaps only the name counts.
    fn copy(&self, copy: &pb::FileActionCopy, source: &str, facts: &mut Vec<Fact>) {
        facts.push(self.named(What::Copy, "source", copy.src.as_str()).shown(source));
        facts.push(self.named(What::Copy, "destination", copy.dest.as_str()));
        let flags = [
            (copy.follow_symlink, "follow links"),
            (copy.dir_copy_contents, "contents of directories"),
            (copy.attempt_unpack_docker_compatibility, "unpack"),
            (copy.create_dest_path, "make the way"),
            (copy.allow_wildcard, "wildcards"),
            (copy.allow_empty_wildcard, "wildcards that match nothing"),
            (copy.always_replace_existing_dest_paths, "replace what is there"),
        ];
        let set = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
        facts.push(self.named(What::Copy, "how", set.collect::<Vec<_>>().join(", ")));
        let lists = [
            ("include", &copy.include_patterns),
            ("exclude", &copy.exclude_patterns),
            ("required", &copy.required_paths),
        ];
        for (name, patterns) in lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
            let shown = patterns.join(" ");
            facts.push(self.named(What::Patterns, name, patterns.join("\u{1f}")).shown(shown));
        }
        if !copy.mode_str.is_empty() {
            facts.push(self.named(What::Mode, "as text", copy.mode_str.as_str()));
        }
        self.made(copy.mode, copy.owner.as_ref(), copy.timestamp, facts);
    }

    fn made(&self, mode: i32, owner: Option<&pb::ChownOpt>, time: i64, facts: &mut Vec<Fact>) {
        let text = if mode < 0 { "as it is".to_owned() } else { format!("{mode:04o}") };
        facts.push(self.fact(What::Mode, mode.to_string()).shown(text));
        if let Some(owner) = owner {
            let (user, group) = (user(owner.user.as_ref()), user(owner.group.as_ref()));
            let shown = match group.1.as_str() {
                "" => user.1,
                group => format!("{}:{group}", user.1),
            };
            facts.push(self.fact(What::Owner, format!("{}:{}", user.0, group.0)).shown(shown));
        }
        let shown = if time == -1 { "unchanged".to_owned() } else { seconds(time) };
        facts.push(self.fact(What::Time, time.to_string()).shown(shown));
    }
}

/// A user or group: what counts, and what is shown.
fn user(user: Option<&pb::UserOpt>) -> (String, String) {
    match user.map(|user| &user.user) {
        None => ("none".to_owned(), String::new()),
        Some(None) => ("unset".to_owned(), String::new()),
        Some(Some(User::ById(id))) => (format!("id {id}"), id.to_string()),
        Some(Some(User::ByName(name))) => {
            (format!("name {} of input {}", name.name, name.input), name.name.clone())
        }
    }
}

/// A time of nanoseconds since 1970, in seconds if they are whole.
fn seconds(time: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    match time % SECOND {
        0 => format!("{} seconds since 1970", time / SECOND),
        _ => format!("{time} nanoseconds since 1970"),
    }
}
