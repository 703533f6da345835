//! A graph as Graphviz text, for eyes: what `buildctl debug dump-llb --dot` prints.

use std::fmt::Write as _;

use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;

use crate::{Definition, DefinitionError};

impl Definition {
    /// One node per op, one edge per input; edges into a command say where the input is mounted.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::DecodeOp`] if the bytes of an op are no op.
    pub fn to_dot(&self) -> Result<String, DefinitionError> {
        let ops = self.decoded().collect::<Result<Vec<_>, _>>()?;
        let mut out = String::from("digraph {\n");
        for (digest, op) in &ops {
            let digest = digest.as_str();
            let (name, shape) = name_and_shape(digest, op);
            let (digest, name) = (quoted(digest), quoted(&name));
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {digest} [label={name} shape=\"{shape}\"];");
        }
        for (digest, op) in &ops {
            for (n, input) in op.inputs.iter().enumerate() {
                let (from, to) = (quoted(&input.digest), quoted(digest.as_str()));
                let _ = writeln!(out, "  {from} -> {to} [label={}];", quoted(target(op, n)));
            }
        }
        out.push_str("}\n");
        Ok(out)
    }
}

/// Where an input is mounted, unless it is the root.
fn target(op: &pb::Op, input: usize) -> &str {
    let Some(Kind::Exec(exec)) = &op.op else { return "" };
    let here = |mount: &&pb::Mount| {
        usize::try_from(mount.input).is_ok_and(|at| at == input) && mount.dest != "/"
    };
    exec.mounts.iter().rfind(here).map_or("", |mount| &mount.dest)
}

fn name_and_shape(digest: &str, op: &pb::Op) -> (String, &'static str) {
    match &op.op {
        Some(Kind::Source(source)) => (source.identifier.clone(), "ellipse"),
        Some(Kind::Exec(exec)) => {
            (exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(), "box")
        }
        Some(Kind::Build(_)) => ("build".into(), "box3d"),
        Some(Kind::Merge(_)) => ("merge".into(), "invtriangle"),
        Some(Kind::Diff(_)) => ("diff".into(), "doublecircle"),
        Some(Kind::File(file)) => {
            (file.actions.iter().map(action_name).collect::<Vec<_>>().join(","), "note")
        }
        Some(Kind::Passthrough(_)) | None => (digest.into(), "plaintext"),
    }
}

fn action_name(action: &pb::FileAction) -> String {
    match &action.action {
        Some(Action::Copy(copy)) => format!("copy{{src={}, dest={}}}", copy.src, copy.dest),
        Some(Action::Mkfile(file)) => format!("mkfile{{path={}}}", file.path),
        Some(Action::Mkdir(dir)) => format!("mkdir{{path={}}}", dir.path),
        Some(Action::Rm(rm)) => format!("rm{{path={}}}", rm.path),
        Some(Action::Symlink(link)) => {
            format!("symlink{{oldpath={}, newpath={}}}", link.oldpath, link.newpath)
        }
        None => String::new(),
    }
}

/// A string in quotes, as Graphviz reads it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
