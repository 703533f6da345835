//! `SOURCE_DATE_EPOCH`: the time that everything in the result has.
//!
//! It is a number, or the name of something that has a time: the build context, a named context, or
//! a stage that does nothing but fetch one file or repository.

use kiln_sdk::frontend::Age;
use kiln_sdk::llb::{Http, State};

use super::add::digest;
use super::arguments::EPOCH;
use super::failure::Failure;
use super::file::{File, Stage};
use super::gojson::Time;
use super::variables::Variables;
use super::{Lowering, SCRATCH};
use crate::instruction::{Add, ArgDefinition, Command};
use crate::remote;
use crate::words::Environment as _;

/// A stage whose time is wanted.
#[derive(Clone, Debug)]
pub(crate) struct TimeSource {
    /// What the stage fetches.
    pub(crate) state: State,
    /// The name of the stage.
    pub(crate) stage: String,
}

impl Lowering<'_> {
    /// What has the time that everything gets; nothing if that is known, or not asked for.
    pub(crate) fn time_of(&mut self) -> Option<String> {
        let value = match self.build_args.get(EPOCH) {
            Some(value) => value.clone(),
            None => self.globals.variables.get(EPOCH).unwrap_or_default().to_owned(),
        };
        let known = self.build_args.contains_key(EPOCH) || !value.is_empty();
        if !known {
            return None;
        }
        match value.parse::<i64>() {
            Ok(seconds) => self.set_time(Some(Age { seconds, offset_seconds: 0 })),
            Err(_) if value.is_empty() => self.set_time(None),
            Err(_) => return Some(value),
        }
        None
    }

    /// Sets the time of everything; the variable has it as a number from here on.
    pub(crate) fn set_time(&mut self, time: Option<Age>) {
        self.epoch = time.map(|time| time.seconds);
        self.time = time.map(|time| Time::of(time.seconds, time.offset_seconds));
        match self.epoch.map(|seconds| seconds.to_string()) {
            Some(number) => {
                if self.build_args.contains_key(EPOCH) {
                    self.build_args.insert(EPOCH.to_owned(), number.clone());
                }
                if self.globals.variables.get(EPOCH).is_some() {
                    self.globals.variables.set(EPOCH, number);
                }
            }
            None => {
                self.build_args.remove(EPOCH);
                self.globals.variables.remove(EPOCH);
            }
        }
    }

    /// The stage of this name, as something that has a time.
    ///
    /// # Errors
    ///
    /// If there is no such stage, or it does more than fetch something.
    pub(crate) fn stage_with_time(&self, file: &File, name: &str) -> Result<TimeSource, Failure> {
        let stage = file.stages.iter().find(|stage| {
            stage.from.name.as_ref().is_some_and(|own| own.to_lowercase() == name.to_lowercase())
        });
        let Some(stage) = stage else {
            return Err(Failure::new(format!("invalid SOURCE_DATE_EPOCH: {name}")));
        };
        let state = self.fetched(stage).map_err(|failure| failure.at(stage.from.lines))?;
        let stage = stage.from.name.clone().unwrap_or_default();
        Ok(TimeSource { state, stage })
    }

    /// What a stage fetches that does nothing else.
    fn fetched(&self, stage: &Stage) -> Result<State, Failure> {
        let mut variables = self.globals.variables.clone();
        variables.remove(EPOCH);
        let base = &stage.from.base;
        let expanded = self.expander.word(base, &variables).map_err(|error| {
            let base = crate::quoting::quote(base);
            let context = format!("failed to process source stage base name {base}");
            Failure::from(error).context(context)
        })?;
        if expanded.text != SCRATCH {
            return Err(Failure::new("SOURCE_DATE_EPOCH stage must use FROM scratch"));
        }
        let one = || Failure::new("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD");
        let mut source = None;
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Arg(definitions) => self.declare_for_time(definitions, &mut variables)?,
                Command::Add(_) if source.is_some() => return Err(one()),
                Command::Add(add) => source = Some(self.remote_source(add, &variables)?),
                _ => {
                    return Err(Failure::new(format!(
                        "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported {} instruction",
                        instruction.name
                    )));
                }
            }
        }
        source.ok_or_else(one)
    }

    fn declare_for_time(
        &self,
        definitions: &[ArgDefinition],
        variables: &mut Variables,
    ) -> Result<(), Failure> {
        for definition in definitions {
            let value = match (self.build_args.get(&definition.key), &definition.value) {
                (Some(given), _) => given.clone(),
                (None, None) => continue,
                (None, Some(default)) => self.expander.word(default, variables)?.text.into_owned(),
            };
            variables.set(&definition.key, value);
        }
        Ok(())
    }

    fn remote_source(&self, add: &Add, variables: &Variables) -> Result<State, Failure> {
        let ([path], []) = (add.sources.paths.as_slice(), add.sources.inline.as_slice()) else {
            return Err(Failure::new(
                "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source",
            ));
        };
        let expand = |word| self.expander.word(word, variables).map(|done| done.text.into_owned());
        let path = expand(path)?;
        if remote::is_http(&path) {
            let checksum = match expand(&add.checksum)?.as_str() {
                "" => None,
                checksum => Some(digest(checksum)?),
            };
            let filename = remote::file_name(&path);
            return Ok(State::http(
                &path,
                Http::default().with_checksum(checksum).with_filename(filename),
            ));
        }
        let Some(git) = remote::git(&path)? else {
            return Err(Failure::new(
                "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD",
            ));
        };
        let mut options = git.options().with_mtime(String::new()).with_fetch_by_commit(false);
        options.keep_git_dir |= add.keep_git_dir == Some(true);
        if !add.checksum.is_empty() {
            options.checksum = expand(&add.checksum)?;
        }
        Ok(State::git(&git.remote, "", options))
    }
}
