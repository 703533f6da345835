//! `WWW-Authenticate` and scopes: what a registry wants to see before it answers.
//!
//! Header text comes in, at most one [`Challenge`] goes out; nothing here sends anything. The
//! grammar is RFC 9110, section 11, the parameters are those of Docker's token authentication.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from an authorization server.
    Bearer {
        /// Its address.
        realm: String,
        /// The name of the registry there.
        service: String,
        /// The scopes the registry misses.
        scopes: Scopes,
    },
}

impl Challenge {
    /// Picks the best challenge of an answer: Bearer, else Basic.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE).iter().take(8) {
            let Ok(text) = value.to_str() else { continue };
            for (scheme, parameters) in split(text) {
                match scheme.as_str() {
                    "bearer" => {
                        let get = |name| parameters.get(name).cloned().unwrap_or_default();
                        let realm = get("realm");
                        if realm.is_empty() {
                            continue;
                        }
                        let scopes = Scopes::parse(&get("scope"));
                        return Some(Self::Bearer { realm, service: get("service"), scopes });
                    }
                    "basic" => basic = Some(Self::Basic),
                    _ => {}
                }
            }
        }
        basic
    }
}

/// Splits `scheme a=b, c="d", scheme …` into schemes and their parameters, names in lower case.
fn split(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut list: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let name = word.to_ascii_lowercase();
        rest = match behind.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, behind) = take_value(value.trim_start());
                if let Some((_, parameters)) = list.last_mut() {
                    parameters.insert(name, value);
                }
                behind
            }
            None => {
                list.push((name, BTreeMap::new()));
                behind
            }
        }
        .trim_start_matches([' ', ',', '\t']);
    }
    list
}

/// A quoted string or a bare word, and what stands behind it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // A run of `=` signs alone would never end otherwise.
        let text = text.trim_start_matches('=');
        let end = text.find([' ', ',', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// A set of scopes, each resource once with all its actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, Vec<String>>);

impl Scopes {
    /// The right to read a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self::parse(&format!("repository:{repository}:pull"))
    }

    /// The right to read and write a repository.
    pub(crate) fn push(repository: &str) -> Self {
        Self::parse(&format!("repository:{repository}:pull,push"))
    }

    /// Reads scopes separated by spaces.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for scope in text.split_ascii_whitespace().take(32) {
            // The resource may hold colons (a host with a port), the actions may not.
            let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
            let known = scopes.0.entry(resource.to_owned()).or_default();
            known.extend(actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned));
            known.sort();
            known.dedup();
        }
        scopes
    }

    /// Adds the scopes of another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        *self = Self::parse(&[self.list(), other.list()].concat().join(" "));
    }

    /// One text per resource, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(resource, actions)| format!("{resource}:{}", actions.join(",")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn bearer_is_preferred_wherever_it_stands() {
        let want = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: "a \"b\"".into(),
            scopes: Scopes::parse("repository:x/y:pull,push"),
        };
        let bearer = r#"Bearer realm="https://auth.example/token", service="a \"b\"",scope="repository:x/y:push,pull""#;
        assert_eq!(challenge(&[bearer]), Some(want.clone()));
        assert_eq!(challenge(&["Basic realm=\"r\"", bearer]), Some(want.clone()));
        assert_eq!(challenge(&[&format!("basic realm=x, {bearer}")]), Some(want));
        assert_eq!(challenge(&["BASIC realm=x"]), Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for text in
            ["", ",,,", "===", "= =\"", "Bearer", "Bearer realm=", "Digest realm=\"x", "\"\\"]
        {
            assert_eq!(challenge(&[text]), None, "{text}");
        }
    }

    #[test]
    fn scopes_are_merged_by_resource() {
        let mut scopes = Scopes::parse("repository:b:pull repository:a:push,pull");
        scopes.merge(&Scopes::parse("repository:b:push,pull"));
        assert_eq!(scopes.list(), ["repository:a:pull,push", "repository:b:pull,push"]);
    }
}
