//! Records that BuildKit exported for whole builds, made again from the Dockerfile or definition of
//! the build, the client's files and what the servers of the recording held.
//!
//! What a step makes is not known here, so a record that stands for the content of a result is only
//! made again where the result is a directory of the client's or a download.

#![expect(clippy::print_stdout, reason = "the test says how much of the vectors passes")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::Dockerfile;
use kiln_filesync::Patterns;
use kiln_keys::contenthash::{Entries, FileKind, Header, Origin, content};
use kiln_keys::source::{Found, filename, maps};
use kiln_keys::{CacheMap, cache_map, content_record};
use kiln_llb::Definition;
use kiln_oci::{Digest, Platform};
use kiln_testing::{Case, CaseImage, Fixture, ImageKind, Step, Steps};
use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;
use prost::Message as _;
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cache")
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or(0)).unwrap()
}

fn bytes(entry: &Value) -> Vec<u8> {
    match entry["base64"].as_str() {
        Some(encoded) => STANDARD.decode(encoded).unwrap(),
        None => text(&entry["text"]).as_bytes().to_vec(),
    }
}

/// A document of the base image's layout.
fn blob(digest: &str) -> Value {
    json(vectors().join("base/blobs").join(digest.replace(':', "/")))
}

/// The config of an image of the layout, for a platform.
fn config(digest: &str, platform: &Platform) -> Value {
    let document = blob(digest);
    let architecture = platform.architecture.as_str();
    let of_platform = |entry: &&Value| text(&entry["platform"]["architecture"]) == architecture;
    match list(&document["manifests"]).find(of_platform) {
        Some(entry) => config(text(&entry["digest"]), platform),
        None => blob(text(&document["config"]["digest"])),
    }
}

/// What the servers of the recording held.
struct Servers(Value);

impl Servers {
    fn file(&self, url: &str) -> Option<&Value> {
        let (_, path) = url.split_once("://127.0.0.1:5800")?;
        list(&self.0["http"]["files"]).find(|file| text(&file["path"]) == path)
    }

    /// The object of a reference, the commit of it if that is a tag, and its full name.
    fn git(&self, reference: &str) -> Option<(String, Option<String>, String)> {
        let refs = &self.0["git"]["refs"];
        let reference = if reference.is_empty() { "main" } else { reference };
        let [branch, tag] = ["heads", "tags"].map(|kind| format!("refs/{kind}/{reference}"));
        let commit = refs[format!("{tag}^{{}}")].as_str().map(str::to_owned);
        let annotated = refs[format!("{tag} (annotated tag object)")].as_str();
        let plain = |name: &String| refs[name].as_str();
        let (object, full) = plain(&branch)
            .map(|object| (object, branch.clone()))
            .or_else(|| annotated.or_else(|| plain(&tag)).map(|object| (object, tag)))?;
        Some((object.to_owned(), commit, full))
    }

    /// What an image reference stands for.
    fn image(&self, reference: &str) -> String {
        let named = reference.rsplit_once('@').map(|(_, digest)| digest.to_owned());
        named.unwrap_or_else(|| {
            let tag = reference.rsplit(':').next().unwrap();
            text(&self.0["registry"]["tags"][tag]).to_owned()
        })
    }
}

/// One recorded build.
struct Recorded {
    directory: PathBuf,
    case: Value,
}

impl Recorded {
    fn options(&self) -> BTreeMap<String, String> {
        let words: Vec<&str> = list(&self.case["buildctl_args"]).map(text).collect();
        let options = words.windows(2).filter(|pair| pair[0] == "--opt");
        options
            .filter_map(|pair| pair[1].split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn tree(&self, local: &str) -> Option<Value> {
        let path = self.directory.join(format!("inputs/{local}.tree.json"));
        path.is_file().then(|| json(path))
    }

    /// The graphs that were built.
    fn definitions(&self) -> Vec<Definition> {
        let inputs = self.directory.join("inputs");
        if let Ok(bytes) = std::fs::read(inputs.join("definition.pb")) {
            let outer = pb::Definition::decode(bytes.as_slice()).unwrap();
            let nested = nested(&outer);
            return [outer].into_iter().chain(nested).map(Definition::from).collect();
        }
        let Ok(dockerfile) = std::fs::read(inputs.join("Dockerfile")) else { return Vec::new() };
        let opts = self.options();
        let case = Case { opts, images: images(), ..Case::default() };
        let mut fixture = Fixture::from_case(&case).unwrap();
        fixture = fixture.file("dockerfile", "Dockerfile", dockerfile);
        for local in ["context", "other"] {
            for entry in list(&self.tree(local).unwrap_or_default()) {
                if text(&entry["type"]) == "file" {
                    fixture = fixture.file(local, text(&entry["path"]), bytes(entry));
                }
            }
        }
        let built = fixture.build(&Dockerfile::mainline());
        let built = built.unwrap_or_else(|error| panic!("{}: {error}", self.case["name"]));
        built.platforms.into_iter().map(|platform| platform.definition).collect()
    }
}

/// The graphs that a build op finds in files which the graph itself writes.
fn nested(definition: &pb::Definition) -> Vec<pb::Definition> {
    let mut found = Vec::new();
    for bytes in &definition.def {
        let Some(Kind::File(op)) = pb::Op::decode(bytes.clone()).unwrap().op else { continue };
        for action in op.actions {
            if let Some(pb::file_action::Action::Mkfile(file)) = action.action
                && file.path == "/buildkit.llb.definition"
            {
                found.push(pb::Definition::decode(file.data).unwrap());
            }
        }
    }
    found
}

/// The images of the layout under all names by which they were asked for.
fn images() -> Vec<CaseImage> {
    let mut images = Vec::new();
    for entry in list(&json(vectors().join("base/index.json"))["manifests"]) {
        let digest = text(&entry["digest"]);
        let tag = text(&entry["annotations"]["org.opencontainers.image.ref.name"]);
        for platform in ["linux/amd64", "linux/arm64"] {
            let config = config(digest, &platform.parse().unwrap());
            let image = |kind, reference: String| CaseImage {
                kind,
                reference,
                platform: Some(platform.to_owned()),
                digest: Some(digest.to_owned()),
                config: Some(config.clone()),
                ..CaseImage::default()
            };
            for context in ["base", "onb", "example.org/missing:1"] {
                images.push(image(ImageKind::OciLayout, format!("{context}@{digest}")));
            }
            let registry = "127.0.0.1:5000/base";
            images.push(image(ImageKind::Image, format!("{registry}:{tag}")));
            images.push(image(ImageKind::Image, format!("{registry}@{digest}")));
            images.push(image(ImageKind::Image, format!("{registry}:{tag}@{digest}")));
        }
    }
    images
}

fn platform(op: &pb::Op) -> Platform {
    let named = op.platform.clone().map(|platform| Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features,
        variant: platform.variant,
    });
    named.unwrap_or_else(|| "linux/amd64".parse().unwrap()).normalized()
}

/// How a step of the build is keyed.
fn keyed(step: &Step, servers: &Servers) -> Vec<CacheMap> {
    let platform = platform(&step.op);
    let Some(Kind::Source(source)) = &step.op.op else {
        return vec![cache_map(&step.op, &platform).unwrap()];
    };
    let (scheme, rest) = source.identifier.split_once("://").unwrap();
    let all = |found: Found<'_>| maps(source, &platform, &found).unwrap();
    match scheme {
        "docker-image" | "oci-layout" => {
            let digest = servers.image(rest);
            let config = serde_json::to_vec(&config(&digest, &platform)).unwrap();
            all(Found::Image { digest: &digest.parse().unwrap(), config: &config })
        }
        "local" => all(Found::Local { session: "any" }),
        "git" => {
            let reference = rest.split_once('#').map_or("", |(_, fragment)| fragment);
            let reference = reference.split(':').next().unwrap();
            // A commit is its own answer.
            let (object, commit, reference) = servers
                .git(reference)
                .unwrap_or_else(|| (reference.to_owned(), None, reference.to_owned()));
            all(Found::Git { object: &object, commit: commit.as_deref(), reference: &reference })
        }
        _ => {
            let file = servers.file(&source.identifier).unwrap();
            let header = |name: &str| file["headers"][name].as_str();
            all(Found::Http {
                checksum: &Digest::sha256(bytes(file)),
                disposition: header("Content-Disposition"),
                last_modified: header("Last-Modified").unwrap_or_default(),
            })
        }
    }
}

/// What a source holds, if that is known.
fn tree(step: &Step, recorded: &Recorded, servers: &Servers) -> Option<Entries> {
    let Some(Kind::Source(source)) = &step.op.op else { return None };
    let (scheme, rest) = source.identifier.split_once("://")?;
    match scheme {
        "local" => Some(sent(&recorded.tree(rest)?, source)),
        "http" => Some(downloaded(servers.file(&source.identifier)?, source)),
        _ => None,
    }
}

/// What a client sends of a directory: everything belongs to root then.
fn sent(entries: &Value, source: &pb::SourceOp) -> Entries {
    let patterns = |attribute: &str| -> Vec<String> {
        let json = source.attrs.get(attribute);
        json.map(|json| serde_json::from_str(json).unwrap()).unwrap_or_default()
    };
    let excluded = Patterns::parse(patterns("local.excludepatterns")).unwrap();
    let mut included = patterns("local.includepattern");
    for path in patterns("local.followpaths") {
        let path = path.trim_start_matches('/').to_owned();
        let link = list(entries).find(|entry| text(&entry["path"]) == path);
        included.extend(link.and_then(|entry| entry["link"].as_str()).map(str::to_owned));
        included.push(path);
    }
    let all = included.iter().all(String::is_empty);
    let included = Patterns::parse(included).unwrap();
    let mut tree = Entries::new(Origin::Sent);
    let travels = |path: &str| (all || included.matches(path)) && !excluded.matches(path);
    for entry in list(entries).filter(|entry| travels(text(&entry["path"]))) {
        let path = text(&entry["path"]);
        for (at, _) in path.match_indices('/') {
            if tree_lacks(&tree, &path[..at]) {
                let above = list(entries).find(|entry| text(&entry["path"]) == &path[..at]);
                insert(&mut tree, above.unwrap());
            }
        }
        if text(&entry["type"]) == "hardlink" {
            assert!(tree.link(path, text(&entry["link"])), "{path}");
        } else {
            insert(&mut tree, entry);
        }
    }
    tree
}

fn tree_lacks(tree: &Entries, path: &str) -> bool {
    use kiln_keys::contenthash::Tree as _;
    let Ok(found) = tree.look(path.as_bytes());
    found.is_none()
}

fn insert(tree: &mut Entries, entry: &Value) {
    let kind = match text(&entry["type"]) {
        "dir" => FileKind::Directory,
        "symlink" => FileKind::Symlink,
        "fifo" => FileKind::Fifo,
        _ => FileKind::File,
    };
    let bytes = bytes(entry);
    let xattrs = entry["xattrs"].as_object().into_iter().flatten().map(|(name, value)| {
        let value = match text(value).strip_prefix("base64:") {
            Some(encoded) => STANDARD.decode(encoded).unwrap(),
            None => text(value).as_bytes().to_vec(),
        };
        (name.as_bytes().to_vec(), value)
    });
    let header = Header {
        kind,
        mode: number(&entry["mode"]),
        size: bytes.len() as u64,
        target: text(&entry["link"]).as_bytes().to_vec(),
        xattrs: xattrs.collect(),
        ..Header::default()
    };
    tree.insert_with(text(&entry["path"]), &header, &bytes);
}

fn downloaded(file: &Value, source: &pb::SourceOp) -> Entries {
    let bytes = bytes(file);
    let attribute = |name: &str| source.attrs.get(name).map_or("", String::as_str);
    let disposition = file["headers"]["Content-Disposition"].as_str();
    let name = filename(&source.identifier, attribute("http.filename"), disposition);
    let perm = u32::from_str_radix(attribute("http.perm"), 8).unwrap_or(0o600);
    let header = Header {
        mode: perm,
        uid: attribute("http.uid").parse().unwrap_or(0),
        gid: attribute("http.gid").parse().unwrap_or(0),
        size: bytes.len() as u64,
        ..Header::default()
    };
    let mut tree = Entries::new(Origin::Scanned);
    tree.insert_with(name, &header, &bytes);
    tree
}

/// The digests of all records that can be made from what is known, and the selectors by which inputs
/// are linked: by the digests of the record and of the record it reads.
#[derive(Default)]
struct Made {
    records: BTreeSet<Digest>,
    links: BTreeMap<(Digest, Digest), BTreeSet<String>>,
}

impl Made {
    fn add(&mut self, definition: &Definition, recorded: &Recorded, servers: &Servers) {
        let steps = Steps::of(definition).unwrap();
        let keys: Vec<Vec<CacheMap>> = steps.iter().map(|step| keyed(step, servers)).collect();
        let mut outputs = BTreeSet::from_iter(steps.result());
        outputs.extend(steps.iter().flat_map(|step| step.inputs.iter().copied()));
        let record = |map: &CacheMap, output: i64| map.record(usize::try_from(output).unwrap());
        for output in &outputs {
            self.records.extend(keys[output.index].iter().map(|map| record(map, output.output)));
        }
        for (step, maps) in steps.iter().zip(&keys) {
            for (input, dep) in step.inputs.iter().zip(&maps[0].deps) {
                let made = outputs.iter().filter(|output| output.index + 1 == step.number);
                let selector = dep.selector.as_ref().map(|selector| selector.digest.to_string());
                for (output, read) in
                    made.flat_map(|output| keys[input.index].iter().map(move |map| (output, map)))
                {
                    let link = (record(&maps[0], output.output), record(read, input.output));
                    self.links
                        .entry(link)
                        .or_default()
                        .insert(selector.clone().unwrap_or_default());
                }
                let tree = tree(steps.get(input.index).unwrap(), recorded, servers);
                if let (Some(query), Some(tree)) = (&dep.content, tree) {
                    let digest = content(Some(&tree), query).unwrap();
                    self.records.insert(content_record(&digest));
                }
            }
        }
    }
}

/// What of a build's records was made again.
#[derive(Default)]
struct Count {
    definition: usize,
    content: usize,
    content_of_results: usize,
    links: usize,
}

fn compare(recorded: &Recorded, made: &Made, count: &mut Count, wrong: &mut Vec<String>) {
    let preimages = json(recorded.directory.join("preimages.json"));
    let records = &json(recorded.directory.join("records.json"))["records"];
    let digest = |record: &Value| text(&record["digest"]).parse::<Digest>().unwrap();
    let name = text(&recorded.case["name"]);
    for record in list(records) {
        let preimage = text(&preimages[text(&record["digest"])]["parts"][0]["text"]);
        match (made.records.contains(&digest(record)), preimage.ends_with("@-1")) {
            (true, false) => count.definition += 1,
            (true, true) => count.content += 1,
            (false, true) => count.content_of_results += 1,
            (false, false) => wrong.push(format!("{name}: {preimage} was not made")),
        }
        for link in list(&record["inputs"]).flat_map(list) {
            let read = digest(&records[usize::try_from(link["record"].as_u64().unwrap()).unwrap()]);
            let Some(selectors) = made.links.get(&(digest(record), read)) else { continue };
            match selectors.contains(text(&link["selector"])) {
                true => count.links += 1,
                false => wrong.push(format!("{name}: {link} of {preimage}: {selectors:?}")),
            }
        }
    }
}

/// Builds whose graph is not in the recording: a Dockerfile of a repository, read by the daemon.
const WITHOUT_GRAPH: &[&str] = &["056-git-context"];

#[test]
fn exported_records_follow_from_the_graph_and_what_the_sources_held() {
    let servers = Servers(json(vectors().join("services.json")));
    let mut directories: Vec<PathBuf> = std::fs::read_dir(vectors().join("cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    directories.sort();
    assert_eq!(directories.len(), 95);
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    for directory in directories {
        let recorded = Recorded { case: json(directory.join("case.json")), directory };
        if WITHOUT_GRAPH.contains(&text(&recorded.case["name"])) {
            continue;
        }
        let mut made = Made::default();
        for definition in recorded.definitions() {
            made.add(&definition, &recorded, &servers);
        }
        compare(&recorded, &made, &mut count, &mut wrong);
    }
    let Count { definition, content, content_of_results, links } = count;
    println!(
        "records: {definition} of definitions, {content} of content and {links} links are equal, \
         {content_of_results} are of the content of results; {} differ",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((definition, content, content_of_results, links), (376, 66, 35, 332));
}
