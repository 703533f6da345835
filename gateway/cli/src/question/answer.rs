//! What a frontend answered: a graph per platform, as text, picture or bytes.

use std::fmt::Write as _;

use kiln_llb::Definition;
use kiln_testing::{Built, Forward, StepsError};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The graphs by platform; the platform is empty where the result has just one.
    pub graphs: Vec<(String, Definition)>,
    /// Images that were made up.
    pub made_up: Vec<String>,
    /// The first lines of warnings.
    pub warnings: Vec<String>,
    forwards: Vec<Forward>,
}

/// Why an answer cannot be shown in a form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The form has room for one graph.
    #[error(
        "the frontend made {platforms}, and this format shows one: choose it with --opt platform=PLATFORM"
    )]
    Several {
        /// The platforms there are.
        platforms: String,
    },
    /// The frontend left the file to another.
    #[error("the file is for another frontend: {0}")]
    Forwarded(String),
    /// A graph is none.
    #[error("the frontend made a graph that cannot be read")]
    Graph(#[from] StepsError),
    /// A graph is none.
    #[error("the frontend made a graph that cannot be drawn")]
    Drawing(#[from] kiln_llb::DefinitionError),
}

impl From<Built> for Answer {
    fn from(built: Built) -> Self {
        let warnings = built.warnings().into_iter().map(str::to_owned).collect();
        let graphs = built.platforms.into_iter().map(|one| (one.id, one.definition)).collect();
        let asked = built.asked;
        Self { graphs, made_up: asked.made_up_images, warnings, forwards: asked.forwards }
    }
}

impl Answer {
    /// Steps that people can read, for every platform.
    pub(crate) fn text(&self) -> Result<String, AnswerError> {
        self.each(&|graph| match kiln_testing::text(graph)? {
            text if text.is_empty() => Ok("scratch\n".to_owned()),
            text => Ok(text),
        })
    }

    /// As a graph in the DOT language.
    pub(crate) fn dot(&self) -> Result<String, AnswerError> {
        Ok(self.one()?.to_dot()?)
    }

    /// As a picture.
    pub(crate) fn svg(&self) -> Result<String, AnswerError> {
        Ok(kiln_testing::svg(self.one()?)?)
    }

    /// The definition as it travels.
    pub(crate) fn binary(&self) -> Result<Vec<u8>, AnswerError> {
        Ok(self.one()?.to_bytes())
    }

    /// What is different from an earlier answer, in sentences; none if nothing is.
    pub(crate) fn difference(&self, before: &Self) -> Result<Option<String>, AnswerError> {
        let platforms =
            |answer: &Self| answer.graphs.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        if platforms(self) != platforms(before) || self.forwards != before.forwards {
            // There is nothing to compare it with.
            return self.text().map(Some);
        }
        let mut text = String::new();
        for ((platform, after), (_, before)) in self.graphs.iter().zip(&before.graphs) {
            let difference = kiln_testing::difference(before, after)?;
            if !difference.is_empty() {
                heading(&mut text, platform);
                // Writing to a string cannot fail.
                write!(text, "{difference}").ok();
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// The images that were made up, for people.
    pub(crate) fn note(&self) -> Option<String> {
        if self.made_up.is_empty() {
            return None;
        }
        let mut names = self.made_up.clone();
        names.sort();
        names.dedup();
        Some(format!(
            "note: made up what the registry would say about {}; give a config with \
             --image REFERENCE=CONFIG.JSON",
            names.join(", ")
        ))
    }

    fn each(
        &self,
        show: &dyn Fn(&Definition) -> Result<String, AnswerError>,
    ) -> Result<String, AnswerError> {
        let mut text = String::new();
        for forward in &self.forwards {
            writeln!(text, "forward {}", forwarded(forward)).ok();
        }
        if !self.forwards.is_empty() {
            return Ok(text);
        }
        for (platform, graph) in &self.graphs {
            heading(&mut text, platform);
            text += &show(graph)?;
        }
        Ok(text)
    }

    /// The only graph.
    fn one(&self) -> Result<&Definition, AnswerError> {
        if let Some(forward) = self.forwards.first() {
            return Err(AnswerError::Forwarded(forwarded(forward)));
        }
        match self.graphs.as_slice() {
            [(_, graph)] => Ok(graph),
            graphs => {
                let platforms: Vec<_> = graphs.iter().map(|(id, _)| id.as_str()).collect();
                Err(AnswerError::Several { platforms: platforms.join(", ") })
            }
        }
    }
}

fn heading(text: &mut String, platform: &str) {
    if !platform.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{gap}# {platform}").ok();
    }
}

fn forwarded(forward: &Forward) -> String {
    match forward.options.get("source") {
        Some(source) => format!("{} {source}", forward.frontend),
        None => forward.frontend.clone(),
    }
}
