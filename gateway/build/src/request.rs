//! What a client asks when it asks for a build: the message of the API comes in, types go out.
//!
//! Nothing of it is dropped in silence. Messages are taken apart field by field, so that a new one
//! cannot be forgotten; what this version cannot do is refused by name, with what to do instead.
//! Some things are done without, and the client is shown a [`Notice`].

use std::collections::BTreeMap;

use kiln_bridge::{BuildPolicies, Notice};
use kiln_exporters::Export;
use kiln_frontend::{CacheImport, Inputs};
use kiln_graph::Entitlements;
use kiln_remotecache::{CacheExport, Clouds, ImportFrom, cache_name};
use kiln_wire::pb::Definition;
use kiln_wire::proto::control::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};
use kiln_wire::status::{Detail, RichStatus};
use tonic::Code;

use crate::attestations::Attestations;
use crate::platforms::AskedPlatforms;

/// The behaviour of BuildKit that builds get, by the number that BuildKit gives it.
const COMPATIBILITY: i64 = 30;
/// That of BuildKit 0.15.
const COMPATIBILITY_015: i64 = 20;
/// That of BuildKit 0.13.
const COMPATIBILITY_013: i64 = 10;
const EPOCH: &str = "build-arg:SOURCE_DATE_EPOCH";

/// A build that is asked for: a request, decoded.
#[derive(Debug)]
pub(crate) struct Build {
    /// Its id, by which clients ask for its progress.
    pub(crate) id: String,
    pub(crate) session: String,
    /// The frontend that is named; empty, if there is none.
    pub(crate) frontend: String,
    /// The options of the frontend.
    pub(crate) options: BTreeMap<String, String>,
    /// The version of BuildKit's behaviour that it gets.
    pub(crate) compatibility: i64,
    /// Who says what is built.
    pub(crate) graph: WhoseGraph,
    pub(crate) inputs: Inputs,
    /// Where its cache goes.
    pub(crate) cache_exports: Vec<CacheExport>,
    /// What else is asked for results.
    pub(crate) cache_imports: Vec<CacheImport>,
    pub(crate) exports: Vec<Export>,
    /// The time that exports have which name none, as the frontend has it.
    epoch: Option<String>,
    /// Whether the client is asked for more of them when the result is known.
    pub(crate) session_exporter: bool,
    pub(crate) entitlements: Entitlements,
    pub(crate) policies: BuildPolicies,
    /// The platforms that results are to be for.
    pub(crate) platforms: AskedPlatforms,
    /// What is done without, for the client to see.
    pub(crate) notices: Vec<Notice>,
    /// What is to be said about the result.
    pub(crate) attestations: Attestations,
    /// Whether the network of its steps is a proxy that notes what passes.
    pub(crate) proxy_network: bool,
}

/// Who says what is built.
#[derive(Debug, PartialEq)]
pub(crate) enum WhoseGraph {
    /// The request itself.
    Request(Definition),
    /// The frontend that is called by its name.
    Frontend,
    /// The client, over the gateway, while the request waits.
    Client,
}

impl Build {
    /// Decodes a request.
    ///
    /// # Errors
    ///
    /// What makes no sense in it, is not allowed here (`allowed`), or is not there yet.
    pub(crate) fn decode(
        request: SolveRequest,
        allowed: Entitlements,
        clouds: &Clouds,
    ) -> Result<Self, RichStatus> {
        let SolveRequest {
            r#ref,
            definition,
            exporter_deprecated,
            exporter_attrs_deprecated,
            session,
            frontend,
            frontend_attrs,
            cache,
            entitlements,
            frontend_inputs,
            // Whether the history has it.
            internal: _,
            source_policy,
            exporters,
            enable_session_exporter,
            source_policy_session,
            compatibility_version,
            proxy_network,
        } = request;
        let compatibility = compatibility(compatibility_version)?;
        // Clients that know the list send its only entry the older way, too.
        let exporters = match exporters.is_empty() && !exporter_deprecated.is_empty() {
            true => {
                vec![Exporter { r#type: exporter_deprecated, attrs: exporter_attrs_deprecated }]
            }
            false => exporters,
        };
        let (exporters, mut notices) = misplaced(exporters);
        let attestations = Attestations::of(&frontend_attrs);
        let attestations = attestations.map_err(|error| invalid(error.to_string()))?;
        let is_attested = attestations.provenance.is_some() || attestations.scanner.is_some();
        let exporters = as_then(exporters, compatibility, is_attested)?;
        notices.extend(attestations.notices());
        let caches = caches(cache.unwrap_or_default(), clouds)?;
        notices.extend(caches.notices);
        let policies = BuildPolicies::compile(&source_policy, source_policy_session);
        let epoch = frontend_attrs.get(EPOCH);
        let epoch = epoch.filter(|epoch| epoch.parse::<i64>().is_ok()).cloned();
        Ok(Self {
            graph: whose_graph(definition, &frontend)?,
            exports: exports(0, exporters, epoch.as_ref())?,
            epoch,
            platforms: AskedPlatforms::parse(frontend_attrs.get("platform").map(String::as_str)),
            session_exporter: enable_session_exporter,
            entitlements: granted(&entitlements, allowed)?,
            policies: policies.map_err(|error| invalid(error.to_string()))?,
            notices,
            attestations,
            proxy_network,
            id: r#ref,
            session,
            frontend,
            options: frontend_attrs,
            compatibility,
            inputs: kiln_frontend::grpc::inputs_from_wire(frontend_inputs),
            cache_exports: caches.exports,
            cache_imports: caches.imports,
        })
    }
}

impl Build {
    /// Takes in exporters that the client names later, and says what is done without.
    ///
    /// # Errors
    ///
    /// If one makes no sense.
    pub(crate) fn add_exports(
        &mut self,
        exporters: Vec<Exporter>,
    ) -> Result<Vec<Notice>, RichStatus> {
        let (exporters, notices) = misplaced(exporters);
        self.exports.extend(exports(self.exports.len(), exporters, self.epoch.as_ref())?);
        Ok(notices)
    }
}

fn invalid(message: String) -> RichStatus {
    RichStatus::new(Code::InvalidArgument, message)
}

fn unsupported(what: &str, instead: &str) -> RichStatus {
    let message = format!("{what} is not supported by this version; {instead}");
    RichStatus::new(Code::Unimplemented, message)
}

/// Who says what is built. A definition that is there but has no ops is the empty result, as clients
/// write `FROM scratch`; only where there is none, and no frontend either, the client is asked.
fn whose_graph(definition: Option<Definition>, frontend: &str) -> Result<WhoseGraph, RichStatus> {
    match (definition, frontend) {
        (Some(definition), "") => Ok(WhoseGraph::Request(definition)),
        (Some(definition), _) if !definition.def.is_empty() => {
            Err(invalid("a request has either a definition or a frontend, not both".into()))
        }
        (None, "") => Ok(WhoseGraph::Client),
        _ => Ok(WhoseGraph::Frontend),
    }
}

/// The version of BuildKit's behaviour that is asked for.
fn compatibility(version: i64) -> Result<i64, RichStatus> {
    match version {
        0 => Ok(COMPATIBILITY),
        COMPATIBILITY_013 | COMPATIBILITY_015 | COMPATIBILITY => Ok(version),
        other => {
            let what = format!("unsupported compatibility-version {other}: CompatibilityVersion");
            let instead = format!(
                "builds are made as version {COMPATIBILITY_013}, {COMPATIBILITY_015} or \
                 {COMPATIBILITY} says, the last of them unless one is given"
            );
            Err(unsupported(&what, &instead))
        }
    }
}

/// Exporters as an older version understands them: images are Docker's unless something is said about
/// them, and what is said is no OCI artifact. What it did not write the same way each time is refused.
fn as_then(
    exporters: Vec<Exporter>,
    compatibility: i64,
    is_attested: bool,
) -> Result<Vec<Exporter>, RichStatus> {
    if compatibility >= COMPATIBILITY {
        return Ok(exporters);
    }
    let zstd = |exporter: &&Exporter| {
        let compression = exporter.attrs.get("compression");
        IMAGES.contains(&exporter.r#type.as_str()) && compression.is_some_and(|it| it == "zstd")
    };
    if compatibility == COMPATIBILITY_013
        && let Some(exporter) = exporters.iter().find(zstd)
    {
        let feature = format!("{} exporter compression=zstd", exporter.r#type);
        return Err(not_then(compatibility, &feature));
    }
    let older = |mut exporter: Exporter| {
        let kind = exporter.r#type.as_str();
        if ["image", "docker"].contains(&kind) && !is_attested {
            exporter.attrs.entry("oci-mediatypes".into()).or_insert_with(|| "false".into());
        }
        if IMAGES.contains(&exporter.r#type.as_str()) {
            exporter.attrs.entry("oci-artifact".into()).or_insert_with(|| "false".into());
        }
        exporter
    };
    Ok(exporters.into_iter().map(older).collect())
}

/// The exporters of images.
const IMAGES: &[&str] = &["image", "docker", "oci"];

/// That an older version did not have something.
fn not_then(version: i64, feature: &str) -> RichStatus {
    let message = format!("unsupported compatibility-version {version} feature {feature}");
    let detail = Detail::CompatibilityFeature { version, feature: feature.to_owned() };
    RichStatus::new(Code::InvalidArgument, message).with(detail)
}

fn exports(
    first: usize,
    exporters: Vec<Exporter>,
    epoch: Option<&String>,
) -> Result<Vec<Export>, RichStatus> {
    let export = |(number, Exporter { r#type, mut attrs }): (usize, Exporter)| {
        if let Some(epoch) = epoch {
            attrs.entry("source-date-epoch".into()).or_insert_with(|| epoch.clone());
        }
        Export::parse((first + number).to_string(), &r#type, &attrs)
            .map_err(|error| invalid(error.to_string()))
    };
    exporters.into_iter().enumerate().map(export).collect()
}

/// What a build may, of what it asks for.
fn granted(asked: &[String], allowed: Entitlements) -> Result<Entitlements, RichStatus> {
    let mut granted = Entitlements::default();
    for name in asked {
        let (kind, text) = name.split_once('=').unwrap_or((name, ""));
        let may = match (kind, name.as_str()) {
            (_, "network.host") => allowed.network_host,
            (_, "security.insecure") => allowed.security_insecure,
            ("device", _) => allowed.devices.is_some(),
            _ => return Err(invalid(format!("unknown entitlement {name}"))),
        };
        if !may {
            let message = format!("entitlement {name} is not allowed by this daemon");
            return Err(RichStatus::new(Code::PermissionDenied, message));
        }
        match kind {
            "network.host" => granted.network_host = true,
            "security.insecure" => granted.security_insecure = true,
            _ => {
                let devices = granted.devices.get_or_insert_default();
                devices
                    .add(text)
                    .map_err(|error| invalid(format!("entitlement {name}: {error}")))?;
            }
        }
    }
    Ok(granted)
}

/// Exporters without requests for attestations, which are options of the frontend: clients that give
/// them to an exporter get none from BuildKit either.
fn misplaced(mut exporters: Vec<Exporter>) -> (Vec<Exporter>, Vec<Notice>) {
    let misplaced = |name: &String| name.starts_with("attest:");
    let mut notices = Vec::new();
    for exporter in &mut exporters {
        notices.extend(exporter.attrs.keys().filter(|name| misplaced(name)).map(|name| Notice {
            step: format!("exporter attribute {name}"),
            short: format!("{name} has no effect as an attribute of an exporter"),
            detail: "attestations are asked for by options of the frontend; leave it out".into(),
        }));
        exporter.attrs.retain(|name, _| !misplaced(name));
    }
    (exporters, notices)
}

/// Caches outside the daemon.
#[derive(Default)]
struct Caches {
    exports: Vec<CacheExport>,
    imports: Vec<CacheImport>,
    notices: Vec<Notice>,
}

fn caches(options: CacheOptions, clouds: &Clouds) -> Result<Caches, RichStatus> {
    let CacheOptions {
        export_ref_deprecated,
        import_refs_deprecated,
        export_attrs_deprecated,
        mut exports,
        mut imports,
    } = options;
    let registry = |reference: String, mut attrs: BTreeMap<String, String>| {
        attrs.insert("ref".into(), reference);
        CacheOptionsEntry { r#type: "registry".into(), attrs }
    };
    if !export_ref_deprecated.is_empty() {
        exports.push(registry(export_ref_deprecated, export_attrs_deprecated));
    }
    let older = import_refs_deprecated.into_iter();
    imports.extend(older.map(|reference| registry(reference, BTreeMap::new())));
    let mut caches =
        Caches { imports: imports.into_iter().map(cache).collect(), ..Caches::default() };
    for import in &caches.imports {
        // What else is wrong with one is shown where it is opened: a build goes on without it.
        ImportFrom::check_kind(import).map_err(|error| invalid(error.to_string()))?;
    }
    for export in exports.into_iter().map(cache) {
        let parsed = CacheExport::parse(&export, clouds);
        let (parsed, unused) = parsed.map_err(|error| invalid(error.to_string()))?;
        caches.exports.push(parsed);
        caches.notices.extend(unused.iter().map(|name| without_effect(&export, name)));
    }
    Ok(caches)
}

fn cache(CacheOptionsEntry { r#type: kind, attrs }: CacheOptionsEntry) -> CacheImport {
    CacheImport::default().with_kind(kind).with_attrs(attrs)
}

fn without_effect(cache: &CacheImport, attribute: &str) -> Notice {
    let name = cache_name(cache);
    Notice {
        step: format!("exporting cache to {name}"),
        short: format!("{attribute} has no effect for the export of cache {name}"),
        detail: "leave it out".into(),
    }
}

#[cfg(test)]
mod tests {
    use kiln_remotecache::{ExportTo, Mode};

    use super::*;

    fn decode(request: SolveRequest) -> Result<Build, RichStatus> {
        Build::decode(request, Entitlements::default(), &Clouds::default())
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn options(pairs: &[(&str, &str)]) -> SolveRequest {
        SolveRequest { frontend_attrs: map(pairs), ..SolveRequest::default() }
    }

    fn entry(kind: &str, attrs: &[(&str, &str)]) -> CacheOptionsEntry {
        CacheOptionsEntry { r#type: kind.into(), attrs: map(attrs) }
    }

    fn exporting(kind: &str, attrs: &[(&str, &str)]) -> SolveRequest {
        let cache = CacheOptions { exports: vec![entry(kind, attrs)], ..CacheOptions::default() };
        SolveRequest { cache: Some(cache), ..SolveRequest::default() }
    }

    fn steps(request: &Build) -> Vec<&str> {
        request.notices.iter().map(|notice| notice.step.as_str()).collect()
    }

    #[track_caller]
    fn refused(request: SolveRequest, code: Code, words: &str) {
        let status = decode(request).unwrap_err();
        assert_eq!(status.code, code, "{status}");
        assert!(status.to_string().contains(words), "{status}");
    }

    #[test]
    fn a_definition_without_ops_is_a_result_and_not_a_missing_one() {
        let (empty, full) =
            (Definition::default(), Definition { def: vec!["op".into()], ..Definition::default() });
        let request = |definition: Option<&Definition>, frontend: &str| SolveRequest {
            definition: definition.cloned(),
            frontend: frontend.into(),
            ..SolveRequest::default()
        };
        let graph = |definition, frontend| decode(request(definition, frontend)).unwrap().graph;
        assert_eq!(graph(Some(&empty), ""), WhoseGraph::Request(empty.clone()));
        assert_eq!(graph(Some(&full), ""), WhoseGraph::Request(full.clone()));
        assert_eq!(graph(None, ""), WhoseGraph::Client);
        assert_eq!(graph(None, "f"), WhoseGraph::Frontend);
        assert_eq!(graph(Some(&empty), "f"), WhoseGraph::Frontend);
        let words = "either a definition or a frontend, not both";
        refused(request(Some(&full), "f"), Code::InvalidArgument, words);
    }

    #[test]
    fn a_request_for_attestations_in_the_wrong_place_is_shown() {
        let attrs = map(&[("attest:provenance", "mode=max"), ("push", "false")]);
        let exporters = vec![Exporter { r#type: "image".into(), attrs }];
        let request = decode(SolveRequest { exporters, ..SolveRequest::default() }).unwrap();
        assert_eq!(steps(&request), ["exporter attribute attest:provenance"]);
    }

    #[test]
    fn caches_are_taken_or_refused_by_name_in_every_spelling() {
        let cache = CacheOptions {
            imports: vec![entry("local", &[("src", "/a")]), entry("s3", &[("name", "c")])],
            import_refs_deprecated: vec!["example.com/b".into()],
            exports: vec![
                entry("inline", &[("ignore-error", "true"), ("dest", "/d")]),
                entry("s3", &[("bucket", "b"), ("region", "r"), ("tag", "t")]),
            ],
            ..CacheOptions::default()
        };
        let request = decode(SolveRequest { cache: Some(cache), ..SolveRequest::default() });
        let request = request.unwrap();
        let notices: Vec<&str> = request.notices.iter().map(|n| n.short.as_str()).collect();
        assert_eq!(
            notices,
            [
                "dest has no effect for the export of cache /d (inline)",
                "tag has no effect for the export of cache b (s3)",
            ]
        );
        assert_eq!(request.cache_exports[0].to, ExportTo::Inline);
        let imports: Vec<String> = request.cache_imports.iter().map(cache_name).collect();
        assert_eq!(imports, ["/a (local)", "c (s3)", "example.com/b (registry)"]);
        let reference = [("ref", "example.com/c"), ("ignore-error", "maybe")];
        refused(exporting("registry", &reference), Code::InvalidArgument, "invalid ignore-error");
        let words = "s3 cache requires region (or $AWS_REGION of the daemon)";
        refused(exporting("s3", &[("bucket", "b")]), Code::InvalidArgument, words);
        let older = CacheOptions {
            export_ref_deprecated: "example.com/c".into(),
            export_attrs_deprecated: map(&[("mode", "max")]),
            ..CacheOptions::default()
        };
        let older = decode(SolveRequest { cache: Some(older), ..SolveRequest::default() });
        let export = older.unwrap().cache_exports.remove(0);
        assert_eq!((export.mode, export.name.as_str()), (Mode::Max, "example.com/c (registry)"));
        refused(exporting("x", &[]), Code::InvalidArgument, "unknown cache exporter: \"x\"");
        let cache = CacheOptions { imports: vec![entry("x", &[])], ..CacheOptions::default() };
        let words = "unknown cache importer: \"x\"";
        let request = SolveRequest { cache: Some(cache), ..SolveRequest::default() };
        refused(request, Code::InvalidArgument, words);
    }

    #[test]
    fn entitlements_are_granted_denied_or_refused_by_name() {
        let asking = |name: &str| SolveRequest {
            entitlements: vec![name.into()],
            ..SolveRequest::default()
        };
        refused(asking("device"), Code::PermissionDenied, "entitlement device is not allowed");
        refused(asking("devices"), Code::InvalidArgument, "unknown entitlement devices");
        refused(asking("network.host"), Code::PermissionDenied, "entitlement network.host");
        let devices = Some(kiln_cdi::Grant::default());
        let allowed = Entitlements { network_host: true, security_insecure: true, devices };
        let decode = |name| Build::decode(asking(name), allowed.clone(), &Clouds::default());
        for name in ["network.host", "security.insecure", "device", "device=a.b/c=d,alias=e"] {
            let granted = decode(name).unwrap().entitlements;
            assert_eq!(granted.network_host, name == "network.host");
            assert_eq!(granted.security_insecure, name == "security.insecure");
            assert_eq!(granted.devices.is_some(), name.starts_with("device"));
            assert_eq!(granted.devices.is_some_and(|devices| devices.all), name == "device");
        }
        let error = decode("device=a.b/c=d,name=e").unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
    }

    #[test]
    fn the_only_exporter_may_be_named_the_older_way() {
        let older = SolveRequest {
            exporter_deprecated: "tar".into(),
            exporter_attrs_deprecated: map(&[("platform-split", "true")]),
            ..SolveRequest::default()
        };
        let exports = decode(older.clone()).unwrap().exports;
        assert_eq!((exports.len(), exports[0].options.platform_split), (1, Some(true)));
        let attrs = BTreeMap::new();
        let newer = vec![Exporter { r#type: "oci".into(), attrs }];
        let exports = decode(SolveRequest { exporters: newer, ..older }).unwrap().exports;
        assert_eq!((exports.len(), exports[0].kind.as_str()), (1, "oci"));
    }

    #[test]
    fn the_epoch_of_the_frontend_is_that_of_exporters_that_have_none() {
        let request = |attrs: &[(&str, &str)]| SolveRequest {
            exporters: vec![Exporter { r#type: "oci".into(), attrs: map(attrs) }],
            ..options(&[(EPOCH, "7")])
        };
        let epoch = |attrs| decode(request(attrs)).unwrap().exports[0].options.epoch;
        assert_eq!(epoch(&[]), kiln_exporters::Epoch::Seconds(7));
        assert_eq!(epoch(&[("source-date-epoch", "8")]), kiln_exporters::Epoch::Seconds(8));
    }

    #[test]
    fn images_of_an_older_version_are_dockers_unless_something_is_said_about_them() {
        let request = |kind: &str, attrs: &[(&str, &str)], options: &[(&str, &str)]| SolveRequest {
            compatibility_version: 20,
            frontend_attrs: map(options),
            exporters: vec![Exporter { r#type: kind.into(), attrs: map(attrs) }],
            ..SolveRequest::default()
        };
        let said = |kind, attrs: &[(&str, &str)], options: &[(&str, &str)]| {
            let options = decode(request(kind, attrs, options)).unwrap().exports.remove(0).options;
            (options.oci_types, options.artifact)
        };
        assert_eq!(said("image", &[], &[]), (false, false));
        assert_eq!(said("oci", &[], &[]), (true, false));
        assert_eq!(said("image", &[("oci-mediatypes", "true")], &[]), (true, false));
        let attested = [("attest:provenance", "mode=min")];
        assert_eq!(said("image", &[], &attested), (true, false));
        let newest = SolveRequest { compatibility_version: 0, ..request("image", &[], &[]) };
        let newest = decode(newest).unwrap().exports.remove(0).options;
        assert_eq!((newest.oci_types, newest.artifact), (true, true));
    }

    #[test]
    fn the_oldest_version_has_no_zstd() {
        let request = |compatibility_version, kind: &str| SolveRequest {
            compatibility_version,
            exporters: vec![Exporter {
                r#type: kind.into(),
                attrs: map(&[("compression", "zstd")]),
            }],
            ..SolveRequest::default()
        };
        let words = "unsupported compatibility-version 10 feature oci exporter compression=zstd";
        refused(request(10, "oci"), Code::InvalidArgument, words);
        let error = decode(request(10, "image")).unwrap_err();
        let feature = "image exporter compression=zstd".to_owned();
        assert_eq!(error.details, [Detail::CompatibilityFeature { version: 10, feature }]);
        assert_eq!(decode(request(20, "oci")).unwrap().exports.len(), 1);
    }

    #[test]
    fn versions_of_compatibility_that_are_not_known_are_refused() {
        let version = |compatibility_version| SolveRequest {
            compatibility_version,
            ..SolveRequest::default()
        };
        assert_eq!(decode(version(0)).unwrap().compatibility, 30);
        assert_eq!(decode(version(30)).unwrap().compatibility, 30);
        assert_eq!(decode(version(10)).unwrap().compatibility, 10);
        for other in [-1, 15, 31] {
            let words = format!("unsupported compatibility-version {other}");
            refused(version(other), Code::Unimplemented, &words);
        }
    }
}
