"""The README as a new user lives it: its commands run as they stand, in a fresh folder, but for host and port.

One gateway, started as `make run` starts it, on a free port; the answers come from the local model. Must never
repeat a command of the README: what is marked `<!-- run: NAME -->` there is what runs here.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from perquery import money
from tests.serving import Gateway, environment, scripted_config, serving, start
from tests.upstream import scripted

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text("utf-8")
BASE: Final = "http://127.0.0.1:8000"
TOOLS: Final[list[Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
COLOUR: Final = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}
RESPONSE_FORMAT: Final[Any] = {
    "type": "json_schema",
    "json_schema": {"name": "colour", "strict": True, "schema": COLOUR},
}
ASK: Final[list[Any]] = [{"role": "user", "content": "Name a colour."}]


def block(name: str, language: str) -> str:
    """The one fenced block of a language that is marked with that name."""
    (found,) = re.findall(rf"<!-- run: {name} -->\n```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def ran(folder: Path, *words: str) -> str:
    """Run a program in `folder`, which has the project's .venv; what it prints."""
    around = environment() | {"NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(words, cwd=folder, env=around, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran_in_bash(folder: Path, script: str) -> str:
    return ran(folder, "bash", "-euo", "pipefail", "-c", script)


def documents(text: str) -> list[Any]:
    """The JSON objects in a text, one after another, their amounts exact."""
    found, decoder, at = [], json.JSONDecoder(parse_float=Decimal), 0
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def fresh_folder(folder: Path) -> Path:
    """A folder like a clone in which `make install` has run."""
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_folder(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def gateway(clone: Path) -> Iterator[Gateway]:
    """`make run`, but for the port."""
    with serving(clone / ".data") as running:
        yield running


@pytest.fixture(scope="module")
def first_steps(gateway: Gateway, clone: Path) -> str:
    """What the first steps in the shell print. They leave the account's file behind, as for a user."""
    return ran_in_bash(clone, block("first-steps", "bash").replace(BASE, gateway.base_url))


@pytest.fixture
def key(first_steps: str, clone: Path) -> str:
    return str(json.loads((clone / "account.json").read_text("utf-8"))["api_key"])


def balance(gateway: Gateway, key: str) -> Decimal:
    return Decimal(money.from_json(gateway.call("POST", "/credits/balance", key=key).body)["balance"])


def prices(gateway: Gateway, key: str, count: int) -> list[Decimal]:
    """What the newest calls cost, newest first."""
    history = money.from_json(gateway.call("GET", "/queries/history", key=key).body)
    return [Decimal(call["price_in_usd"]) for call in history["data"][:count]]


def test_make_run_starts_what_runs_here() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nrun:")[2].splitlines()[1]
    assert recipe.split() == ["exec", "$(VENV)/bin/perquery", "serve", "--sandbox", "--data", ".data"]


def test_the_first_steps_end_with_an_answer_and_an_exact_balance(first_steps: str, gateway: Gateway, key: str) -> None:
    *_, before, answer = documents(first_steps)
    assert before["balance"] == Decimal("1.05")
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["cost"] == before["balance"] - balance(gateway, key) > 0


def test_the_lines_of_the_openai_sdk_answer_and_cost_what_they_say(gateway: Gateway, clone: Path, key: str) -> None:
    before = balance(gateway, key)
    said = ran(clone, sys.executable, "-c", block("first-steps", "python").replace(BASE, gateway.base_url))
    streamed, plain = prices(gateway, key, 2)
    assert before - balance(gateway, key) == streamed + plain
    assert f" {float(plain)}\n" in said
    assert said.endswith(f"\ncost: {float(streamed)} USD\n")


def test_the_lines_that_the_gateway_prints_work(gateway: Gateway, clone: Path) -> None:
    printed = (gateway.data / "gateway.log").read_text("utf-8")
    commands = re.findall(r"^  (\S(?:.*\\\n)*.*)$", printed, re.MULTILINE)
    create, export, topup, pay, chat = (command.partition("   #")[0] for command in commands)
    (account,) = documents(ran_in_bash(clone, create))
    export = export.replace("sk-...", account["api_key"])
    (invoice,) = documents(ran_in_bash(clone, f"{export}\n{topup}"))
    ran_in_bash(clone, pay.replace("lnbcrt...", invoice["lightning_invoice"]))
    settled = gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=account["api_key"])
    assert settled.json()["status"] == "Settled"
    (answer,) = documents(ran_in_bash(clone, f"{export}\n{chat}"))
    assert answer["usage"]["cost"] == Decimal("1.05") - balance(gateway, account["api_key"])


def test_a_schema_is_enforced_by_the_local_model(gateway: Gateway, key: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key) as client:
        reply = client.chat.completions.create(
            model="gpt-5", messages=ASK, response_format=RESPONSE_FORMAT, max_tokens=64
        )
    answer = json.loads(reply.choices[0].message.content or "")
    assert answer["colour"] in ("red", "green", "blue")
    assert isinstance(answer["warm"], bool)


def test_the_local_model_takes_tools(gateway: Gateway, key: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key) as client:
        reply = client.chat.completions.create(model="gpt-5", messages=ASK, tools=TOOLS, max_tokens=4)
    assert reply.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_tools_and_response_format_reach_the_upstream_as_they_are(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": "auto", "response_format": RESPONSE_FORMAT}

    async def asked(running: Gateway) -> None:
        _, key = await asyncio.to_thread(running.account, "1")
        async with openai.AsyncOpenAI(base_url=f"{running.base_url}/v1", api_key=key) as client:
            await client.chat.completions.create(model="stub-model", messages=ASK, **fields)
            stream: Any = await client.chat.completions.create(model="stub-model", messages=ASK, stream=True, **fields)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "yes " * 5

    async def sent() -> list[dict[str, Any]]:
        async with scripted() as upstream:
            running = await asyncio.to_thread(start, tmp_path / "data", scripted_config(tmp_path, upstream.base_url))
            try:
                await asked(running)
            finally:
                await asyncio.to_thread(running.stop)
            return [request.body for request in upstream.requests]

    assert [{name: body[name] for name in fields} for body in asyncio.run(sent())] == [fields] * 2


def test_the_commands_for_real_work_beside_a_live_gateway(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path)
    with serving(folder / "data", sandbox=False):
        said = ran_in_bash(folder, block("for-real", "bash"))
    assert "APPLIED: the balance is $10.00" in said
    assert "The books are right." in said
    assert (folder / "copy.db").stat().st_size > 0
