//! `lint`: what is wrong or doubtful in build files, and what of it can be put right.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use kiln_daemon::editing;
use kiln_document::{Fix, Limits, Source};
use kiln_frontend::Frontend;

use super::Context;
use super::frontend::located;
use crate::args::{AskArgs, LintArgs, LintFormat};
use crate::build_command::frontend_for;
use crate::lint::{Checked, Finding, as_json, as_sarif, as_text};
use crate::output::print;
use crate::question::Question;

/// A fix may bring another warning to light, but not for ever.
const MAX_ROUNDS: usize = 10;

/// Checks every file; an error if there is anything left to say.
pub(super) async fn run(context: &Context, args: LintArgs) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for file in &args.files {
        all.push(checked(context, &args, file).await?);
    }
    print(&match args.format {
        LintFormat::Text => as_text(&all),
        LintFormat::Json => as_json(&all),
        LintFormat::Sarif => as_sarif(&all),
    })?;
    let left: usize = all.iter().map(|checked| checked.findings.len()).sum();
    anyhow::ensure!(left == 0, "{left} {} found", if left == 1 { "problem" } else { "problems" });
    Ok(())
}

async fn checked(context: &Context, args: &LintArgs, file: &Path) -> anyhow::Result<Checked> {
    anyhow::ensure!(file.exists(), "{}: there is no such file", file.display());
    let name = match args.frontend.as_deref().or_else(|| frontend_for(file)) {
        Some(name) => name.to_owned(),
        None => {
            anyhow::bail!("no frontend is known for {}: name one with --frontend", file.display())
        }
    };
    let frontend = located(context, &name).await?;
    let ask = AskArgs { opt: args.opt.clone(), ..AskArgs::default() };
    let mut fixed = 0;
    for round in 0.. {
        let source = read(file)?;
        let question = Question::decide(file, &ask, "", &context.environment)?;
        let findings = findings(&question, &*frontend, &name, &source).await?;
        let fixes: Vec<&Fix> = findings.iter().filter_map(|one| one.fix.as_ref()).collect();
        if !args.fix || fixes.is_empty() || round >= MAX_ROUNDS {
            return Ok(Checked { source, findings, fixed });
        }
        let (text, applied) = Fix::apply_all(&source, &fixes);
        write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        fixed += applied.len();
    }
    anyhow::bail!("the fixes of {} have no end", file.display())
}

/// What the frontend says, with fixes where its language knows them.
async fn findings(
    question: &Question,
    frontend: &dyn Frontend,
    name: &str,
    source: &Source,
) -> anyhow::Result<Vec<Finding>> {
    let results = question.lint(frontend).await.map_err(|error| error.into_status())?;
    let mut findings = Finding::of(&results, source);
    let Some(language) = editing(name) else { return Ok(findings) };
    if results.get("buildError").is_some_and(|error| !error.is_null()) {
        // The language has more to say than the first mistake.
        let own = language.diagnose(source);
        let errors = own.iter().filter(|one| one.severity == kiln_document::Severity::Error);
        let errors: Vec<Finding> =
            errors.map(|one| Finding::from_diagnostic(one, source)).collect();
        if !errors.is_empty() {
            findings.retain(|one| !one.is_error);
            findings.extend(errors);
        }
    }
    let breaches: Vec<(&str, usize)> =
        findings.iter().map(|one| (one.rule.as_str(), one.first_line)).collect();
    let fixes = language.fixes(source, &breaches);
    for (finding, fix) in findings.iter_mut().zip(fixes) {
        finding.fix = finding.fix.take().or(fix);
    }
    Ok(findings)
}

fn read(file: &Path) -> anyhow::Result<Source> {
    let cannot = || format!("cannot read {}", file.display());
    let limit = Limits::default().bytes as u64;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(cannot)?;
    opened.take(limit + 1).read_to_end(&mut bytes).with_context(cannot)?;
    anyhow::ensure!(bytes.len() as u64 <= limit, "{} has more than {limit} bytes", file.display());
    let source = Source::from_bytes(file.display().to_string(), &bytes);
    source.map_err(|mistake| anyhow::anyhow!("{}", mistake.message))
}

/// Replaces a file at once, with the permissions it has.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one; what it leads to is replaced.
    let file = std::fs::canonicalize(file)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(std::fs::metadata(&file)?.permissions())?;
    new.persist(&file).map_err(|error| error.error)?;
    Ok(())
}
