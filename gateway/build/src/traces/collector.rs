//! Where spans are sent: what the variables of OpenTelemetry say.

use std::time::Duration;

/// How long a collector may take to answer, unless the environment says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector of spans.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its address, with the path for HTTP.
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    /// What is sent with every request; may be a secret.
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    /// What the daemon is called there.
    pub(super) service: String,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A variable that makes no sense, or asks for what is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value}: {instead}")]
pub struct CollectorError {
    variable: &'static str,
    value: String,
    instead: &'static str,
}

impl Collector {
    /// The collector that variables name; `None` if they name none. They are those that BuildKit's
    /// programs read, with their defaults: `OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// `…_PROTOCOL`, `…_HEADERS`, `…_TIMEOUT`, each also with `TRACES_` before its last word, and
    /// `OTEL_SERVICE_NAME`.
    ///
    /// # Errors
    ///
    /// If one makes no sense, unless `OTEL_IGNORE_ERROR` is set.
    pub fn of_environment<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, CollectorError> {
        match Self::read(&get) {
            Err(_) if get("OTEL_IGNORE_ERROR").is_some_and(is_true) => Ok(None),
            read => read,
        }
    }

    fn read<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>, CollectorError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        // The one for traces first.
        let either = |traces: &'static str, all: &'static str| {
            get(traces).map(|value| (traces, value)).or_else(|| Some((all, get(all)?)))
        };
        let endpoint = either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        match get("OTEL_TRACES_EXPORTER") {
            Some("none") => return Ok(None),
            Some("otlp") => {}
            Some(other) => {
                let instead = "spans are sent by OTLP only; say otlp or none";
                return Err(wrong("OTEL_TRACES_EXPORTER", other, instead));
            }
            None if endpoint.is_none() => return Ok(None),
            None => {}
        }
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        let protocol = match protocol {
            None | Some((_, "grpc")) => Protocol::Grpc,
            Some((_, "http/protobuf")) => Protocol::Http,
            Some((variable, other)) => {
                return Err(wrong(variable, other, "say grpc or http/protobuf"));
            }
        };
        let headers = either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = match timeout {
            None => TIMEOUT,
            Some((variable, value)) => {
                let millis = value.parse::<u64>().ok().filter(|millis| *millis > 0);
                let millis = millis.ok_or_else(|| wrong(variable, value, "say milliseconds"))?;
                Duration::from_millis(millis)
            }
        };
        Ok(Some(Self {
            endpoint: address(protocol, endpoint)?,
            protocol,
            headers: headers
                .map(|(variable, text)| pairs(variable, text))
                .transpose()?
                .unwrap_or_default(),
            timeout,
            service: get("OTEL_SERVICE_NAME").unwrap_or("kilnd").to_owned(),
        }))
    }
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn wrong(variable: &'static str, value: &str, instead: &'static str) -> CollectorError {
    // What may be a secret is not repeated.
    let value = if variable.ends_with("HEADERS") { "…" } else { value };
    CollectorError { variable, value: value.to_owned(), instead }
}

fn address(
    protocol: Protocol,
    endpoint: Option<(&'static str, &str)>,
) -> Result<String, CollectorError> {
    let Some((variable, text)) = endpoint else {
        return Ok(match protocol {
            Protocol::Grpc => "http://localhost:4317".to_owned(),
            Protocol::Http => "http://localhost:4318/v1/traces".to_owned(),
        });
    };
    let text = text.trim_end_matches('/');
    let is_http = text.starts_with("http://");
    let is_https = text.starts_with("https://");
    match protocol {
        Protocol::Grpc if is_http => Ok(text.to_owned()),
        Protocol::Grpc => Err(wrong(
            variable,
            text,
            "over gRPC spans are sent without TLS only: say http://HOST:PORT, or use \
             OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        )),
        // That for all signals is where the path for traces is added.
        Protocol::Http if (is_http || is_https) && variable == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
            Ok(format!("{text}/v1/traces"))
        }
        Protocol::Http if is_http || is_https => Ok(text.to_owned()),
        Protocol::Http => Err(wrong(variable, text, "say http:// or https:// and a host")),
    }
}

/// `name=value,name=value`, values escaped as in URLs.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, CollectorError> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_lowercase(), unescaped(value.trim())?))
    };
    let pairs: Option<Vec<_>> = pairs.map(pair).collect();
    pairs.ok_or_else(|| wrong(variable, text, "say NAME=VALUE,NAME=VALUE"))
}

fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &'static str)]) -> Result<Option<Collector>, String> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| *v);
        Collector::of_environment(get).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        let off = [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")];
        assert_eq!(of(&off), Ok(None));
    }

    #[test]
    fn the_variables_are_those_of_opentelemetry() {
        let default = of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().unwrap();
        assert_eq!(
            (default.endpoint.as_str(), default.timeout),
            ("http://localhost:4317", TIMEOUT)
        );
        let http = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/base/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc, x=y"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_SERVICE_NAME", "builder"),
        ]);
        let http = http.unwrap().unwrap();
        assert_eq!(http.endpoint, "https://collector.example/base/v1/traces");
        assert_eq!(http.headers[0], ("authorization".to_owned(), "Basic abc".to_owned()));
        assert_eq!((http.timeout.as_millis(), http.service.as_str()), (250, "builder"));
        assert!(!format!("{http:?}").contains("abc"), "secrets stay secret");
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refused = |variables: &[(&str, &'static str)], words: &str| {
            let error = of(variables).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&[("OTEL_TRACES_EXPORTER", "jaeger")], "OTEL_TRACES_EXPORTER=jaeger: ");
        refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:4317")], "http/protobuf");
        let json = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ];
        refused(&json, "OTEL_EXPORTER_OTLP_PROTOCOL=http/json: say grpc");
        assert_eq!(of(&[json[0], json[1], ("OTEL_IGNORE_ERROR", "true")]), Ok(None));
        let secret = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "topsecret"),
        ];
        refused(&secret, "OTEL_EXPORTER_OTLP_HEADERS=…");
    }
}
