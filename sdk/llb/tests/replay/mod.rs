//! Builds the graph of a vector with the public API.

mod options;

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_llb::{
    Action, Blob, Constraints, CopyFrom, CopyMode, CopyOptions, Definition, Differ, DifferKind,
    FileActions, FileMode, Git, GitBundle, Http, HttpHeader, HttpSignature, Image, ImageMeta,
    ImageRequest, Local, MarshalError, MetaResolver, MetadataOnly, Mkdir, Mkfile, OciLayout,
    OciStore, Owner, OwnerId, Passthrough, PassthroughInput, ResolveMode, ResolvedImage, Rm, Run,
    SourceFile, SourceMap, State, Symlink,
};
use serde_json::Value;

use options::{constraints, marshal_options, run, with};

/// What stands behind a node id.
#[derive(Clone)]
enum Node {
    State(State),
    Run(Box<Run>),
}

/// The nodes built so far, and what later ones may name. Cheap enough to clone for callbacks.
#[derive(Clone, Default)]
struct Graph {
    nodes: BTreeMap<String, Node>,
    maps: BTreeMap<String, SourceMap>,
    wanted_maps: Value,
}

/// Marshals the graph of a case.
pub(crate) fn marshal(graph: &Value) -> Result<Definition, MarshalError> {
    let mut built = Graph { wanted_maps: graph["source_maps"].clone(), ..Graph::default() };
    built.build(&graph["nodes"])?;
    let resolver = Resolver(answers(graph));
    let mut options = marshal_options(&graph["marshal"], &built);
    options.defaults = constraints(&graph["defaults"], &built);
    options.resolver = Some(&resolver);
    built.state(&graph["output"]).marshal(&options)
}

/// Answers as the case says, by the normalised reference.
struct Resolver(BTreeMap<String, ResolvedImage>);

impl MetaResolver for Resolver {
    fn resolve(&self, request: &ImageRequest<'_>) -> Result<ResolvedImage, kiln_llb::BoxError> {
        self.0.get(request.reference).cloned().ok_or_else(|| "unknown image".into())
    }
}

fn answers(graph: &Value) -> BTreeMap<String, ResolvedImage> {
    let nodes = graph["nodes"].as_array().unwrap().iter();
    let asked = nodes.filter(|node| node["meta_resolver"].is_object());
    let answer = |node: &Value| {
        let reference: kiln_oci::Reference = text(&node["ref"]).parse().unwrap();
        let reference = reference.to_string();
        let meta = &node["meta_resolver"];
        let answered = meta["ref"].as_str().unwrap_or(&reference).to_owned();
        let digest = Some(text(&meta["digest"]).parse().unwrap());
        let config = options::image_config(&meta["config"]);
        (reference, ResolvedImage { reference: answered, digest, config })
    };
    asked.map(answer).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|values| values.iter().map(text).collect()).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

fn octal(value: &Value) -> Option<FileMode> {
    value.as_str().map(|text| text.parse().unwrap())
}

fn number<T: TryFrom<i64>>(value: &Value) -> T
where
    T::Error: std::fmt::Debug,
{
    value.as_i64().unwrap_or(0).try_into().unwrap()
}

/// An id as BuildKit stores it: -1 wraps around.
fn id(value: &Value) -> u32 {
    number::<i32>(value).cast_unsigned()
}

impl Graph {
    fn build(&mut self, nodes: &Value) -> Result<(), MarshalError> {
        for node in list(nodes) {
            self.find_maps();
            let built = self.node(node)?;
            self.nodes.insert(text(&node["id"]), built);
        }
        Ok(())
    }

    /// Source maps become known with the states they were read from.
    fn find_maps(&mut self) {
        let Some(wanted) = self.wanted_maps.as_object().cloned() else { return };
        for (name, map) in wanted {
            let state = map["state"].as_str();
            if self.maps.contains_key(&name)
                || state.is_some_and(|state| !self.nodes.contains_key(state))
            {
                continue;
            }
            let file = SourceFile::default()
                .with_filename(text(&map["filename"]))
                .with_language(text(&map["language"]))
                .with_data(text(&map["data"]).into())
                .with_state(state.map(|_| self.state(&map["state"])));
            self.maps.insert(name, file.into());
        }
    }

    fn state(&self, id: &Value) -> State {
        match &self.nodes[id.as_str().unwrap()] {
            Node::State(state) => state.clone(),
            Node::Run(run) => run.root(),
        }
    }

    fn states(&self, ids: &Value) -> Vec<State> {
        list(ids).iter().map(|id| self.state(id)).collect()
    }

    fn run(&self, id: &Value) -> Run {
        match &self.nodes[id.as_str().unwrap()] {
            Node::Run(run) => Run::clone(run),
            Node::State(_) => panic!("{id} is no run"),
        }
    }

    fn node(&mut self, node: &Value) -> Result<Node, MarshalError> {
        let base = || self.state(&node["base"]);
        let said = constraints(&node["constraints"], self);
        Ok(Node::State(match text(&node["op"]).as_str() {
            "scratch" => State::scratch(),
            "image" => self.image(node, said),
            "image_blob" => State::image_blob(&text(&node["ref"]), self.blob(node, said)),
            "oci_layout_blob" => State::oci_layout_blob(&text(&node["ref"]), self.blob(node, said)),
            "oci_layout" => oci_layout(node, said),
            "local" => local(node, said),
            "git" => git(node, said),
            "http" => http(node, said),
            "with" => with(base(), &node["set"], self),
            "run" => return Ok(Node::Run(run(&base(), &node["options"], self).into())),
            "run_mount" => {
                let run = self.run(&node["run"]).with_mount(options::mount(node, self));
                self.nodes.insert(text(&node["run"]), Node::Run(run.clone().into()));
                run.mount(&text(&node["target"])).unwrap()
            }
            "get_mount" => self.run(&node["run"]).get_mount(&text(&node["target"])).unwrap(),
            "file" => {
                let actions = self.actions(&node["actions"]);
                base().file(FileActions::from(actions).with_constraints(said))
            }
            "merge" => State::merge_with(&self.states(&node["inputs"]), said),
            "diff" => {
                State::diff_with(&self.state(&node["lower"]), &self.state(&node["upper"]), said)
            }
            "build" => base().build(&text(&node["filename"]), said),
            "requires" => base().requires(&text(&node["marker"]), &self.states(&node["deps"])),
            "passthrough" => self.passthrough(node, said),
            "async" => self.deferred(node),
            "definition" => {
                let options = marshal_options(&node["marshal"], self);
                let definition = self.state(&node["of"]).marshal(&options)?;
                State::from_definition(&definition).unwrap()
            }
            other => panic!("unknown node {other}"),
        }))
    }

    fn image(&self, node: &Value, constraints: Constraints) -> State {
        let meta = match (node["meta_resolver"].is_object(), flag(&node["resolve_digest"])) {
            (false, _) => ImageMeta::Ignored,
            (true, false) => ImageMeta::Config,
            (true, true) => ImageMeta::ConfigAndDigest,
        };
        let image = Image::default()
            .with_resolve_mode(match text(&node["resolve_mode"]).as_str() {
                "pull" => ResolveMode::Pull,
                "local" => ResolveMode::Local,
                _ => ResolveMode::Default,
            })
            .with_meta(meta)
            .with_layer_limit(node["layer_limit"].as_u64().map(|limit| limit.try_into().unwrap()))
            .with_checksum(node["checksum"].as_str().map(|digest| digest.parse().unwrap()))
            .with_internal(flag(&node["internal"]))
            .with_constraints(constraints);
        State::image_with(&text(&node["ref"]), image)
    }

    fn blob(&self, node: &Value, constraints: Constraints) -> Blob {
        let mut blob = Blob::default()
            .with_filename(text(&node["filename"]))
            .with_uid(id(&node["chown"][0]))
            .with_gid(id(&node["chown"][1]))
            .with_store(store(&node["store"]))
            .with_constraints(constraints);
        blob.mode = octal(&node["chmod"]);
        blob
    }

    fn passthrough(&self, node: &Value, constraints: Constraints) -> State {
        let input = |input: &Value| PassthroughInput {
            state: self.state(&input["state"]),
            output: flag(&input["output"]),
        };
        let inputs: Vec<PassthroughInput> = list(&node["inputs"]).iter().map(input).collect();
        let through = Passthrough::new(&text(&node["marker"]), &inputs, constraints);
        through.state(number(&node["output_at"]))
    }

    fn deferred(&self, node: &Value) -> State {
        let outer = Arc::new(self.clone());
        let node = node.clone();
        self.state(&node["base"]).deferred(move |base, _| {
            let mut graph = Self::clone(&outer);
            graph.nodes.insert("$prev".into(), Node::State(base));
            graph.build(&node["nodes"])?;
            Ok(graph.state(&node["output"]))
        })
    }

    fn actions(&self, actions: &Value) -> Vec<Action> {
        list(actions).iter().map(|action| self.action(action)).collect()
    }

    fn action(&self, action: &Value) -> Action {
        let (kind, fields) = action.as_object().unwrap().iter().next().unwrap();
        let (path, owner, created) =
            (text(&fields["path"]), owner(&fields["owner"]), created(&fields["created"]));
        let mode = octal(&fields["mode"]).unwrap_or_default();
        match kind.as_str() {
            "mkdir" => Action::mkdir(
                path,
                Mkdir::default()
                    .with_mode(mode)
                    .with_parents(flag(&fields["parents"]))
                    .with_owner(owner)
                    .with_created(created),
            ),
            "mkfile" => Action::mkfile(
                path,
                data(fields),
                Mkfile::default().with_mode(mode).with_owner(owner).with_created(created),
            ),
            "rm" => {
                let options = Rm::default()
                    .with_allow_not_found(flag(&fields["allow_not_found"]))
                    .with_allow_wildcard(flag(&fields["allow_wildcard"]));
                Action::rm(path, options)
            }
            "symlink" => {
                let (old, new) = (text(&fields["oldpath"]), text(&fields["newpath"]));
                Action::symlink(
                    old,
                    new,
                    Symlink::default().with_owner(owner).with_created(created),
                )
            }
            "copy" => self.copy(fields),
            other => panic!("unknown action {other}"),
        }
    }

    fn copy(&self, fields: &Value) -> Action {
        let chain = &fields["from_actions"];
        let from = if chain.is_object() {
            CopyFrom::Actions(self.state(&chain["base"]), self.actions(&chain["actions"]))
        } else {
            CopyFrom::State(self.state(&fields["from"]))
        };
        let symbolic = fields["mode_str"].as_str().map(|mode| CopyMode::Symbolic(mode.into()));
        let mut options = CopyOptions::default()
            .with_owner(owner(&fields["owner"]))
            .with_created(created(&fields["created"]))
            .with_follow_symlinks(flag(&fields["follow_symlinks"]))
            .with_dir_contents_only(flag(&fields["dir_contents_only"]))
            .with_include_patterns(texts(&fields["include_patterns"]))
            .with_exclude_patterns(texts(&fields["exclude_patterns"]))
            .with_required_paths(texts(&fields["required_paths"]))
            .with_attempt_unpack(flag(&fields["attempt_unpack"]))
            .with_create_dest_path(flag(&fields["create_dest_path"]))
            .with_allow_wildcard(flag(&fields["allow_wildcard"]))
            .with_allow_empty_wildcard(flag(&fields["allow_empty_wildcard"]))
            .with_always_replace_existing(flag(&fields["always_replace_existing"]));
        options.mode = octal(&fields["mode"]).map(CopyMode::Octal).or(symbolic);
        Action::copy(from, text(&fields["src"]), text(&fields["dest"]), options)
    }
}

fn data(fields: &Value) -> Vec<u8> {
    if fields["data_base64"].is_string() {
        crate::decode(&fields["data_base64"])
    } else {
        text(&fields["data"]).into()
    }
}

fn owner(owner: &Value) -> Option<Owner> {
    let fields = owner.as_object()?;
    if let Some(spec) = owner["spec"].as_str() {
        return Some(Owner::parse(spec));
    }
    if fields.contains_key("uid") {
        return Some(Owner::ids(id(&owner["uid"]), id(&owner["gid"])));
    }
    let one = |one: &Value, key: &str| {
        one.as_object().map(|_| match one["name"].as_str() {
            Some(name) => OwnerId::Name(name.into()),
            None => OwnerId::Id(id(&one[key])),
        })
    };
    Some(Owner { user: one(&owner["user"], "uid"), group: one(&owner["group"], "gid") })
}

fn created(time: &Value) -> Option<i64> {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(time.as_str()?, format).unwrap();
    Some(time.unix_timestamp_nanos().try_into().unwrap())
}

fn store(store: &Value) -> Option<OciStore> {
    store.as_object().map(|_| {
        OciStore::default()
            .with_session_id(text(&store["session_id"]))
            .with_store_id(text(&store["store_id"]))
    })
}

fn oci_layout(node: &Value, constraints: Constraints) -> State {
    let layout = OciLayout::default()
        .with_store(store(&node["store"]))
        .with_layer_limit(node["layer_limit"].as_u64().map(|limit| limit.try_into().unwrap()))
        .with_constraints(constraints);
    State::oci_layout(&text(&node["ref"]), layout)
}

fn local(node: &Value, constraints: Constraints) -> State {
    let differ = node["differ"].as_object().map(|_| {
        let kind = match text(&node["differ"]["type"]).as_str() {
            "metadata" => DifferKind::Metadata,
            _ => DifferKind::None,
        };
        Differ::new(kind).with_required(flag(&node["differ"]["required"]))
    });
    let metadata_only = node["metadata_only"].as_object();
    let local = Local::default()
        .with_session_id(text(&node["session_id"]))
        .with_include_patterns(texts(&node["include_patterns"]))
        .with_exclude_patterns(texts(&node["exclude_patterns"]))
        .with_follow_paths(texts(&node["follow_paths"]))
        .with_shared_key_hint(text(&node["shared_key_hint"]))
        .with_differ(differ)
        .with_metadata_only(metadata_only.map(|_| {
            MetadataOnly::default().with_exceptions(texts(&node["metadata_only"]["exceptions"]))
        }))
        .with_constraints(constraints);
    State::local(&text(&node["name"]), local)
}

fn git(node: &Value, constraints: Constraints) -> State {
    let bundle = node["bundle"].as_object().map(|_| {
        GitBundle::default()
            .with_locator(text(&node["bundle"]["locator"]))
            .with_store(store(&node["bundle"]["store"]))
    });
    let secret = |name: &str| node[name].as_str().map(str::to_owned);
    let git = Git::default()
        .with_reference(text(&node["ref"]))
        .with_subdir(text(&node["subdir"]))
        .with_keep_git_dir(flag(&node["keep_git_dir"]))
        .with_checksum(text(&node["checksum"]))
        .with_skip_submodules(flag(&node["skip_submodules"]))
        .with_mtime(text(&node["mtime"]))
        .with_fetch_by_commit(flag(&node["fetch_by_commit"]))
        .with_auth_token_secret(secret("auth_token_secret"))
        .with_auth_header_secret(secret("auth_header_secret"))
        .with_known_ssh_hosts(texts(&node["known_ssh_hosts"]))
        .with_mount_ssh_sock(text(&node["mount_ssh_sock"]))
        .with_bundle(bundle)
        .with_checkout_bundle(flag(&node["checkout_bundle"]))
        .with_constraints(constraints);
    State::git(&text(&node["url"]), &text(&node["fragment"]), git)
}

fn http(node: &Value, constraints: Constraints) -> State {
    let (header, signature) = (&node["header"], &node["signature"]);
    let mut http = Http::default()
        .with_checksum(node["checksum"].as_str().map(|digest| digest.parse().unwrap()))
        .with_filename(text(&node["filename"]))
        .with_uid(id(&node["chown"][0]))
        .with_gid(id(&node["chown"][1]))
        .with_auth_header_secret(text(&node["auth_header_secret"]))
        .with_header(header.as_object().map(|_| {
            HttpHeader::default()
                .with_accept(text(&header["accept"]))
                .with_user_agent(text(&header["user_agent"]))
        }))
        .with_signature(signature.as_object().map(|_| {
            HttpSignature::default()
                .with_public_key(text(&signature["pubkey"]))
                .with_signature(text(&signature["signature"]))
        }))
        .with_constraints(constraints);
    http.mode = octal(&node["chmod"]);
    State::http(&text(&node["url"]), http)
}
