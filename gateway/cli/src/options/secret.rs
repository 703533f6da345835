//! `--secret`: what the build may read and nobody else.

use std::path::PathBuf;

use super::{Fields, OptionError};
use crate::environment::Environment;

const FLAG: &str = "--secret";

/// One secret; its value is read when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The name builds ask for.
    pub id: String,
    /// Where it is.
    pub source: SecretSource,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of this process.
    Variable(String),
}

impl Secret {
    /// Reads one option. With neither file nor variable the id names the variable, if there is one of
    /// that name, or else the file.
    ///
    /// # Errors
    ///
    /// If a field is missing or unknown.
    pub(crate) fn parse(text: &str, environment: &Environment) -> Result<Self, OptionError> {
        let mut fields = Fields::parse(FLAG, text)?;
        let kind = fields.take("type").unwrap_or_default();
        let id = fields.require("id")?;
        let source = fields.take("src");
        let file = source.or_else(|| fields.take("source")).filter(|path| !path.is_empty());
        let variable = fields.take("env").filter(|name| !name.is_empty());
        fields.done()?;
        let source = match (kind.as_str(), file, variable) {
            ("" | "file" | "env", Some(_), Some(_)) => {
                return Err(fields.error("takes src or env, not both"));
            }
            ("" | "env", None, Some(variable)) => SecretSource::Variable(variable),
            ("" | "file", Some(file), None) => SecretSource::File(file.into()),
            // The variable may be called a source here.
            ("env", Some(variable), None) => SecretSource::Variable(variable),
            ("env", None, None) => SecretSource::Variable(id.clone()),
            ("", None, None) if environment.get(&id).is_some() => {
                SecretSource::Variable(id.clone())
            }
            ("" | "file", None, None) => SecretSource::File(id.clone().into()),
            ("file", None, Some(_)) => return Err(fields.error("type=file takes src, not env")),
            (other, _, _) => {
                return Err(
                    fields.error(format!("unsupported secret type {other:?}: use file or env"))
                );
            }
        };
        Ok(Self { id, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Secret::parse(text, &Environment::with(&[("TOKEN", "x")])) {
            Ok(Secret { id, source }) => format!("{id} {source:?}"),
            Err(error) => error.reason,
        }
    }

    #[test]
    fn secrets_are_files_or_variables() {
        for (text, expected) in [
            ("id=a,src=f", r#"a File("f")"#),
            ("id=a,source=f,type=file", r#"a File("f")"#),
            ("id=a,env=V", r#"a Variable("V")"#),
            ("id=a,type=env,src=V", r#"a Variable("V")"#),
            ("id=TOKEN", r#"TOKEN Variable("TOKEN")"#),
            ("id=a", r#"a File("a")"#),
            ("src=f", "needs id=…"),
            ("id=a,src=f,env=V", "takes src or env, not both"),
            ("id=a,type=vault", r#"unsupported secret type "vault": use file or env"#),
            ("id=a,uid=0", r#"unexpected key "uid""#),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }
}
