"""Open WebUI: its server by the command and settings of its page, then a chat through its own API, plain and streamed.

Arguments: model, prompt, the command. Prints what was said. It must never import the package.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any
from urllib.request import Request, urlopen

LIMIT_S = 60.0


def asked(url: str, body: dict[str, Any] | None = None, token: str = "") -> IO[bytes]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    opened: IO[bytes] = urlopen(Request(url, data, headers), timeout=LIMIT_S)
    return opened


def pieces(lines: IO[bytes]) -> Iterator[str]:
    for line in lines:
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                yield choice["delta"].get("content") or ""


def chat(address: str, model: str, prompt: str) -> None:
    with asked(f"{address}/api/v1/auths/signin", {"email": "", "password": ""}) as answer:
        token = json.load(answer)["token"]
    with asked(f"{address}/api/models", token=token) as answer:
        assert model in [one["id"] for one in json.load(answer)["data"]]
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    with asked(f"{address}/api/chat/completions", body | {"stream": False}, token) as answer:
        print("plain", json.load(answer)["choices"][0]["message"]["content"])
    with asked(f"{address}/api/chat/completions", body | {"stream": True}, token) as answer:
        print("streamed", "".join(pieces(answer)))


def main(model: str, prompt: str, *command: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words) as server:
        try:
            wait(server, f"http://127.0.0.1:{port}/health")
            chat(f"http://127.0.0.1:{port}", model, prompt)
        finally:
            server.kill()


def wait(server: subprocess.Popen[bytes], address: str) -> None:
    """Until it answers; it says nothing when it is ready."""
    between = threading.Event()
    while server.poll() is None:
        try:
            asked(address).close()
        except OSError:
            between.wait(0.2)
        else:
            return
    raise SystemExit("the server ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
