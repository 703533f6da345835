"""The gateway protocol: gRPC calls over HTTP/2 on the standard streams.

The daemon is the server, this program is the client. Calls are made one after the other, which is
all a small language needs. HTTP/2 itself is python3-h2's.
"""

import base64
import json
import os
import urllib.parse

import h2.config
import h2.connection
import h2.events

from wire import fields, message, one, text

SERVICE = "/moby.buildkit.v1.frontend.LLBBridge/"
ERRORS = "github.com/moby/buildkit/errdefs."

INVALID_ARGUMENT, UNIMPLEMENTED, UNAVAILABLE = 3, 12, 14


class Failure(Exception):
    """An error for the user: a gRPC code, words, and details as (type, value) pairs."""

    def __init__(self, words, code=INVALID_ARGUMENT, details=()):
        super().__init__(words)
        self.words, self.code, self.details = words, code, list(details)

    def at(self, filename, data, line):
        """The same error, pointing at a line of the user's file."""
        position = {"line": line}
        place = {
            "info": {"filename": filename, "data": base64.b64encode(data).decode()},
            "ranges": [{"start": position, "end": position}],
        }
        self.details.append((ERRORS + "Source+json", json.dumps(place).encode()))
        return self

    def status(self):
        """google.rpc.Status"""
        details = [message((1, kind), (2, value)) for kind, value in self.details]
        return message((1, self.code), (2, self.words), (3, details))


class Bridge:
    """The daemon, as a frontend sees it."""

    def __init__(self, environment=os.environ, source=0, sink=1):
        self.source, self.sink = source, sink
        self.options = {}
        for name, value in environment.items():
            if name.startswith("BUILDKIT_FRONTEND_OPT_"):
                key, _, value = value.partition("=")
                self.options[key] = value
        self.session = environment.get("BUILDKIT_SESSION_ID", "")
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.http = h2.connection.H2Connection(config)
        self.http.initiate_connection()
        self.flush()
        pong = fields(self.call("Ping", b""))
        self.gateway_caps = enabled(pong.get(1, []))
        self.llb_caps = enabled(pong.get(2, []))
        workers = [fields(worker) for worker in pong.get(3, [])]
        platforms = workers[0].get(3, []) if workers else []
        self.platforms = [platform_from_wire(platform) for platform in platforms] or ["linux/amd64"]

    # The calls a frontend makes.

    def solve(self, definition):
        """The name of the result of a graph."""
        answer = fields(self.call("Solve", message((1, definition), (5, 1), (6, 1))))
        result = fields(one(answer, 3))
        return text(fields(one(result, 3)), 1) or text(answer, 1)

    def read_file(self, ref, path):
        return one(fields(self.call("ReadFile", message((1, ref), (2, path)))), 1)

    def resolve_image(self, reference, platform, mode, name):
        """The digest and the config of an image."""
        asked = message((1, reference), (2, platform), (3, mode), (4, name))
        answer = fields(self.call("ResolveImageConfig", asked))
        return text(answer, 1), one(answer, 2)

    def give_back(self, refs, metadata):
        """Ends the build with a result: one ref, or a dict of them by platform."""
        if isinstance(refs, dict):
            result = (4, message((1, {key: message((1, ref)) for key, ref in refs.items()})))
        else:
            result = (3, message((1, refs)) or b"")
        self.call("Return", message((1, message(result, (10, metadata)) or message((10, {"": b""})))))

    def give_up(self, failure):
        """Ends the build with an error."""
        self.call("Return", message((2, failure.status())))

    # gRPC on HTTP/2.

    def call(self, method, request):
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", SERVICE + method),
                (":authority", "localhost"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        )
        # Every message is preceded by "not compressed" and its length.
        body = b"\0" + len(request).to_bytes(4, "big") + request
        answer, headers, ended = bytearray(), {}, False
        while not ended:
            while body and self.http.local_flow_control_window(stream):
                window = self.http.local_flow_control_window(stream)
                size = min(len(body), window, self.http.max_outbound_frame_size)
                self.http.send_data(stream, body[:size])
                body = body[size:]
                if not body:
                    self.http.end_stream(stream)
            self.flush()
            for event in self.receive():
                if isinstance(event, h2.events.ConnectionTerminated):
                    raise Failure("the daemon ended the connection", UNAVAILABLE)
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    headers.update(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                    self.http.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamReset):
                    raise Failure(f"the daemon refused the call {method}", UNAVAILABLE)
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
        self.flush()
        if headers.get("grpc-status", "2") != "0":
            raise failure_from(headers, method)
        return bytes(answer[5:])

    def receive(self):
        data = os.read(self.source, 1 << 16)
        if not data:
            raise Failure("the daemon closed the connection", UNAVAILABLE)
        return self.http.receive_data(data)

    def flush(self):
        data = self.http.data_to_send()
        while data:
            data = data[os.write(self.sink, data) :]


def enabled(caps):
    """The ids of the capabilities that are offered."""
    caps = [fields(cap) for cap in caps]
    return {text(cap, 1) for cap in caps if one(cap, 2, 0)}


def platform_from_wire(data):
    found = fields(data)
    variant = text(found, 3)
    return text(found, 2) + "/" + text(found, 1) + ("/" + variant if variant else "")


def failure_from(headers, method):
    """The daemon's error, with the details that clients understand."""
    words = urllib.parse.unquote(headers.get("grpc-message", f"{method} failed"))
    packed = headers.get("grpc-status-details-bin", "").split(",")[0]
    status = fields(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    details = [fields(detail) for detail in status.get(3, [])]
    details = [(text(detail, 1), one(detail, 2)) for detail in details]
    return Failure(words, int(headers.get("grpc-status", "2")), details)
