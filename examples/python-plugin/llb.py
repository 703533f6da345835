"""LLB: a graph of operations, each known by the digest of its bytes.

An operation goes in once its inputs are there, so a graph is just a list. The order of the fields
is that of the canonical form: ascending, but the operation itself after the rest.
"""

import hashlib
import json

from wire import always, message

EXEC, SOURCE, FILE = 2, 3, 4


def platform_message(platform):
    os, architecture, *variant = platform.split("/")
    return message((1, architecture), (2, os), (3, variant[0] if variant else ""))


class Graph:
    """The operations of one result."""

    def __init__(self, platform=None, file=None):
        self.platform, self.file = platform, file
        self.ops, self.metadata, self.lines = [], {}, {}

    def add(self, kind, op, inputs=(), line=0, name="", caps=(), ignore_cache=False):
        """Adds an operation and gives back how others refer to it."""
        inputs = [message((1, digest)) for digest in inputs]
        needs_platform = kind == EXEC or b"docker-image://" in op
        platform = platform_message(self.platform) if self.platform and needs_platform else b""
        data = message((1, inputs), (10, platform)) + always(11, b"") + always(kind, op)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if digest not in self.metadata:
            self.ops.append(data)
        needed = {cap: 1 for cap in ["constraints", *caps, *(["meta.ignorecache"] if ignore_cache else [])]}
        if platform:
            needed["platform"] = 1
        description = {"llb.customname": name} if name else {}
        self.metadata[digest] = message((1, int(ignore_cache)), (2, description), (5, needed))
        if line:
            self.lines.setdefault(digest, []).append(line)
        return digest

    def image(self, reference, mode, line):
        attrs = {"image.resolvemode": mode} if mode != "default" else {}
        caps = ["source.image"] + (["source.image.resolvemode"] if attrs else [])
        op = message((1, "docker-image://" + reference), (2, attrs))
        return self.add(SOURCE, op, line=line, name=f"from {reference}", caps=caps)

    def local(self, name, paths, session, title):
        """A directory of the client, of which only these paths are transferred."""
        attrs = {"local.followpaths": json.dumps(paths), "local.sharedkeyhint": name}
        caps = ["source.local", "source.local.followpaths", "source.local.sharedkeyhint"]
        if session:
            attrs["local.session"] = session
            caps.append("source.local.sessionid")
        op = message((1, "local://" + name), (2, attrs))
        return self.add(SOURCE, op, name=title, caps=caps)

    def run(self, base, command, env, cwd, user, proxy, line, ignore_cache):
        """A shell command on top of `base`."""
        names = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"]
        proxies = message(*((n, proxy.get(name, "")) for n, name in enumerate(names, 1)))
        meta = message(
            (1, ["/bin/sh", "-c", command]), (2, env), (3, cwd or "/"), (4, user), (5, proxies)
        )
        op = message((1, meta), (2, [message((3, "/"))]))
        caps = ["exec.meta.base", "exec.mount.bind"] + (["exec.meta.proxyenv"] if proxies else [])
        inputs = [base]
        return self.add(
            EXEC, op, inputs, line, f"run {command}", caps=caps, ignore_cache=ignore_cache
        )

    def copy(self, base, source, path, destination, line, ignore_cache):
        """A copy from another result on top of `base`, which is None for an empty one."""
        what = message(
            (1, path), (2, destination), (4, -1), (6, 1), (8, 1), (9, 1), (11, -1)
        )
        inputs = [source] if base is None else [base, source]
        target, origin = (-1, 0) if base is None else (0, 1)
        action = message((1, target), (2, origin)) + always(4, what)
        op = message((2, [action]))
        name = f"copy {path} {destination}"
        return self.add(
            FILE, op, inputs, line, name, caps=["file.base"], ignore_cache=ignore_cache
        )

    def definition(self, head):
        """The whole graph, with the operation that names the result at its end."""
        end = message((1, [message((1, head))]))
        ops = self.ops + [end]
        metadata = dict(self.metadata)
        metadata["sha256:" + hashlib.sha256(end).hexdigest()] = message((5, {"constraints": 1, "platform": 1}))
        return message((1, ops), (2, metadata), (3, self.source_map()))

    def source_map(self):
        """Which lines of the user's file each operation comes from."""
        if not self.lines:
            return b""
        filename, data = self.file
        locations = {}
        for digest, lines in self.lines.items():
            ranges = [
                message((1, message((1, line))), (2, message((1, line)))) for line in lines
            ]
            locations[digest] = message((1, [message((2, ranges))]))
        info = message((1, filename), (2, data), (4, "steps"))
        return message((1, locations), (2, [info]))
