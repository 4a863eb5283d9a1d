"""The server of a local model's process: a few OpenAI-shaped paths on a given socket, for whoever has the key.

It must never listen elsewhere, nor say more of what went wrong than its name.
"""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

BODY_BYTES_MAX = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """body: whole, or in pieces as they come."""

    type: str
    body: bytes | Iterator[bytes]


class Refused(Exception):
    """A request that the model does not take: answered 400 with the message."""


# (body, its content type) → the answer. Raises Refused.
Serve: TypeAlias = Callable[[bytes, str], Answer]


def opened(listening: socket.socket, key: str, paths: Mapping[str, Serve]) -> ThreadingHTTPServer:
    """A server that takes requests from this socket."""

    class Handler(_Handler):
        pass

    Handler.key, Handler.paths = key, paths
    server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key: str
    paths: Mapping[str, Serve]

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length <= BODY_BYTES_MAX else b""
        serve = self.paths.get(self.path)
        if not self._known():
            self._refuse(401, "Wrong key.")
        elif serve is None:
            self._refuse(404, "There is nothing at this path.")
        elif length > BODY_BYTES_MAX:
            self.close_connection = True
            self._refuse(413, "The body is too large.")
        else:
            self._serve(serve, body)

    def do_GET(self) -> None:
        if self._known():
            self._whole(200, "application/json", b'{"object":"list","data":[]}')
        else:
            self._refuse(401, "Wrong key.")

    def _serve(self, serve: Serve, body: bytes) -> None:
        try:
            answer = serve(body, self.headers.get("content-type", ""))
        except Refused as error:
            self._refuse(400, str(error))
        except Exception as error:
            self._refuse(500, type(error).__name__)
            raise
        else:
            if isinstance(answer.body, bytes):
                self._whole(200, answer.type, answer.body)
            else:
                self._pieces(answer.type, answer.body)

    def _known(self) -> bool:
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.key.encode())

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": None, "param": None}
        self._whole(status, "application/json", json.dumps({"error": error}).encode())

    def _whole(self, status: int, type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self, type: str, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # who asked has hung up

    def log_message(self, format: str, *args: Any) -> None:
        pass
