"""A scripted upstream on a real socket: OpenAI chat completions, plain and streamed, and every way to go wrong; at
/messages a plain answer in Anthropic's shape.

What it does is chosen by each request: its last message may say "script: chunks=40 gap_ms=5 fault=break", or the
test hands over a `Script` beforehand. It paces itself, so that tests never sleep, and remembers what it was sent
and who hung up. In this process (`async with scripted() as upstream`) or as one of its own
(`with upstream_process() as base_url`). It must never import the package that it tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

MARK: Final = "script: "
ERROR: Final = {"message": "the vendor's own words", "type": "server_error", "code": None}


@dataclass(frozen=True)
class Script:
    """One request's fate.

    status, retry_after, error: an answer other than 200, with this `error` object or these raw bytes.
    chunks × text: what it says; gap_ms between chunks; prompt and completion (default: chunks): what it bills, `read`
    and `written` of the prompt as what its cache gave and took.
    usage: openai (a last chunk of its own) | together (on the last chunk) | repeated (on every chunk, growing)
    | zero | cost | none. finish: the finish reason; "" for none. done: whether `[DONE]` ends the stream.
    fault: head (never answers) | hang | break | garbage | html | error_body | error_event | open (stays open after
    its end); `after` so many chunks. gate: waited for at the `head`, before `chunk` number `after` (a plain answer:
    before it), or between the finish reason and the `figures`. split: bytes a write, so that characters are torn.
    """

    status: int = 200
    retry_after: str = ""
    error: Mapping[str, Any] | bytes = field(default_factory=lambda: ERROR)
    chunks: int = 5
    text: str = "yes "
    gap_ms: int = 0
    prompt: int = 10
    completion: int = -1
    read: int = 0
    written: int = 0
    usage: str = "openai"
    finish: str = "stop"
    done: bool = True
    fault: str = ""
    after: int = 0
    gate: asyncio.Event | None = None
    gate_at: str = "chunk"
    split: int = 0
    cost: str = "0.000123"

    @property
    def billed(self) -> int:
        return self.chunks if self.completion < 0 else self.completion

    def usage_after(self, chunks: int) -> dict[str, Any] | None:
        if self.usage == "none":
            return None
        out = min(self.billed, chunks) if self.usage == "repeated" and chunks < self.chunks else self.billed
        prompt = 0 if self.usage == "zero" else self.prompt
        out = 0 if self.usage == "zero" else out
        counts: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}
        if self.read or self.written:
            counts["prompt_tokens_details"] = {"cached_tokens": self.read, "cache_write_tokens": self.written}
        # As a float it would be written with an exponent; hosts write plain decimals.
        return counts | {"cost": float(self.cost)} if self.usage == "cost" else counts


@dataclass
class Request:
    """What one request brought, and what became of it. id: what its answer calls it; chunks: how many were sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    script: Script
    id: str = "req-0"
    chunks: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # the gate or the fault


def script_in(body: Mapping[str, Any], default: Script) -> Script:
    """The script that the last message asks for, on top of the default."""
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content")
    if not isinstance(content, str) or not content.startswith(MARK):
        return default
    kinds = {item.name: type(getattr(default, item.name)) for item in fields(Script)}
    changes: dict[str, Any] = {}
    for word in content.removeprefix(MARK).split():
        name, _, value = word.partition("=")
        changes[name] = kinds[name](int(value)) if kinds[name] in (int, bool) else value
    return replace(default, **changes)


class ScriptedUpstream:
    """A server on a free loopback port. `script` is for all requests; `scripts` for the next ones, in order."""

    def __init__(self) -> None:
        self.script = Script()
        self.scripts: list[Script] = []
        self.requests: list[Request] = []
        self.base_url = ""
        self._server: asyncio.Server | None = None
        self._arrivals: asyncio.Queue[Request] = asyncio.Queue()
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=64 * 2**20)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def forget(self) -> None:
        """As if nothing had been asked or planned yet."""
        self.script, self.scripts, self.requests = Script(), [], []
        self._arrivals = asyncio.Queue()

    async def arrival(self) -> Request:
        """The next request that has arrived and was not taken yet."""
        return await asyncio.wait_for(self._arrivals.get(), 60)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # at its stop
            pass
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection may be used again."""
        request = await self._read(reader)
        self.requests.append(request)
        self._arrivals.put_nowait(request)
        answering = asyncio.ensure_future(_Answering(request, writer).run())
        watching = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or isinstance(answering.exception(), OSError):
                request.hung_up.set()
                return False
            again = answering.result()
            request.answered.set()
            return again
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        script = self.scripts.pop(0) if self.scripts else self.script
        number = len(self.requests) + 1
        return Request(head[0].split(" ")[1], headers, body, script_in(body, script), f"req-{number}")


class _Answering:
    """One answer on its way. `run` says whether the connection may be used again."""

    def __init__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self._request = request
        self._script = request.script
        self._writer = writer

    async def run(self) -> bool:
        script = self._script
        if script.fault == "head":
            await self._stop()
        await self._gate("head")
        if script.status != 200:
            error = script.error
            body = error if isinstance(error, bytes) else json.dumps({"error": error}).encode()
            extra = f"retry-after: {script.retry_after}\r\n" if script.retry_after else ""
            await self._whole(script.status, body, extra)
        elif script.fault == "html":
            await self._whole(200, b"<html>maintenance</html>", kind="text/html")
        elif script.fault == "error_body":
            await self._whole(200, json.dumps({"error": script.error}).encode())
        elif self._request.body.get("stream"):
            return await self._stream()
        else:
            return await self._plain()
        return True

    async def _stop(self) -> None:
        """Say nothing more, until whoever asked hangs up."""
        self._request.reached.set()
        await asyncio.Event().wait()

    async def _gate(self, place: str, number: int = 0) -> None:
        script = self._script
        if script.gate is not None and place == script.gate_at and (place != "chunk" or number == script.after):
            self._request.reached.set()
            await script.gate.wait()

    async def _whole(self, status: int, body: bytes, extra: str = "", kind: str = "application/json") -> None:
        extra += f"x-request-id: {self._request.id}\r\n"
        head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()

    async def _plain(self) -> bool:
        script = self._script
        await self._gate("chunk", script.after)
        for _ in range(script.chunks if script.gap_ms else 0):
            await _pause(script.gap_ms / 1000)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": script.text * script.chunks},
            "finish_reason": script.finish or None,
        }
        usage = script.usage_after(script.chunks)
        if self._request.path.endswith("/messages"):
            await self._whole(200, json.dumps(self._message()).encode())
            return True
        body = json.dumps(self._head("chat.completion") | {"choices": [choice]} | ({"usage": usage} if usage else {}))
        data = b"]garbage[" if script.fault == "garbage" else body.encode()
        if script.fault in ("hang", "break"):
            start = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
            self._writer.write(start.encode() + data[: len(data) // 2])
            await self._writer.drain()
            return await self._broken()
        await self._whole(200, data)
        return True

    def _message(self) -> dict[str, Any]:
        script = self._script
        plain = script.prompt - script.read - script.written
        usage = {"input_tokens": plain, "output_tokens": script.billed}
        usage |= {"cache_read_input_tokens": script.read, "cache_creation_input_tokens": script.written}
        text = {"type": "text", "text": script.text * script.chunks}
        head = {"id": "msg_scripted", "type": "message", "role": "assistant", "model": "scripted-inner"}
        return head | {"content": [text], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-scripted", "object": kind, "created": 1_700_000_000, "model": "scripted-inner"}

    async def _stream(self) -> bool:
        script = self._script
        kind = "content-type: text/event-stream\r\ntransfer-encoding: chunked"
        self._writer.write(f"HTTP/1.1 200 OK\r\n{kind}\r\nx-request-id: {self._request.id}\r\n\r\n".encode())
        for number in range(script.chunks):
            await self._gate("chunk", number)
            if script.fault in ("hang", "break", "garbage", "error_event") and number == script.after:
                return await self._broken()
            await self._event(self._chunk({"content": script.text}, number + 1))
            self._request.chunks += 1
            await _pause(script.gap_ms / 1000)
        await self._gate("chunk", script.chunks)
        if script.fault in ("hang", "break") and script.after >= script.chunks:
            return await self._broken()
        if script.finish:
            await self._event(self._chunk({}, script.chunks, finish=script.finish))
        await self._gate("figures")
        usage = script.usage_after(script.chunks)
        if usage and script.usage != "together":
            await self._event(self._head("chat.completion.chunk") | {"choices": [], "usage": usage})
        if script.done:
            await self._send(b"data: [DONE]\n\n")
        if script.fault == "open":
            await self._stop()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return True

    def _chunk(self, delta: dict[str, Any], chunks: int, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        script = self._script
        if script.usage == "repeated" or (script.usage == "together" and finish):
            return chunk | {"usage": script.usage_after(chunks)}
        return chunk | {"usage": None} if script.usage == "openai" else chunk

    async def _broken(self) -> bool:
        match self._script.fault:
            case "hang":
                await self._stop()
            case "garbage":
                await self._send(b"data: ]garbage[\n\n")
            case "error_event":
                await self._event({"error": self._script.error})
        await self._writer.drain()
        return False

    async def _event(self, value: dict[str, Any]) -> None:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        await self._send(b"data: " + text.encode() + b"\n\n")

    async def _send(self, data: bytes) -> None:
        size = self._script.split or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await self._writer.drain()
            if self._script.split:
                await _pause(0.0005)  # the other side reads what there is before more comes


async def _pause(seconds: float) -> None:
    """The upstream's own pace."""
    over = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    """An upstream in this process."""
    upstream = ScriptedUpstream()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


@contextmanager
def upstream_process() -> Iterator[str]:
    """An upstream in a process of its own: its base URL."""
    process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


async def _serve() -> None:
    """Serves until its standard input ends: whoever started it is then gone."""
    async with scripted() as upstream:
        print(upstream.base_url, flush=True)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve())
