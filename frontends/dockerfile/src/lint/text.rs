//! What the text alone shows of the rules, for those who have no daemon to ask: editors.
//!
//! Rules about images, contexts and the values of variables are left to builds.

use super::{LintConfig, LintWarning, Linter, Violation, checks};
use crate::ast::{self, Ast};
use crate::directives::{DirectiveName, find};
use crate::instruction::{Command, CommandLine, Instruction, Statement};
use crate::lines::Lines;
use crate::stages::{Stage, Stages};

/// The warnings that a build of this text would give whatever it is built from. Lines that cannot be
/// read have none.
pub fn warnings(text: &str) -> Vec<LintWarning> {
    let ast = ast::parse(text);
    let directive = find(DirectiveName::Check, text);
    let config = directive.and_then(|found| LintConfig::parse(found.first_word()).ok());
    let mut linter = Linter::new(config.unwrap_or_default());
    for warning in &ast.warnings {
        linter.report(&[""; 0], Lines::one(warning.line), &Violation::NoEmptyContinuation);
    }
    let file = readable(&ast, &mut linter);
    checks::stage_names(&file, &mut linter);
    checks::instruction_casing(&file, &mut linter);
    let all = || file.stages.iter().flat_map(|stage| &stage.instructions);
    // A stage may have the shell of another; who chose one anywhere is not told.
    let has_shell = all().any(|one| matches!(one.command, Command::Shell(_)));
    all().for_each(|one| instruction(one, has_shell, &mut linter));
    let mut warnings = linter.into_warnings();
    warnings.sort_by_key(|warning| warning.lines);
    warnings
}

/// All stages, without what cannot be read.
pub(super) fn readable(ast: &Ast<'_>, linter: &mut Linter) -> Stages {
    let mut file = Stages::default();
    for statement in ast.instructions.iter().filter_map(|node| Statement::read(node, linter).ok()) {
        match statement {
            Statement::From(from) => file.stages.push(Stage { from, instructions: Vec::new() }),
            Statement::Instruction(one) => {
                if let Some(stage) = file.stages.last_mut() {
                    stage.instructions.push(one);
                }
            }
        }
    }
    file
}

fn instruction(one: &Instruction, has_shell: bool, linter: &mut Linter) {
    let mut report = |violation: Violation| linter.report(&one.comments, one.lines, &violation);
    let name = || one.name.to_uppercase();
    match &one.command {
        Command::Env(pairs) | Command::Label(pairs) => {
            if pairs.iter().any(|pair| pair.legacy) {
                report(Violation::LegacyKeyValueFormat { instruction: name() });
            }
            let is_env = matches!(one.command, Command::Env(_));
            for pair in pairs.iter().filter(|pair| is_env && checks::is_secret(&pair.key)) {
                let key = pair.key.clone();
                report(Violation::SecretsUsedInArgOrEnv { instruction: "ENV", key });
            }
        }
        Command::Arg(list) => {
            for argument in list.iter().filter(|argument| checks::is_secret(&argument.key)) {
                let key = argument.key.clone();
                report(Violation::SecretsUsedInArgOrEnv { instruction: "ARG", key });
            }
        }
        Command::Cmd(CommandLine { shell: true, .. })
        | Command::Entrypoint(CommandLine { shell: true, .. })
            if !has_shell =>
        {
            report(Violation::JsonArgsRecommended { instruction: name() });
        }
        Command::Expose(ports) => {
            for port in ports.iter().filter(|port| !port.contains('$')) {
                let protocol = port.split_once('/').map_or("", |(_, protocol)| protocol);
                if protocol != protocol.to_lowercase() {
                    report(Violation::ExposeProtoCasing { port: port.clone() });
                }
            }
        }
        _ => {}
    }
}
