//! Why a text is no image config, in the words of the reference.
//!
//! The reference says which value of which field has the wrong type. This file looks for it, once
//! it is known that there is one.

use serde_json::Value;

/// The type of a field.
enum Type {
    Text,
    Truth,
    Number(&'static str),
    List(&'static str, &'static Self),
    Map(&'static str, Option<&'static Self>),
    Fields(&'static str, &'static [(&'static str, Self)]),
}

const TEXTS: Type = Type::List("[]string", &Type::Text);
const PLACES: Type = Type::Map("map[string]struct {}", None);
const DURATION: Type = Type::Number("time.Duration");

const HEALTHCHECK: Type = Type::Fields(
    "v1.HealthcheckConfig",
    &[
        ("Test", TEXTS),
        ("Interval", DURATION),
        ("Timeout", DURATION),
        ("StartPeriod", DURATION),
        ("StartInterval", DURATION),
        ("Retries", Type::Number("int")),
    ],
);

const CONFIG: Type = Type::Fields(
    "v1.DockerOCIImageConfig",
    &[
        ("User", Type::Text),
        ("ExposedPorts", PLACES),
        ("Env", TEXTS),
        ("Entrypoint", TEXTS),
        ("Cmd", TEXTS),
        ("Volumes", PLACES),
        ("WorkingDir", Type::Text),
        ("Labels", Type::Map("map[string]string", Some(&Type::Text))),
        ("StopSignal", Type::Text),
        ("ArgsEscaped", Type::Truth),
        ("Healthcheck", HEALTHCHECK),
        ("OnBuild", TEXTS),
        ("Shell", TEXTS),
    ],
);

const STEP: Type = Type::Fields(
    "v1.History",
    &[
        ("created_by", Type::Text),
        ("author", Type::Text),
        ("comment", Type::Text),
        ("empty_layer", Type::Truth),
    ],
);

const IMAGE: Type = Type::Fields(
    "v1.DockerOCIImage",
    &[
        ("author", Type::Text),
        ("architecture", Type::Text),
        ("os", Type::Text),
        ("os.version", Type::Text),
        ("os.features", TEXTS),
        ("variant", Type::Text),
        (
            "rootfs",
            Type::Fields(
                "v1.RootFS",
                &[("type", Type::Text), ("diff_ids", Type::List("[]digest.Digest", &Type::Text))],
            ),
        ),
        ("history", Type::List("[]v1.History", &STEP)),
        ("config", CONFIG),
    ],
);

/// What is wrong with the text of an image config; `error` is what this program would say.
pub(crate) fn reason(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let found = serde_json::from_slice::<Value>(text).ok();
    found.and_then(|value| IMAGE.refuse(&value, "")).unwrap_or_else(|| error.to_string())
}

impl Type {
    /// The first value that has another type, as a sentence. Values of fields are looked at in the
    /// order of the names.
    fn refuse(&self, value: &Value, path: &str) -> Option<String> {
        match (self, value) {
            (_, Value::Null)
            | (Self::Text, Value::String(_))
            | (Self::Truth, Value::Bool(_))
            | (Self::Number(_), Value::Number(_))
            | (Self::Map(_, None), Value::Object(_)) => None,
            (Self::List(_, of), Value::Array(list)) => {
                list.iter().find_map(|value| of.refuse(value, path))
            }
            (Self::Map(_, Some(of)), Value::Object(map)) => {
                map.values().find_map(|value| of.refuse(value, path))
            }
            (Self::Fields(_, fields), Value::Object(map)) => map.iter().find_map(|(key, value)| {
                let (_, of) = fields.iter().find(|(name, _)| name == key)?;
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                of.refuse(value, &path)
            }),
            _ => Some(self.sentence(value, path)),
        }
    }

    fn sentence(&self, value: &Value, path: &str) -> String {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let name = match self {
            Self::Text => "string",
            Self::Truth => "bool",
            Self::Number(name)
            | Self::List(name, _)
            | Self::Map(name, _)
            | Self::Fields(name, _) => name,
        };
        match path {
            "" => format!("json: cannot unmarshal {kind} into Go value of type {name}"),
            path => format!(
                "json: cannot unmarshal {kind} into Go struct field DockerOCIImage.{path} of type {name}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let error = super::super::image::Image::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(reason(text.as_bytes(), &error), want);
    }

    #[test]
    fn the_field_of_the_wrong_type_is_named() {
        let field = "json: cannot unmarshal string into Go struct field DockerOCIImage.";
        check(r#"{"config":{"Env":"x"}}"#, &format!("{field}config.Env of type []string"));
        check(
            r#"{"history":[{"empty_layer":"x"}]}"#,
            &format!("{field}history.empty_layer of type bool"),
        );
        check("[]", "json: cannot unmarshal array into Go value of type v1.DockerOCIImage");
        check("{", "unexpected end of JSON input");
    }
}
