"""The table of hosts: every row has its goldens, is understood by them, and stands in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perquery import money
from perquery.calls import Event
from perquery.dialects.assemble import Assembly
from perquery.providers.failures import answered
from perquery.providers.hosts import HOSTS as ALL_HOSTS
from perquery.providers.hosts import Host
from perquery.providers.openai_chat import event
from perquery.providers.usage import read
from tests.providers.goldens import FOLDER, encoded, golden, understood

HOSTS = {name: host for name, host in ALL_HOSTS.items() if host.dialect == "openai-chat" and host.chats}
TRADES = {name: host for name, host in ALL_HOSTS.items() if not host.chats}

DOCUMENT = Path(__file__).parents[2] / "docs" / "providers.md"
KINDS = ("plain", "stream", "usage", "error")
ERRORS = [(name, number) for name in HOSTS for number in range(len(golden(name, "error")))]
USAGES = [(name, number) for name in HOSTS for number in range(len(golden(name, "usage")))]


def streamed(name: str) -> list[Event]:
    return [event(encoded(each), HOSTS[name]) for each in golden(name, "stream")["events"]]


@pytest.mark.parametrize("name", HOSTS)
def test_plain(name: str) -> None:
    kept = golden(name, "plain")
    assert understood([event(encoded(kept["body"]), HOSTS[name], whole=True)]) == kept["expect"]


@pytest.mark.parametrize("name", HOSTS)
def test_stream(name: str) -> None:
    assert understood(streamed(name)) == golden(name, "stream")["expect"]


@pytest.mark.parametrize("name", HOSTS)
def test_a_stream_has_no_errors(name: str) -> None:
    assert [each.error for each in streamed(name) if each.error is not None] == []


@pytest.mark.parametrize("name", HOSTS)
def test_a_stream_put_together_is_the_answer(name: str) -> None:
    """Text and reasoning of the plain golden, out of the streamed one."""
    assembly = Assembly()
    for each in streamed(name):
        assembly.add(each.parsed or {})
    plain = golden(name, "plain")["body"]["choices"][0]["message"]
    message = assembly.completion()["choices"][0]["message"]
    assert texts(message) == texts(plain)


def texts(message: dict[str, Any]) -> list[str]:
    """Reasoning and text, whether the host sends strings or parts."""
    content = message["content"]
    parts = content if isinstance(content, list) else [{"text": content}]
    thoughts = [part["thinking"][0]["text"] for part in parts if isinstance(part, dict) and "thinking" in part]
    words = "".join(part if isinstance(part, str) else part.get("text", "") for part in parts)
    return [message.get("reasoning") or message.get("reasoning_content") or "".join(thoughts), words]


@pytest.mark.parametrize(("name", "number"), USAGES)
def test_usage(name: str, number: int) -> None:
    kept = golden(name, "usage")[number]
    usage = read(HOSTS[name].usage, money.from_json(encoded(kept["usage"])))
    assert usage is not None
    assert (usage.counts, usage.upstream_cost_pico) == (kept["counts"], kept["upstream_cost_pico"])


@pytest.mark.parametrize(("name", "number"), ERRORS)
def test_error(name: str, number: int) -> None:
    kept = golden(name, "error")[number]
    if kept["status"] == 200:
        error = event(encoded(kept["body"]), HOSTS[name], whole=True).error
    else:
        error = answered(kept["status"], kept["headers"], encoded(kept["body"]))
    assert error is not None
    assert error.kind == kept["kind"]


@pytest.mark.parametrize("name", HOSTS)
def test_every_row_has_its_goldens(name: str) -> None:
    assert {path.stem for path in (FOLDER / name).iterdir()} >= set(KINDS)


def test_every_golden_has_its_row() -> None:
    assert {path.name for path in FOLDER.iterdir()} <= set(ALL_HOSTS)


@pytest.mark.parametrize("host", [*HOSTS.values(), *TRADES.values()], ids=lambda host: host.name)
def test_a_row_can_be_reached_or_configured(host: Host) -> None:
    """A base URL over TLS and variables that the configuration passes on, or neither."""
    assert host.base_url.startswith("https://") == bool(host.env)
    assert all(name.endswith("_API_KEY") or name == "FAL_KEY" for name in host.env)  # as fal calls its own


@pytest.mark.parametrize("host", HOSTS.values(), ids=lambda host: host.name)
def test_a_cap_is_never_refused(host: Host) -> None:
    assert not host.refuses & {"max_tokens", "max_completion_tokens", "model", "messages", "stream"}


def test_no_two_hosts_share_a_variable() -> None:
    names = [name for host in ALL_HOSTS.values() for name in host.env]
    assert len(names) == len(set(names))


def documented(host: Host) -> str:
    """The row of docs/providers.md."""
    env = ", ".join(f"`{name}`" for name in host.env) or "–"
    url = f"`{host.base_url}`" if host.base_url else "yours"
    return f"| `{host.name}` | {env} | {url} | {'ends' if host.cancel_stops_billing else 'goes on'} |"


@pytest.mark.parametrize("host", [*HOSTS.values(), *TRADES.values()], ids=lambda host: host.name)
def test_every_row_is_documented(host: Host) -> None:
    (row,) = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith(f"| `{host.name}` |")]
    assert row.startswith(documented(host))
    assert row.endswith(f"| {host.level} |")


@pytest.mark.parametrize("host", HOSTS.values(), ids=lambda host: host.name)
def test_what_a_row_refuses_is_documented(host: Host) -> None:
    (row,) = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith(f"| `{host.name}` |")]
    assert [name for name in sorted(host.refuses) if f"`{name}`" not in row] == []
