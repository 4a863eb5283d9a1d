"""Four vendors' APIs on one loopback port, each in its own shape: the same scene told by any of them; and what OpenAI's
does beside chat.

A scene is named in the request's text ("scene: NAME"), or a `play` chooses it; tests/scenes.py tells it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.scenes import SCENES, TOLD, Event, Scene, pieces

KEY: Final = "sk-house"
SCENE: Final = re.compile(rb"scene: ([a-z_]+)")
FAILURES: Final[Mapping[str, Event]] = {
    "openai-chat": (None, {"error": {"message": "Sorry.", "type": "server_error", "code": None}}),
    "anthropic": ("error", {"type": "error", "error": {"type": "api_error", "message": "Sorry."}}),
    "gemini": (None, {"error": {"code": 500, "message": "Sorry.", "status": "INTERNAL"}}),
    "openai-responses": (
        "response.failed",
        {
            "type": "response.failed",
            "sequence_number": 9,
            "response": {"status": "failed", "error": {"code": "server_error", "message": "Sorry."}},
        },
    ),
}


EMBEDDED_TOKENS: Final = 2_000
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def embedded(body: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": number, "embedding": [0.5, -0.5]} for number, _ in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": EMBEDDED_TOKENS, "total_tokens": EMBEDDED_TOKENS}
    return {"object": "list", "data": rows, "model": body["model"], "usage": usage}


@dataclass
class Vendors:
    """base_urls: of each dialect. seen: the bodies that came, by path, oldest first. play: (dialect, body) → the scene
    for it, instead of the one that its text names. worked: the paths of what was done beside chat.
    """

    port: int
    play: Callable[[str, dict[str, Any]], Scene] | None = None
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)

    def base_url(self, dialect: str) -> str:
        return f"http://127.0.0.1:{self.port}/{dialect}/v1"


def refusal(dialect: str, status: int) -> dict[str, Any]:
    message = {400: "The `colour` is not one that this model knows.", 401: "Invalid key."}.get(status, "Sorry.")
    kind = {400: "invalid_request_error", 401: "authentication_error"}.get(status, "api_error")
    match dialect:
        case "anthropic":
            return {"type": "error", "error": {"type": kind, "message": message}}
        case "gemini":
            name = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED"}.get(status, "INTERNAL")
            return {"error": {"code": status, "message": message, "status": name}}
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # nobody leaves: the test has failed, and ends
    vendors: Vendors

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/exa/search":
            self._exa(json.loads(raw))
            return
        if self._works(self.path.partition("/v1")[2], raw):
            return
        dialect = "openai-responses" if self.path.endswith("/responses") else self.path.split("/")[1]
        body = json.loads(raw)
        self.vendors.seen.append((self.path, body))
        scene = self._scene(dialect, raw, body)
        if not self._known(dialect):
            self._plain(401, refusal(dialect, 401))
            return
        streams = "streamGenerateContent" in self.path if dialect == "gemini" else bool(body.get("stream"))
        if scene.status != 200:
            self._plain(scene.status, refusal(dialect, scene.status))
        elif streams:
            self._stream(dialect, scene)
        elif scene.breaks or scene.fails:
            self._plain(500, refusal(dialect, 500))
        else:
            self._plain(200, TOLD[dialect][0](scene))

    def _works(self, path: str, raw: bytes) -> bool:
        """Whether that is what is done beside chat."""
        match path:
            case "/embeddings":
                self._plain(200, embedded(json.loads(raw)))
            case "/images/generations":
                self._plain(200, {"created": 1, "data": [{"b64_json": PIXEL}]})
            case "/audio/transcriptions":
                self._plain(200, {"text": "Hello."})
            case "/audio/speech":
                self._send(200, "audio/mpeg", b"ID3 and sound")
            case _:
                return False
        self.vendors.worked.append(path)
        return True

    def _exa(self, asked: dict[str, Any]) -> None:
        self.vendors.seen.append((self.path, asked))
        if self.headers.get("x-api-key") != KEY or "scene: broken" in asked["query"]:
            self._plain(500, {"error": "Sorry."})
            return
        found = [
            {"url": f"https://page.example/{number}", "title": f"Page {number}", "highlights": ["It rains in Omaha."]}
            for number in range(asked["numResults"])
        ]
        self._plain(200, {"results": found, "costDollars": {"total": 0.007}})

    def _scene(self, dialect: str, raw: bytes, body: dict[str, Any]) -> Scene:
        if self.vendors.play is not None:
            return self.vendors.play(dialect, body)
        found = SCENE.search(raw)
        return SCENES[found[1].decode() if found else "text"]

    def do_GET(self) -> None:
        dialect = self.path.split("/")[1]
        named = {"models": [{"name": "models/m"}]} if dialect == "gemini" else {"data": [{"id": "m"}]}
        self._plain(200, named) if self._known(dialect) else self._plain(401, refusal(dialect, 401))

    def _known(self, dialect: str) -> bool:
        names = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
        return self.headers.get(names.get(dialect, "authorization"), "").removeprefix("Bearer ") == KEY

    def _plain(self, status: int, payload: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(payload).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, dialect: str, scene: Scene) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = list(TOLD[dialect][1](scene))
        if scene.breaks or scene.fails:
            events = events[: len(events) // 2] + ([FAILURES[dialect]] if scene.fails else [])
        for name, payload in events:
            text = payload if isinstance(payload, str) else json.dumps(payload)
            frame = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
            data = frame.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            if scene.waits and json.dumps(pieces(scene.text)[0])[1:-1] in text:
                self.rfile.read(1)  # until whoever asked hangs up
                break
        if scene.breaks or scene.waits:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def vendors() -> Iterator[Vendors]:
    """All four, until the block ends."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.vendors = made = Vendors(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
