//! The attributes of a cache in a cloud, as text, and what the daemon's environment says instead.
//!
//! Values that make no sense are refused by name. None that may be a secret is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_frontend::boolean;
use reqwest::Url;

use super::duration::duration;
use super::environment::CloudEnvironment;
use super::secret::Secret;
use crate::attributes::AttributeError;

/// What is asked of a backend.
pub(crate) struct Asked<'a> {
    pub(crate) kind: &'static str,
    pub(crate) attrs: &'a BTreeMap<String, String>,
    pub(crate) environment: &'a CloudEnvironment,
}

impl<'a> Asked<'a> {
    /// An attribute, even if it is empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.attrs.get(name).map(String::as_str)
    }

    /// An attribute that says something.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|text| !text.is_empty())
    }

    /// An attribute that says something, or a variable of the daemon.
    pub(crate) fn text_or(&self, name: &str, variable: &str) -> Option<&'a str> {
        self.text(name).or_else(|| self.environment.get(variable))
    }

    /// An attribute without which there is no cache.
    pub(crate) fn required(
        &self,
        name: &'static str,
        variable: Option<&'static str>,
    ) -> Result<String, AttributeError> {
        let given = self.text(name).or_else(|| self.environment.get(variable?));
        given.map(str::to_owned).ok_or_else(|| self.missing(name, variable))
    }

    /// The names of a cache, `;` between them.
    pub(crate) fn names(&self) -> Result<Vec<String>, AttributeError> {
        let names = self.text("name").unwrap_or("buildkit");
        let is_bad = |name: &str| name.split('/').any(|part| matches!(part, "" | "." | ".."));
        match names.split(';').any(is_bad) {
            true => Err(self.value("name", names, "names with `;` between them")),
            false => Ok(names.split(';').map(str::to_owned).collect()),
        }
    }

    pub(crate) fn duration(&self, name: &'static str) -> Result<Option<Duration>, AttributeError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let read = duration(text).map(Some);
        read.ok_or_else(|| self.value(name, text, "a duration, such as 24h or 1h30m"))
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, AttributeError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        boolean(text).map(Some).ok_or_else(|| self.value(name, text, "true or false"))
    }

    /// A number from 1 to 32: of attempts, or of layers whose pieces are in memory.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<usize>, AttributeError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (1..=32).contains(number));
        number.map(Some).ok_or_else(|| self.value(name, text, "a number from 1 to 32"))
    }

    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// An address without a login in it.
    pub(crate) fn url(&self, name: &'static str) -> Result<Option<Url>, AttributeError> {
        self.text(name).map(|text| self.address(name, text)).transpose()
    }

    /// The address that a text is.
    pub(crate) fn address(&self, name: &'static str, text: &str) -> Result<Url, AttributeError> {
        let is_fit = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let expected = "the address of a server, https://… without login and query";
        let url = text.parse::<Url>().ok().filter(is_fit);
        url.ok_or_else(|| self.value(name, &without_login(text), expected))
    }

    pub(crate) fn missing(
        &self,
        attribute: &'static str,
        variable: Option<&'static str>,
    ) -> AttributeError {
        AttributeError::MissingInCloud { kind: self.kind, attribute, variable }
    }

    pub(crate) fn value(
        &self,
        name: &'static str,
        value: &str,
        expected: &'static str,
    ) -> AttributeError {
        AttributeError::Value { name, value: value.chars().take(200).collect(), expected }
    }

    /// The error for a login that cannot be used.
    pub(crate) fn login(&self, error: &(dyn std::error::Error + 'static)) -> AttributeError {
        AttributeError::Login { kind: self.kind, why: crate::progress::chain(error) }
    }
}

/// An address, or what was meant as one, without what may be a login.
pub(crate) fn without_login(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_in_addresses_are_not_shown() {
        for (text, shown) in [
            ("https://a:b@host/c?sig=d", "https://host/c"),
            ("https://host/c?sig=d", "https://host/c"),
            ("a:b@host", "host"),
            ("https://host/c", "https://host/c"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }
}
