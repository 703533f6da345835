//! The rules, as code: what each looks at.

use kiln_wire::pb;
use kiln_wire::pb::file_action::Action;
use kiln_wire::pb::op::Op as Kind;

use super::{Rule, secrets};
use crate::facts::source_kind;
use crate::steps::Step;
use crate::words::{inline, word};

/// Where findings go: the rule, what is wrong, what to do.
type Report<'a> = dyn FnMut(Rule, String, &str) + 'a;

pub(super) fn step(step: &Step, report: &mut Report<'_>) {
    match &step.op.op {
        Some(Kind::Source(op)) => source(op, report),
        Some(Kind::Exec(op)) => exec(op, report),
        Some(Kind::File(op)) => op.actions.iter().for_each(|action| file(action, report)),
        _ => {}
    }
    if !step.used {
        report(
            Rule::UnusedStep,
            "the result does not need it".into(),
            "leave it out, or make the result depend on it",
        );
    }
    // Steps that the frontend makes for itself have no line in the user's file.
    let own = step.custom_name().is_some_and(|name| name.starts_with("[internal]"));
    let local =
        matches!(&step.op.op, Some(Kind::Source(op)) if op.identifier.starts_with("local://"));
    if step.places.is_empty() && !own && !local {
        report(
            Rule::NoLocation,
            "an error in it cannot point at the user's line".into(),
            "give the op a source location, with `Constraints::locations`",
        );
    }
    if step.custom_name().is_none() && !local {
        report(
            Rule::NoName,
            "people see a name made from the op".into(),
            "give it the words of the user's file, with `Constraints::custom_name`",
        );
    }
}

fn source(op: &pb::SourceOp, report: &mut Report<'_>) {
    let attr = |name: &str| op.attrs.get(name).is_some_and(|value| !value.is_empty());
    let (kind, rest) = source_kind(&op.identifier);
    match kind {
        "http" if !attr("http.checksum") => report(
            Rule::HttpWithoutChecksum,
            "nothing says which bytes are meant".into(),
            "give the download the sha256 of its bytes",
        ),
        "git" if !attr("git.checksum") => git(rest, report),
        "image" if !attr("image.checksum") => image(rest, report),
        _ => {}
    }
    let address = op.attrs.get("git.fullurl").unwrap_or(&op.identifier);
    if secrets::in_address(address) {
        report(
            Rule::SecretInGraph,
            "the address holds a password, which everybody can read".into(),
            "hand it over as a secret of the session, such as GIT_AUTH_TOKEN",
        );
    }
}

fn git(rest: &str, report: &mut Report<'_>) {
    let revision = rest.split_once('#').map_or("", |(_, fragment)| fragment);
    let revision = revision.split(':').next().unwrap_or_default();
    let commit =
        matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if commit {
        return;
    }
    let message = match revision {
        "" => "whatever the default branch holds that day is taken".into(),
        revision => format!("{} may be another commit tomorrow", word(revision)),
    };
    report(Rule::GitWithoutCommit, message, "name the commit, or give its checksum");
}

fn image(reference: &str, report: &mut Report<'_>) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, digest),
        None => (reference, ""),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
    if !digest.is_empty() {
        return;
    }
    match tag {
        "latest" => report(
            Rule::ImageLatest,
            format!("{} is another image after every release", word(name)),
            "name a version, better its digest",
        ),
        _ => report(
            Rule::ImageWithoutDigest,
            format!("{} may be another image tomorrow", word(name)),
            "pin it: `name:tag@sha256:…`",
        ),
    }
}

fn exec(op: &pb::ExecOp, report: &mut Report<'_>) {
    let unsaid = pb::Meta::default();
    let meta = op.meta.as_ref().unwrap_or(&unsaid);
    match meta.cwd.as_str() {
        "" => report(
            Rule::NoWorkingDirectory,
            "where the command runs is left to the daemon".into(),
            "say the directory, if only /",
        ),
        cwd => relative("working directory", cwd, report),
    }
    for mount in &op.mounts {
        relative("target of a mount", &mount.dest, report);
    }
    for entry in &meta.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if let Some(what) = secrets::in_variable(name, value) {
            report(
                Rule::SecretInGraph,
                format!("variable {} holds {what}", word(name)),
                "hand it over as a secret of the session: `Secret::env`",
            );
        }
    }
    for arg in &meta.args {
        if let Some(what) = secrets::in_text(arg) {
            report(
                Rule::SecretInGraph,
                format!("the command holds {what}"),
                "hand it over as a secret of the session: `Secret::file` or `Secret::env`",
            );
        }
    }
}

fn file(action: &pb::FileAction, report: &mut Report<'_>) {
    match &action.action {
        Some(Action::Copy(copy)) => {
            relative("source of a copy", &copy.src, report);
            relative("destination of a copy", &copy.dest, report);
        }
        Some(Action::Mkfile(file)) => {
            relative("path of a file", &file.path, report);
            if let Some(what) = std::str::from_utf8(&file.data).ok().and_then(secrets::in_text) {
                report(
                    Rule::SecretInGraph,
                    format!("{} holds {what}", inline(&file.path)),
                    "mount it as a secret of the session where it is needed",
                );
            }
        }
        Some(Action::Mkdir(dir)) => relative("path of a directory", &dir.path, report),
        Some(Action::Rm(rm)) => relative("path to remove", &rm.path, report),
        Some(Action::Symlink(link)) => relative("path of a link", &link.newpath, report),
        None => {}
    }
}

fn relative(what: &str, path: &str, report: &mut Report<'_>) {
    // Drive letters make a path absolute on Windows.
    let drive = path.as_bytes().get(1) == Some(&b':');
    if !path.starts_with(['/', '\\']) && !drive {
        report(
            Rule::RelativePath,
            format!("the {what} is relative: {}", word(path)),
            "write it from /, so that it means the same everywhere",
        );
    }
}
