"""`perquery providers check`: prove a host live, for whoever has its key, within a sum of money.

Each check is one small request; it says what came back in its own words. It must never spend more than it was
given, nor write a key or an account's name into a recording.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from perquery.calls import Ask, Event
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError
from perquery.providers.openai_chat import OpenAIChat
from perquery.providers.request import prepare
from perquery.providers.table import ActiveHost

TIMEOUT_S: Final = 60.0
BODY_BYTES_MAX: Final = 8 * 2**20
# The dearest model on sale takes less than $200 a million tokens; a check uses at most so many.
NANO_PER_CHECK: Final = 5_000_000
_HELLO: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
_TOOL: Final = {
    "type": "function",
    "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    ok: bool
    detail: str


class _Checker:
    def __init__(self, active: ActiveHost, client: Client, model: str, now: Callable[[], float]) -> None:
        self._active = active
        self._client = client
        self._model = model
        self._now = now
        self._upstream = OpenAIChat(active.host, active.keys, client, now)

    async def events(
        self, *, upstream: OpenAIChat | None = None, stop_after: int | None = None, **fields: Any
    ) -> list[Event]:
        """The events of one small request; `stop_after` closes the connection after so many."""
        body, _ = prepare(self._active.host, _HELLO | {"model": self._model} | fields)
        stream = bool(fields.get("stream"))
        ask = Ask(self._model, json.dumps(body).encode(), stream, TIMEOUT_S, TIMEOUT_S)
        reply = await (upstream or self._upstream).send(ask)
        events: list[Event] = []
        async for batch in reply:
            events += batch
            if batch[-1].error is not None:
                raise batch[-1].error
            if stop_after is not None and len(events) >= stop_after:
                await reply.close()
                break
        return events

    async def plain(self) -> str:
        (event,) = await self.events()
        return f"{event.text_bytes} bytes, finish {event.finish}, {_usage(event)}"

    async def stream(self) -> str:
        events = await self.events(stream=True, stream_options={"include_usage": True})
        told = [event for event in events if event.usage is not None]
        if not told:
            raise UpstreamError("garbage", "the stream brought no usage")
        return f"{len(events)} events, {_usage(told[-1])}"

    async def tools(self) -> str:
        events = await self.events(tools=[_TOOL])
        return f"accepted, finish {events[-1].finish}"

    async def json_mode(self) -> str:
        events = await self.events(response_format={"type": "json_object"})
        return f"accepted, finish {events[-1].finish}"

    async def cancel(self) -> str:
        events = await self.events(stream=True, stop_after=1)
        return f"closed after {len(events)} events; cancel_stops_billing is {self._active.host.cancel_stops_billing}"

    async def bad_key(self) -> str:
        wrong = OpenAIChat(self._active.host, ["wrong-key"], self._client, self._now)
        try:
            await self.events(upstream=wrong)
        except UpstreamError as error:
            if error.kind == "auth":
                return f"refused with {error.status}"
            raise
        raise UpstreamError("garbage", "a wrong key was accepted")


def _usage(event: Event) -> str:
    if event.usage is None:
        return "no usage"
    counts = ", ".join(f"{count} {unit}" for unit, count in event.usage.counts.items())
    cost = event.usage.upstream_cost_pico
    return counts if cost is None else f"{counts}; it reports {cost} pico-USD"


async def check(
    active: ActiveHost,
    client: Client,
    *,
    model: str | None,
    max_nano: int,
    record: Path | None,
    now: Callable[[], float],
) -> list[Row]:
    """Every check in order; those that the money does not cover are said to be left out."""
    models = await _models(active, client)
    rows = [Row("models", bool(models), f"{len(models)} models" if models else "none listed")]
    chosen = model or (models[0] if models else None)
    if chosen is None:
        return [*rows, Row("chat", False, "name a model with --model")]
    checker = _Checker(active, client, chosen, now)
    work: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("plain", checker.plain),
        ("stream", checker.stream),
        ("tools", checker.tools),
        ("json", checker.json_mode),
        ("cancel", checker.cancel),
        ("bad key", checker.bad_key),
    ]
    for number, (name, one) in enumerate(work, 1):
        if number * NANO_PER_CHECK > max_nano:
            rows.append(Row(name, False, "left out: --max-usd does not cover it"))
            continue
        rows.append(await _row(name, one))
    if record is not None:
        _record(record, active.host.name, await checker.events())
    return rows


async def _row(name: str, one: Callable[[], Awaitable[str]]) -> Row:
    try:
        return Row(name, True, await one())
    except UpstreamError as error:
        return Row(name, False, f"{error.kind}: {error.message}")


async def _models(active: ActiveHost, client: Client) -> list[str]:
    headers = {"authorization": f"Bearer {active.keys[0]}"} if active.keys else {}
    url = active.host.base_url.rstrip("/") + "/models"
    try:
        async with await client.request(
            "GET", url, headers=headers, timeout_s=TIMEOUT_S, idle_timeout_s=TIMEOUT_S
        ) as response:
            data = json.loads(await response.read(BODY_BYTES_MAX))
    except (OutboundError, ValueError):
        return []
    listed = data.get("data") if isinstance(data, dict) else data
    return [item["id"] for item in listed or () if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _record(folder: Path, name: str, events: list[Event]) -> None:
    """Keep the answer's shape as a golden: ids cut out, texts kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = []
    for event in events:
        shape = dict(event.parsed or {})
        shapes.append({key: "redacted" if key in ("id", "system_fingerprint", "user") else shape[key] for key in shape})
    (folder / f"{name}.json").write_text(json.dumps(shapes, indent=1), "utf-8")
