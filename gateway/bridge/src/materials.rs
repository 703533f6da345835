//! What a graph used: its sources with what they were resolved to, its secrets and agents.

use std::collections::{BTreeMap, BTreeSet};

use kiln_container::{Captured, Reason};
use kiln_graph::{BlobAddress, Edge, Exec, Graph, Identifier, MountKind, NetworkMode, Op, Vertex};
use kiln_oci::{Platform, Reference};
use kiln_provenance::{NetworkGap, Used, UsedBlob, UsedImage};
use kiln_sources::Metadata;

/// The vertices on the way to an edge.
pub(crate) fn way<'g>(graph: &'g Graph, edge: &Edge) -> Vec<&'g Vertex> {
    let mut open = vec![&edge.vertex];
    let (mut seen, mut way) = (BTreeSet::new(), Vec::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        if let Some(vertex) = graph.vertex(id) {
            open.extend(vertex.inputs.iter().map(|input| &input.vertex));
            way.push(&**vertex);
        }
    }
    way
}

/// Adds what a vertex used, beside what a source was resolved to.
pub(crate) fn add_vertex(used: &mut Used, vertex: &Vertex) {
    match &vertex.op {
        Op::Exec(exec) => add_exec(used, exec),
        // What it solves is known only inside.
        Op::Build(_) => used.incomplete = true,
        Op::Source(source) => match &**source {
            Identifier::Local(local) => drop(used.locals.insert(local.name.clone())),
            Identifier::Git(git) => {
                for secret in [&git.auth_token_secret, &git.auth_header_secret] {
                    if !secret.is_empty() {
                        used.add_secret(secret, true);
                    }
                }
                if !git.ssh_agent.is_empty() {
                    used.add_agent(&git.ssh_agent, true);
                }
            }
            Identifier::Http(http) if !http.auth_header_secret.is_empty() => {
                used.add_secret(&http.auth_header_secret, true);
            }
            Identifier::Http(_)
            | Identifier::Image(_)
            | Identifier::OciLayout(_)
            | Identifier::Blob(_) => {}
        },
        Op::File(_) | Op::Merge(_) | Op::Diff { .. } | Op::Passthrough { .. } => {}
    }
}

fn add_exec(used: &mut Used, exec: &Exec) {
    for mount in &exec.mounts {
        match &mount.kind {
            MountKind::Secret { id, optional, .. } => used.add_secret(id, *optional),
            MountKind::Ssh { id, optional, .. } => used.add_agent(id, *optional),
            MountKind::Bind | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => {}
        }
    }
    exec.secret_env.iter().for_each(|secret| used.add_secret(&secret.id, secret.optional));
    used.network |= exec.network != NetworkMode::None;
}

/// Adds what passed the proxy of a step, if that is known.
pub(crate) fn add_passed(used: &mut Used, vertex: &Vertex, exec: &Exec, passed: Option<&Captured>) {
    used.proxied = true;
    let gap = |method: &str, uri: &str, reason: Reason| NetworkGap {
        op: vertex.digest.to_string(),
        name: exec.args.join(" "),
        method: method.to_owned(),
        uri: uri.to_owned(),
        reason: reason.as_str().to_owned(),
    };
    let Some(passed) = passed else {
        return used.network_gaps.push(gap("", "", Reason::Cached));
    };
    for material in &passed.materials {
        used.add_file(material.url.clone(), material.digest.clone());
    }
    let gaps = passed.gaps.iter().map(|it| gap(&it.method, &it.url, it.reason));
    used.network_gaps.extend(gaps);
}

/// Adds what a source was resolved to.
pub(crate) fn add_source(
    used: &mut Used,
    source: &Identifier,
    platform: &Platform,
    found: &Metadata,
) {
    match (source, found) {
        (Identifier::Image(image), Metadata::Image { reference, manifest, .. }) => {
            used.add_image(used_image(
                &image.reference,
                Some(platform),
                reference,
                manifest,
                false,
            ));
        }
        (Identifier::OciLayout(image), Metadata::Image { reference, manifest, .. }) => {
            used.add_image(used_image(&image.reference, Some(platform), reference, manifest, true));
        }
        (Identifier::Blob(blob), Metadata::Blob { .. }) => {
            used.add_blob(used_blob(&blob.address));
        }
        (Identifier::Git(git), Metadata::Git { checksum, .. }) => {
            let url = match git.reference.as_str() {
                "" => git.remote.clone(),
                reference => format!("{}#{reference}", git.remote),
            };
            used.add_git(url, checksum.clone(), git.bundle.as_ref().map(used_blob));
        }
        (Identifier::Http(http), Metadata::Http { digest, .. }) => {
            used.add_file(http.url.clone(), digest.clone());
        }
        (Identifier::Local(_), _) => {}
        // What was found belongs to another source.
        _ => used.incomplete = true,
    }
}

fn used_blob(address: &BlobAddress) -> UsedBlob {
    UsedBlob { reference: address.reference.clone(), local: address.layout.is_some() }
}

fn used_image(
    asked: &Reference,
    platform: Option<&Platform>,
    found: &Reference,
    manifest: &kiln_oci::Digest,
    local: bool,
) -> UsedImage {
    UsedImage {
        reference: asked.clone(),
        platform: platform.map(|platform| platform.clone().normalized()),
        digest: found.digest().unwrap_or(manifest).clone(),
        local,
    }
}

/// The images of a result of several platforms that are those of one of them: an image that is there
/// for all of them is said of its own platform only.
pub(crate) fn of_platform(
    images: Vec<UsedImage>,
    all: &[Platform],
    own: Option<&Platform>,
) -> Vec<UsedImage> {
    let Some(own) = own else { return images };
    let is_for = |image: &UsedImage, platform: &Platform| {
        image
            .platform
            .as_ref()
            .is_some_and(|of| (&of.os, &of.architecture) == (&platform.os, &platform.architecture))
    };
    let mut by_name: BTreeMap<&Reference, Vec<&UsedImage>> = BTreeMap::new();
    images.iter().for_each(|image| by_name.entry(&image.reference).or_default().push(image));
    by_name.retain(|_, same| {
        all.iter().all(|platform| same.iter().any(|image| is_for(image, platform)))
    });
    let everywhere = |image: &UsedImage| by_name.contains_key(&image.reference);
    let stays =
        |image: &&UsedImage| image.platform.is_none() || is_for(image, own) || !everywhere(image);
    images.iter().filter(stays).cloned().collect()
}
