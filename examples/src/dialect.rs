//! A Dockerfile dialect that adds one instruction: `INSTALL curl git`.
//!
//! Every line of the user's file stays the line it was, so whatever the Dockerfile frontend says
//! about line 7 is about line 7 of the user's file too. The rest is left to `dockerfile.v0`, which
//! is called as a function and need not know.

use kiln_sdk::frontend::{Call, Contexts, Ref, Settings};
use kiln_sdk::prelude::*;

/// The frontend.
#[derive(Clone, Copy, Debug)]
pub struct Dialect;

#[async_trait]
impl Frontend for Dialect {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        let contexts = Contexts::new(bridge, &settings);
        let names = ["Dockerfile", "dockerfile"];
        let file = contexts.definition_file(&names, "Dockerfile").await?;
        let source = file.source()?;
        let text =
            plain(&source).map_err(|mistakes| FrontendError::diagnostics(&source, &mistakes))?;

        let name = format!("/{}", file.name);
        let written =
            State::scratch().file(Action::mkfile(name, text.into_bytes(), Mkfile::default()));
        let call = Call::named("dockerfile.v0").with_options_of(&bridge.info().options);
        // The syntax directive named this frontend; it has done its part.
        let call = call.option("cmdline", "dockerfile.v0").option("filename", &file.name);
        call.input("dockerfile", &written)?.result(bridge).await
    }
}

/// The same file in words that the Dockerfile frontend knows.
fn plain(source: &Source) -> Result<String, Vec<Diagnostic>> {
    let (mut text, mut mistakes, mut offset) = (String::new(), Vec::new(), 0);
    for line in source.text().split_inclusive('\n') {
        let words = line.trim();
        match words.split_once(char::is_whitespace).unwrap_or((words, "")) {
            (word, packages) if word.eq_ignore_ascii_case("INSTALL") => {
                if packages.trim().is_empty() {
                    let mistake = Diagnostic::error("nothing to install");
                    let span = Span::new(offset, offset + line.trim_end().len());
                    mistakes.push(mistake.at(span).hint("write `INSTALL curl git`"));
                }
                text += &format!(
                    "RUN apt-get update && apt-get install -y --no-install-recommends {packages} \
                     && rm -rf /var/lib/apt/lists/*\n"
                );
            }
            _ => text += line,
        }
        offset += line.len();
    }
    if mistakes.is_empty() { Ok(text) } else { Err(mistakes) }
}
