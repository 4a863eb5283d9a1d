"""Open WebUI: its server by the command and settings of its page; through its own API a chat with each model, plain and
streamed, a picture, speech in both directions and a text to be found again.

Arguments: prompt, models with commas between, the command. Prints what was said. It must never import the package.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from typing import IO, Any
from urllib.request import Request, urlopen

LIMIT_S = 60.0


def asked(
    url: str, body: dict[str, Any] | bytes | None = None, token: str = "", kind: str = "application/json"
) -> IO[bytes]:
    headers = {"content-type": kind} | ({"authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    opened: IO[bytes] = urlopen(Request(url, data, headers), timeout=LIMIT_S)
    return opened


def pieces(lines: IO[bytes]) -> Iterator[str]:
    for line in lines:
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                yield choice["delta"].get("content") or ""


def signed_in(address: str) -> str:
    with asked(f"{address}/api/v1/auths/signin", {"email": "", "password": ""}) as answer:
        return str(json.load(answer)["token"])


def chat(address: str, token: str, model: str, prompt: str) -> None:
    with asked(f"{address}/api/models", token=token) as answer:
        assert model in [one["id"] for one in json.load(answer)["data"]]
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    with asked(f"{address}/api/chat/completions", body | {"stream": False}, token) as answer:
        print("plain", json.load(answer)["choices"][0]["message"]["content"])
    with asked(f"{address}/api/chat/completions", body | {"stream": True}, token) as answer:
        print("streamed", "".join(pieces(answer)))


def other_work(address: str, token: str, model: str) -> None:
    with asked(
        f"{address}/api/v1/audio/speech", {"input": "Hello.", "voice": "alloy", "model": model}, token
    ) as answer:
        print("spoken", len(answer.read()))
    form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    sent = form + silence() + b"\r\n--b--\r\n"
    with asked(f"{address}/api/v1/audio/transcriptions", sent, token, "multipart/form-data; boundary=b") as answer:
        print("heard", json.load(answer)["text"])
    drawn = {"prompt": "A cat.", "n": 1, "size": "1024x1024"}
    with asked(f"{address}/api/v1/images/generations", drawn, token) as answer:
        assert json.load(answer)[0]["url"]
    kept = {"name": "notes", "content": "The kettle is quiet."}
    with asked(f"{address}/api/v1/retrieval/process/text", kept, token) as answer:
        assert json.load(answer)["status"] is True


def silence() -> bytes:
    """A second of it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8_000)
        writer.writeframes(b"\0" * 16_000)
    return file.getvalue()


def main(prompt: str, models: str, *command: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait(server, f"{address}/health")
            token = signed_in(address)
            for model in models.split(","):
                chat(address, token, model, prompt)
            other_work(address, token, models.split(",")[0])
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
