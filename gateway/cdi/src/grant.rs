//! Which devices a build may use: the entitlement `device`.

use std::collections::BTreeMap;

/// Which devices a build may use besides those that every build may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// All of them (`device`).
    pub all: bool,
    /// These (`device=NAME`), as steps name them, and what they stand for (`device=NAME,alias=OTHER`).
    pub(crate) names: BTreeMap<String, Option<String>>,
}

/// Why an entitlement for devices is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Something is no `key=value`.
    #[error("invalid device config {0:?}")]
    Field(String),
    /// There is no such key.
    #[error("unknown device config key {0:?}")]
    Key(String),
}

impl Grant {
    /// Takes in what follows `device=`, or nothing for all devices.
    ///
    /// # Errors
    ///
    /// If it makes no sense.
    pub fn add(&mut self, text: &str) -> Result<(), GrantError> {
        if text.is_empty() {
            self.all = true;
            return Ok(());
        }
        let mut fields = text.split(',');
        let name = fields.next().unwrap_or_default();
        let mut alias = None;
        for field in fields {
            match field.split_once('=') {
                None => return Err(GrantError::Field(field.to_owned())),
                Some(("alias", value)) => alias = Some(value).filter(|alias| !alias.is_empty()),
                Some((key, _)) => return Err(GrantError::Key(key.to_owned())),
            }
        }
        match alias {
            Some(alias) => self.names.insert(alias.to_owned(), Some(name.to_owned())),
            None => self.names.insert(name.to_owned(), None),
        };
        Ok(())
    }
}
