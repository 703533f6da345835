//! File actions in words, one line each.

use kiln_wire::pb;
use kiln_wire::pb::file_action::Action;
use kiln_wire::pb::user_opt::User;

use super::{Facts, View};
use crate::steps::{Step, file_base};
use crate::words::{content, inline, word};

const NANOS: i64 = 1_000_000_000;

pub(super) fn name(op: &pb::FileOp) -> String {
    let names = op.actions.iter().map(|action| match &action.action {
        Some(Action::Copy(copy)) => format!("copy {} -> {}", copy.src, copy.dest),
        Some(Action::Mkfile(file)) => format!("mkfile {}", file.path),
        Some(Action::Mkdir(dir)) => format!("mkdir {}", dir.path),
        Some(Action::Rm(rm)) => format!("rm {}", rm.path),
        Some(Action::Symlink(link)) => format!("symlink {} -> {}", link.newpath, link.oldpath),
        None => "nothing".into(),
    });
    inline(&names.take(8).collect::<Vec<_>>().join(", "))
}

pub(super) fn facts(view: &View<'_>, step: &Step, op: &pb::FileOp) -> Facts {
    let scope = Scope { view, step, base: file_base(op, step.inputs.len()) };
    let mut facts = Facts::new("file");
    facts.title("on", " on ", view.input(step, scope.base));
    for (n, action) in op.actions.iter().enumerate() {
        let (key, mut value) = scope.action(action);
        let before = match n.checked_sub(1) {
            Some(before) => super::number(step.inputs.len() + before),
            None => scope.base,
        };
        if action.input != before {
            value = format!("(on {}) {value}", scope.place(action.input));
        }
        let last = n + 1 == op.actions.len();
        let output = match (action.output, last) {
            (0, true) | (..0, false) => String::new(),
            (..0, true) => "(no output) ".into(),
            (output, _) => format!("(output {output}) "),
        };
        facts.add(key, format!("{output}{value}"));
    }
    facts
}

/// What actions may refer to.
struct Scope<'a> {
    view: &'a View<'a>,
    step: &'a Step,
    base: i64,
}

impl Scope<'_> {
    fn action(&self, action: &pb::FileAction) -> (&'static str, String) {
        let mut line = Line::default();
        match &action.action {
            Some(Action::Copy(copy)) => {
                self.copy(action, copy, &mut line);
                ("copy", line.0)
            }
            Some(Action::Mkfile(file)) => {
                line.word(&file.path);
                line.mode(file.mode);
                self.owner(file.owner.as_ref(), &mut line);
                line.time(file.timestamp);
                line.push(&content(&file.data));
                ("mkfile", line.0)
            }
            Some(Action::Mkdir(dir)) => {
                line.word(&dir.path);
                line.mode(dir.mode);
                line.flag(dir.make_parents, "parents");
                self.owner(dir.owner.as_ref(), &mut line);
                line.time(dir.timestamp);
                ("mkdir", line.0)
            }
            Some(Action::Rm(rm)) => {
                line.word(&rm.path);
                line.flag(rm.allow_wildcard, "wildcard");
                line.flag(rm.allow_not_found, "if-there");
                ("rm", line.0)
            }
            Some(Action::Symlink(link)) => {
                line.push(&format!("{} -> {}", word(&link.newpath), word(&link.oldpath)));
                self.owner(link.owner.as_ref(), &mut line);
                line.time(link.timestamp);
                ("symlink", line.0)
            }
            None => ("nothing", line.0),
        }
    }

    fn copy(&self, action: &pb::FileAction, copy: &pb::FileActionCopy, line: &mut Line) {
        let from = self.place(action.secondary_input);
        line.push(&format!("{from}:{} -> {}", word(&copy.src), word(&copy.dest)));
        match copy.mode_str.as_str() {
            "" if copy.mode >= 0 => line.mode(copy.mode),
            "" => {}
            mode => line.value("mode", mode),
        }
        self.owner(copy.owner.as_ref(), line);
        line.time(copy.timestamp);
        line.flag(copy.follow_symlink, "follow");
        line.flag(copy.dir_copy_contents, "contents");
        line.flag(copy.attempt_unpack_docker_compatibility, "unpack");
        line.flag(copy.create_dest_path, "parents");
        line.flag(copy.allow_wildcard, "wildcard");
        line.flag(copy.allow_empty_wildcard, "may-be-empty");
        line.flag(copy.always_replace_existing_dest_paths, "replace");
        let lists = [
            ("include", &copy.include_patterns),
            ("exclude", &copy.exclude_patterns),
            ("require", &copy.required_paths),
        ];
        for (name, list) in lists {
            list.iter().for_each(|value| line.value(name, value));
        }
    }

    /// What a number of an action stands for: an input of the op, or what an action made.
    fn place(&self, number: i64) -> String {
        let inputs = self.step.inputs.len();
        match usize::try_from(number).ok().and_then(|number| number.checked_sub(inputs)) {
            Some(action) => format!("action {}", action + 1),
            None => self.view.input(self.step, number),
        }
    }

    fn owner(&self, owner: Option<&pb::ChownOpt>, line: &mut Line) {
        let Some(owner) = owner else { return };
        let id = |id: Option<&pb::UserOpt>| match id.and_then(|id| id.user.as_ref()) {
            None => String::new(),
            Some(User::ById(id)) => id.to_string(),
            // Names are looked up in what is changed; only another place is worth a word.
            Some(User::ByName(name)) if name.input == self.base => word(&name.name),
            Some(User::ByName(name)) => {
                format!("{}({})", word(&name.name), self.place(name.input))
            }
        };
        let (user, group) = (id(owner.user.as_ref()), id(owner.group.as_ref()));
        let group = if group.is_empty() { group } else { format!(":{group}") };
        line.push(&format!("owner={user}{group}"));
    }
}

/// Words in a row.
#[derive(Default)]
struct Line(String);

impl Line {
    fn push(&mut self, text: &str) {
        if !self.0.is_empty() && !text.starts_with('\n') {
            self.0.push(' ');
        }
        self.0.push_str(text);
    }

    fn word(&mut self, text: &str) {
        self.push(&word(text));
    }

    fn value(&mut self, name: &str, value: &str) {
        self.push(&format!("{name}={}", word(value)));
    }

    fn flag(&mut self, set: bool, name: &str) {
        if set {
            self.push(name);
        }
    }

    fn mode(&mut self, mode: i32) {
        self.push(&format!("mode=0{mode:o}"));
    }

    /// A time, unless it is that of the build.
    fn time(&mut self, nanos: i64) {
        match (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS)) {
            _ if nanos == -1 => {}
            (seconds, 0) => self.push(&format!("time={seconds}")),
            (seconds, rest) => self.push(&format!("time={seconds}.{rest:09}")),
        }
    }
}
