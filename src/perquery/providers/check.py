"""`perquery providers check`: prove a host live, for whoever has its key, within a sum of money.

Each check is one small request; its row says what came back. Before each the most that it may cost, by the
catalogue's price, must fit what is left. It must never spend more than it was given, nor write a key, an id or an
account's name into a recording.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from perquery import money
from perquery.calls import Ask, Draft, Event, Price, Route
from perquery.catalog.build import build
from perquery.catalog.price import bound, cost
from perquery.config import Settings, is_loopback
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError
from perquery.providers.failures import answered, broke, scrubbed
from perquery.providers.table import ActiveHost, Speaker, prepared
from perquery.providers.usage import found

TIMEOUT_S: Final = 60.0
BODY_BYTES_MAX: Final = 8 * 2**20
OUTPUT_TOKENS: Final = 32
WRONG_KEY: Final = "perquery-checks-a-wrong-key"
# What a model that the catalogue does not price may cost at most: $100 a million tokens, like the dearest on sale.
ASSUMED: Final = Price(((0, {"input": 100_000_000, "output": 100_000_000}),))
FREE: Final = Price(((0, {"input": 0, "output": 0}),))
# How far the reported cost may lie from the catalogue's: one part in so many.
DRIFT: Final = 20
_TOOL: Final = {
    "type": "function",
    "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
}
_IDS: Final = frozenset({"id", "system_fingerprint", "user", "user_id", "request_id", "organization", "trace_id"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The model that is tried. known: whether the catalogue has its price."""

    route: Route
    refused: frozenset[str] = frozenset()
    known: bool = True


@dataclass(slots=True)
class _Recording:
    """What goes to disk: by kind of golden, in the form of tests/goldens."""

    kinds: dict[str, Any] = field(default_factory=dict)

    def answer(self, kind: str, name: str, data: Any, events: list[Event]) -> None:
        usage = next((event.usage for event in reversed(events) if event.usage is not None), None)
        self.kinds[kind] = {
            name: data,
            "expect": {
                "text_bytes": sum(event.text_bytes for event in events),
                "finish": next((event.finish for event in reversed(events) if event.finish), None),
                "counts": dict(usage.counts) if usage else None,
                "upstream_cost_pico": usage.upstream_cost_pico if usage else None,
            },
        }

    def write(self, folder: Path, keys: tuple[str, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, golden in self.kinds.items():
            text = json.dumps(_without_ids(golden), indent=1, ensure_ascii=False)
            for key in keys:
                text = text.replace(key, "redacted")
            (folder / f"{kind}.json").write_text(scrubbed(text) + "\n", "utf-8")


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    if isinstance(value, dict):
        return {
            name: "redacted" if name in _IDS and isinstance(item, str) else _without_ids(item)
            for name, item in value.items()
        }
    return value


class _Checker:
    """The requests, and the money that they may cost. left_nano: what may still be spent."""

    def __init__(
        self, active: ActiveHost, client: Client, chosen: _Chosen, left_nano: int, now: Callable[[], float]
    ) -> None:
        self._host = active.host
        self._client = client
        self._chosen = chosen
        self._upstream = Speaker(active, client, now).conversation(active.host.dialect)
        self._bound = bound([chosen.route])
        self.left_nano = left_nano
        self.recording = _Recording()
        self._plain: Event | None = None

    def work(self) -> list[tuple[str, Callable[[], Awaitable[Row]]]]:
        return [
            ("plain", self.plain),
            ("stream", self.stream),
            ("tools", self.tools),
            ("json", self.json_mode),
            ("cancel", self.cancel),
            ("bad key", self.bad_key),
        ]

    async def row(self, name: str, one: Callable[[], Awaitable[Row]]) -> Row:
        try:
            return await one()
        except _Unaffordable as error:
            return Row(name, False, str(error))
        except OutboundError as error:
            return Row(name, False, f"{error.kind}: {error.message}")
        except UpstreamError as error:
            return Row(name, False, f"{error.kind}: {error.message}")

    def _body(self, text: str, fields: Mapping[str, Any]) -> bytes:
        """A small request that the money covers; what it may cost is taken from what is left."""
        asked = {
            "model": self._chosen.route.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": OUTPUT_TOKENS,
            "stream": False,
            **fields,
        }
        draft = Draft(asked, self._host.dialect, native=False, caching=False, text_bytes=0, safety_id=None)
        body = json.dumps(prepared(self._host, draft, self._chosen.refused, OUTPUT_TOKENS)[0]).encode()
        most = self._bound.hold_nano(len(body), OUTPUT_TOKENS)
        if most > self.left_nano:
            raise _Unaffordable(
                f"left out: it may cost {money.dollars(most)} and {money.dollars(self.left_nano)} is left of the limit"
            )
        self.left_nano -= most
        return body

    async def _events(self, text: str, *, stop_after: int = 0, **fields: Any) -> list[Event]:
        """The events of one small request; `stop_after` closes the connection after so many."""
        body, stream = self._body(text, fields), bool(fields.get("stream"))
        reply = await self._upstream.send(Ask(self._chosen.route.model, body, stream, TIMEOUT_S, TIMEOUT_S))
        events: list[Event] = []
        try:
            async for batch in reply:
                events += batch
                if batch[-1].error is not None:
                    raise batch[-1].error
                if stop_after and len(events) >= stop_after:
                    return events
        finally:
            reply.close()
        if not events:
            raise UpstreamError("garbage", "an answer without events")
        return events

    async def plain(self) -> Row:
        events = await self._events("Say hello.")
        self._plain = events[-1]
        self.recording.answer("plain", "body", events[-1].parsed, events)
        return Row("plain", events[-1].usage is not None, _described(events))

    async def stream(self) -> Row:
        events = await self._events("Say hello.", stream=True, stream_options={"include_usage": True})
        self.recording.answer("stream", "events", [event.parsed for event in events], events)
        usage = any(event.usage is not None for event in events)
        return Row("stream", usage and len(events) > 1, f"{len(events)} events, {_described(events)}")

    async def tools(self) -> Row:
        if "tools" in self._host.refuses | self._chosen.refused:
            return Row("tools", True, "refused here, so they are dropped and the caller is told")
        events = await self._events("What time is it? Use the tool.", tools=[_TOOL])
        return Row("tools", True, f"accepted, finish {events[-1].finish}")

    async def json_mode(self) -> Row:
        text = 'Answer with this JSON object and nothing else: {"ok": true}'
        (*_, event) = await self._events(text, response_format={"type": "json_object"})
        finished = event.finish == "stop"
        valid = not finished or _is_json(event)
        return Row("json", valid, f"finish {event.finish}, {'JSON' if valid and finished else 'not whole JSON'}")

    async def cancel(self) -> Row:
        events = await self._events("Count to a hundred.", stop_after=1, stream=True)
        bills = "ends the bill" if self._host.cancel_stops_billing else "does not end the bill"
        return Row("cancel", True, f"closed after {len(events)} events; by the table that {bills}")

    async def bad_key(self) -> Row:
        asked = Ask(self._chosen.route.model, self._body("Say hello.", {}), False, TIMEOUT_S, TIMEOUT_S)
        response = await self._client.request(
            "POST",
            self._upstream.url(asked),
            headers=self._upstream.headers(WRONG_KEY, asked),
            body=asked.body,
            timeout_s=TIMEOUT_S,
            idle_timeout_s=TIMEOUT_S,
        )
        async with response:
            if response.status == 200:
                return Row("bad key", not self._host.env, "a wrong key was accepted")
            body = await response.read(BODY_BYTES_MAX)
        error = answered(response.status, response.headers, body, WRONG_KEY)
        shape = json.loads(body) if _parses(body) else body.decode("utf-8", "replace")
        self.recording.kinds["error"] = [
            {"status": response.status, "headers": {}, "body": shape, "kind": error.kind, "code": error.code}
        ]
        return Row("bad key", error.kind == "auth", f"{response.status}, understood as {error.kind}")

    def cost(self) -> Row:
        """The plain answer's usage at the catalogue's price beside what the host says it cost."""
        usage = self._plain.usage if self._plain is not None else None
        if usage is None:
            return Row("cost", False, "no usage to compare")
        figures = found(self._plain.parsed or {}) if self._plain is not None else None
        self.recording.kinds["usage"] = [
            {"usage": figures, "counts": dict(usage.counts), "upstream_cost_pico": usage.upstream_cost_pico}
        ]
        reported = usage.upstream_cost_pico
        said = "it reports none" if reported is None else f"it reports ${money.plain(reported, 12)}"
        if not self._chosen.known:
            return Row("cost", True, f"{said}; the catalogue has no price for this model")
        ours = sum(line.pico for line in cost(self._chosen.route, usage).lines)
        near = reported is None or abs(reported - ours) * DRIFT <= ours
        return Row("cost", near, f"{said}; by the catalogue ${money.plain(ours, 12)}")


class _Unaffordable(Exception):
    """The check might cost more than what is left."""


def _described(events: list[Event]) -> str:
    usage = next((event.usage for event in reversed(events) if event.usage is not None), None)
    finish = next((event.finish for event in reversed(events) if event.finish), None)
    counts = ", ".join(f"{count} {unit}" for unit, count in usage.counts.items()) if usage else "no usage"
    return f"{sum(event.text_bytes for event in events)} bytes of output, finish {finish}, {counts}"


def _is_json(event: Event) -> bool:
    choices = (event.parsed or {}).get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return isinstance(content, str) and _parses(content.strip().removeprefix("```json").removesuffix("```").encode())


def _parses(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


async def check(
    active: ActiveHost,
    client: Client,
    *,
    model: str | None,
    max_nano: int,
    record: Path | None,
    now: Callable[[], float],
) -> list[Row]:
    """Every check in order; those that the money does not cover are said to be left out, and count as failed.

    model: the upstream's own name of a model; without it the cheapest that the host lists and the catalogue prices.
    record: a folder for goldens, in a folder of the host's name. now: a monotonic clock in seconds.
    """
    row, listed = await _models(active, client)
    chosen = _choose(active, model, listed)
    if chosen is None:
        return [row, Row("model", False, "name one with --model: the host lists none")]
    rows = [row, Row("model", True, _priced(chosen))]
    checker = _Checker(active, client, chosen, max_nano, now)
    for name, one in checker.work():
        rows.append(await checker.row(name, one))
    rows.append(checker.cost())
    if record is not None:
        checker.recording.write(record / active.host.name, active.keys)
    return rows


def _priced(chosen: _Chosen) -> str:
    if not chosen.known:
        return f"{chosen.route.model}, without a price in the catalogue: reckoned as the dearest on sale"
    prices = chosen.route.price.at(0)
    figures = [f"{unit} ${money.plain(prices.get(unit, 0), 6)}" for unit in ("input", "output")]
    return f"{chosen.route.model}: {', '.join(figures)} a million"


def _choose(active: ActiveHost, model: str | None, listed: list[str]) -> _Chosen | None:
    """The model to try: the one that is named, else the cheapest priced one, else the first that is listed."""
    host = active.host
    known = {
        route.model: _Chosen(route, each.refused_parameters)
        for each in build(Settings(), [host.name], today=datetime.now(UTC).date()).models.values()
        for route in each.known_routes
        if route.provider == host.name and each.kind == "chat"
    }
    wanted = [model] if model is not None else listed
    priced = [known[name] for name in wanted if name in known]
    if priced:
        return min(priced, key=lambda each: bound([each.route]).hold_nano(100, OUTPUT_TOKENS))
    if not wanted:
        return None
    own = is_loopback(host.base_url)
    return _Chosen(Route(host.name, wanted[0], FREE if own else ASSUMED), known=own)


async def _models(active: ActiveHost, client: Client) -> tuple[Row, list[str]]:
    if not active.host.lists_models:
        return Row("models", True, "this host has no list"), []
    key = active.keys[0] if active.keys else ""
    headers = (
        Speaker(active, client, lambda: 0.0)
        .conversation(active.host.dialect)
        .headers(key, Ask("", b"", False, TIMEOUT_S, TIMEOUT_S))
    )
    url = active.host.base_url.rstrip("/") + "/models"
    try:
        async with await client.request(
            "GET", url, headers=headers, timeout_s=TIMEOUT_S, idle_timeout_s=TIMEOUT_S
        ) as response:
            body = await response.read(BODY_BYTES_MAX)
    except OutboundError as error:
        return Row("models", False, broke(error).message), []
    if response.status != 200:
        return Row("models", False, answered(response.status, response.headers, body).message), []
    data = json.loads(body) if _parses(body) else None
    listed = _named(data)
    return Row("models", bool(listed), f"{len(listed)} models" if listed else "none listed"), listed


def _named(data: Any) -> list[str]:
    """The names in a list of models: `data` with ids, a bare array, or Google's `models`, whose names have a prefix."""
    items = data.get("data") or data.get("models") if isinstance(data, dict) else data
    names = [item.get("id") or item.get("name") for item in items or () if isinstance(item, dict)]
    return [name.removeprefix("models/") for name in names if isinstance(name, str)]
