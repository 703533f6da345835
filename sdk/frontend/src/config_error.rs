//! Why a text is no image config, in the words of BuildKit.
//!
//! Configs come from registries, clients and other frontends; the types are those of Docker's image
//! specification.

use crate::json_error::{JsonType, json_error};

const TEXT: JsonType = JsonType::Text("string");
const TEXTS: JsonType = JsonType::List("[]string", &TEXT);
const EMPTY: JsonType = JsonType::Fields("struct {}", &[]);
const PLACES: JsonType = JsonType::Map("map[string]struct {}", &EMPTY);
const DURATION: JsonType = JsonType::Integer("time.Duration");
const TIME: JsonType = JsonType::Text("time.Time");

const HEALTHCHECK: JsonType = JsonType::Fields(
    "v1.HealthcheckConfig",
    &[
        ("Test", TEXTS),
        ("Interval", DURATION),
        ("Timeout", DURATION),
        ("StartPeriod", DURATION),
        ("StartInterval", DURATION),
        ("Retries", JsonType::Integer("int")),
    ],
);

const CONFIG: JsonType = JsonType::Fields(
    "v1.DockerOCIImageConfig",
    &[
        ("User", TEXT),
        ("ExposedPorts", PLACES),
        ("Env", TEXTS),
        ("Entrypoint", TEXTS),
        ("Cmd", TEXTS),
        ("Volumes", PLACES),
        ("WorkingDir", TEXT),
        ("Labels", JsonType::Map("map[string]string", &TEXT)),
        ("StopSignal", TEXT),
        ("ArgsEscaped", JsonType::Truth),
        ("Healthcheck", HEALTHCHECK),
        ("OnBuild", TEXTS),
        ("Shell", TEXTS),
    ],
);

const STEP: JsonType = JsonType::Fields(
    "v1.History",
    &[
        ("created", TIME),
        ("created_by", TEXT),
        ("author", TEXT),
        ("comment", TEXT),
        ("empty_layer", JsonType::Truth),
    ],
);

const ROOT_FS: JsonType = JsonType::Fields(
    "v1.RootFS",
    &[
        ("type", TEXT),
        ("diff_ids", JsonType::List("[]digest.Digest", &JsonType::Text("digest.Digest"))),
    ],
);

const IMAGE: JsonType = JsonType::Fields(
    "v1.DockerOCIImage",
    &[
        ("created", TIME),
        ("author", TEXT),
        ("architecture", TEXT),
        ("os", TEXT),
        ("os.version", TEXT),
        ("os.features", TEXTS),
        ("variant", TEXT),
        ("rootfs", ROOT_FS),
        ("history", JsonType::List("[]v1.History", &STEP)),
        ("config", CONFIG),
    ],
);

/// What is wrong with the text of an image config; `error` is what this program would say.
///
/// ```
/// use kiln_frontend::image_config_error;
/// use kiln_oci::ImageConfig;
///
/// let text = br#"{"config":{"Env":"A=1"}}"#;
/// let error = serde_json::from_slice::<ImageConfig>(text).unwrap_err();
/// let field = "json: cannot unmarshal string into Go struct field DockerOCIImage.config.Env";
/// assert_eq!(image_config_error(text, &error), format!("{field} of type []string"));
/// ```
pub fn image_config_error(text: &[u8], error: &serde_json::Error) -> String {
    json_error(text, &IMAGE).unwrap_or_else(|| error.to_string())
}
