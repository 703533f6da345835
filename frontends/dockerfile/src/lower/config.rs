//! Instructions that change nothing but the config of the image.

use super::failure::Failure;
use super::history::Leaves;
use super::image::{Healthcheck as Check, Nothing, Words, nanoseconds};
use super::node::Node;
use super::steps::Scope;
use crate::instruction::{CommandLine, Healthcheck, Pair};
use crate::lines::Lines;
use crate::lint::{Violation, checks};
use crate::quoting::quote_list;
use crate::values::{format_duration, parse_signal};

impl Scope<'_> {
    fn remember(&self, node: &mut Node, text: String) {
        node.image.remember(text, Leaves::Config, self.time);
    }

    pub(super) fn maintainer(&mut self, node: &mut Node, author: &str) {
        node.image.author = author.to_owned();
        self.remember(node, format!("MAINTAINER {author}"));
    }

    /// Pairs with their words expanded; the old form without an equals sign is told.
    fn pairs(&mut self, node: &Node, pairs: &[Pair]) -> Result<Vec<(String, String)>, Failure> {
        pairs
            .iter()
            .map(|pair| Ok((self.word(node, &pair.key)?, self.word(node, &pair.value)?)))
            .collect()
    }

    fn report_legacy(&mut self, pair: &Pair) {
        if pair.legacy {
            self.report(&Violation::LegacyKeyValueFormat { instruction: self.name() });
        }
    }

    pub(super) fn env(&mut self, node: &mut Node, pairs: &[Pair]) -> Result<(), Failure> {
        let expanded = self.pairs(node, pairs)?;
        let mut text = String::from("ENV");
        for (pair, (key, value)) in pairs.iter().zip(expanded) {
            self.report_legacy(pair);
            if checks::is_secret(&key) {
                self.report(&Violation::SecretsUsedInArgOrEnv {
                    instruction: "ENV",
                    key: key.clone(),
                });
            }
            text.extend([" ", &key, "=", &value]);
            node.image.config.env.set(&key, &value);
            node.set_env(&key, &value);
        }
        self.remember(node, text);
        Ok(())
    }

    pub(super) fn label(&mut self, node: &mut Node, pairs: &[Pair]) -> Result<(), Failure> {
        let expanded = self.pairs(node, pairs)?;
        let mut text = String::from("LABEL");
        for (pair, (key, value)) in pairs.iter().zip(expanded) {
            self.report_legacy(pair);
            text.extend([" ", &key, "=", &value]);
            node.image.config.labels.insert(key, value);
        }
        self.remember(node, text);
        Ok(())
    }

    /// A command with the shell in front, if it is in shell form.
    fn with_shell(&mut self, node: &Node, line: &CommandLine) -> Vec<String> {
        if !line.shell {
            return line.args.clone();
        }
        // Without a SHELL in the file, the shell is nobody's choice.
        if node.image.config.shell.is_empty() {
            self.report(&Violation::JsonArgsRecommended { instruction: self.name() });
        }
        with_shell(node, &line.args)
    }

    pub(super) fn command(&mut self, node: &mut Node, line: &CommandLine) {
        self.once(node.command.replace(self.lines()));
        let args = self.with_shell(node, line);
        self.remember(node, format!("CMD {}", quote_list(&args)));
        node.image.config.cmd = args.into();
        node.image.config.args_escaped = true;
    }

    pub(super) fn entrypoint(&mut self, node: &mut Node, line: &CommandLine) {
        self.once(node.entrypoint.replace(self.lines()));
        let args = self.with_shell(node, line);
        self.remember(node, format!("ENTRYPOINT {}", quote_list(&args)));
        node.image.config.entrypoint = args.into();
        if node.command.is_none() {
            node.image.config.cmd = Words::default();
        }
    }

    pub(super) fn healthcheck(&mut self, node: &mut Node, check: &Healthcheck) {
        self.once(node.healthcheck.replace(self.lines()));
        let check = Check {
            test: check.test.clone().into(),
            interval: nanoseconds(check.interval),
            timeout: nanoseconds(check.timeout),
            start_period: nanoseconds(check.start_period),
            start_interval: nanoseconds(check.start_interval),
            retries: i64::from(check.retries),
        };
        let text = format!(
            "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            check.test.join(" "),
            format_duration(check.interval),
            format_duration(check.timeout),
            format_duration(check.start_period),
            format_duration(check.start_interval),
            check.retries,
        );
        self.remember(node, text);
        node.image.config.healthcheck = Some(check);
    }

    pub(super) fn shell(&mut self, node: &mut Node, shell: &[String]) {
        node.image.config.shell = shell.to_vec().into();
        self.remember(node, format!("SHELL [{}]", shell.join(" ")));
    }

    pub(super) fn stop_signal(&mut self, node: &mut Node, signal: &str) -> Result<(), Failure> {
        let signal = self.word(node, signal)?;
        parse_signal(&signal)?;
        self.remember(node, format!("STOPSIGNAL {signal}"));
        node.image.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn volume(&mut self, node: &mut Node, volumes: &[String]) -> Result<(), Failure> {
        let volumes = self.words(node, volumes)?;
        if volumes.iter().any(String::is_empty) {
            return Err(Failure::new("VOLUME specified can not be an empty string"));
        }
        self.remember(node, format!("VOLUME [{}]", volumes.join(" ")));
        let places = volumes.into_iter().map(|volume| (volume, Nothing {}));
        node.image.config.volumes.extend(places);
        Ok(())
    }

    /// Tells of an earlier instruction of the same kind, which counts no longer.
    fn once(&mut self, earlier: Option<Lines>) {
        if let Some(lines) = earlier {
            let violation = Violation::MultipleInstructionsDisallowed { instruction: self.name() };
            self.lint.report(&self.step.instruction.comments, lines, &violation);
        }
    }
}

/// A command line with the shell of the stage in front.
pub(super) fn with_shell(node: &Node, args: &[String]) -> Vec<String> {
    let mut all = node.image.shell();
    all.push(args.join(" "));
    all
}
