//! `--ssh`: agents and keys the build may use.

use std::path::PathBuf;

use super::OptionError;
use super::fields::parse_bool;

/// One agent by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    /// The name builds ask for.
    pub id: String,
    /// A socket, or key files; without any the agent of `SSH_AUTH_SOCK`.
    pub paths: Vec<PathBuf>,
    /// The socket is forwarded as it is, not as an agent.
    pub raw: bool,
}

impl Ssh {
    /// Reads `ID`, or `ID=PATH[,PATH…][,raw=true]`.
    ///
    /// # Errors
    ///
    /// If the id is missing, or `raw` comes with another number of paths than one.
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let error = |reason: &str| OptionError::new("--ssh", text, reason);
        let (id, list) = text.split_once('=').unwrap_or((text, ""));
        if id.is_empty() {
            return Err(error("needs an id, such as default"));
        }
        let mut ssh = Self { id: id.to_owned(), paths: Vec::new(), raw: false };
        for part in list.split(',').filter(|part| !part.is_empty()) {
            match part.strip_prefix("raw=") {
                Some(raw) => {
                    ssh.raw = parse_bool(raw).ok_or_else(|| error("raw is true or false"))?;
                }
                None => ssh.paths.push(part.into()),
            }
        }
        if ssh.raw && ssh.paths.len() != 1 {
            return Err(error("raw needs exactly one socket"));
        }
        Ok(ssh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_have_ids_and_paths() {
        let parsed = |text| match Ssh::parse(text) {
            Ok(Ssh { id, paths, raw }) => format!("{id} {paths:?} {raw}"),
            Err(error) => error.reason,
        };
        assert_eq!(parsed("default"), "default [] false");
        assert_eq!(parsed("a=k1,k2"), r#"a ["k1", "k2"] false"#);
        assert_eq!(parsed("a=sock,raw=true"), r#"a ["sock"] true"#);
        assert_eq!(parsed("a=raw=true"), "raw needs exactly one socket");
        assert_eq!(parsed("=x"), "needs an id, such as default");
    }
}
