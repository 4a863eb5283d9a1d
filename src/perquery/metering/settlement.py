"""Who pays for what happened: from what was seen of an answer to a rule, a usage and a receipt. Pure.

Every way that a call can end has a rule with a name; docs/billing.md lists them and a table test holds them.
The order of truth is: the upstream's figures, then what was relayed (marked estimated), never nothing at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import orjson

from perquery import money
from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Call, Event, Kind, Line, Route, Unit, Usage, Work
from perquery.catalog.price import Cost, UnpricedUsage, cache_saved_nano, cost, unit_price
from perquery.metering.estimate import input_estimate, output_estimate
from perquery.store.operations import RequestRow

Rule: TypeAlias = Literal[
    "complete",  # the upstream finished: its figures
    "complete_estimated",  # it finished without figures: what was relayed
    "empty",  # it ended without output and without a finish reason: free
    "upstream_error",  # it failed before or within the answer: free
    "caller_left",  # the caller left, the connection was dropped: what was delivered
    "caller_left_drained",  # the caller left, the upstream bills on: its figures
    "cut_at_balance",  # the balance gave no more: what was delivered
    "gateway_stopped",  # this gateway was stopped: free
]
# What the request log calls them: PPQ's word where it has one.
QUERY_TYPES: Final[Mapping[Kind, str]] = {
    "chat": "chat_completion",
    "embedding": "embedding",
    "rerank": "rerank",
    "moderation": "moderation",
    "stt": "transcription",
    "tts": "speech",
    "image": "image_generation",
    "video": "video_generation",
}
FREE: Final[frozenset[Rule]] = frozenset(("empty", "upstream_error", "gateway_stopped"))
DRIFT_PARTS: Final = 5
_MARKED_UP: Final = ',"marked_up":true'
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Seen:
    """What has been seen of an answer so far."""

    usage: Usage | None = None
    given: Mapping[Unit, int] | None = None
    usage_object: dict[str, Any] | None = None
    finish: str | None = None
    like: dict[str, Any] | None = None
    pieces: int = 0
    text_bytes: int = 0
    failed: bool = False

    def note(self, event: Event) -> None:
        if event.text_bytes:
            self.pieces += 1
            self.text_bytes += event.text_bytes
        if event.finish is not None:
            self.finish = event.finish
        if event.given is not None:
            self.given = event.given
        parsed = event.parsed
        if parsed is not None and self.like is None:
            self.like = parsed
        if event.usage is not None:
            self.usage = event.usage
            found = parsed.get("usage") if parsed is not None else None
            self.usage_object = found if isinstance(found, dict) else None

    @property
    def output_tokens(self) -> int:
        return output_estimate(self.pieces, self.text_bytes)


def rule_of(seen: Seen, *, gone: bool, dropped: bool, cut: bool, stopped: bool) -> Rule:
    """gone: the caller left; dropped: we closed the connection for that; cut: we ended it at the balance."""
    if seen.failed:
        return "upstream_error"
    if cut:
        return "cut_at_balance"
    if stopped:
        return "gateway_stopped"
    if gone and dropped and seen.usage is None:
        return "caller_left"
    if seen.finish == "error" or (seen.finish is None and not seen.pieces and not _used_output(seen.usage)):
        return "empty"
    if seen.usage is None:
        return "caller_left" if gone else "complete_estimated"
    return "caller_left_drained" if gone else "complete"


def _used_output(usage: Usage | None) -> bool:
    return usage is not None and usage.total(OUTPUT_UNITS) > 0


@dataclass(slots=True)
class Bill:
    """What a call comes to. charge: what the caller pays; upstream: what the house pays;
    cache_saved: what cache reads spared the caller (nano-USD).

    unpriced: units that no price names. drifted: the upstream's own figure is far from our table's. unbilled: what the
    house pays of it that nobody is asked for.
    """

    rule: Rule
    usage: Usage
    lines: tuple[Line, ...]
    charge: int
    upstream: int
    unpriced: tuple[str, ...] = ()
    drifted: bool = False
    cache_saved: int = 0
    unbilled: int = 0


def bill(call: Call, route: Route, seen: Seen, rule: Rule) -> Bill:
    """The bill of a chat call by the rule, at the price of the route that served."""
    usage = seen.usage
    if usage is None:
        given: dict[Unit, int] = dict(seen.given or {})
        if not any(unit in given for unit in INPUT_UNITS):
            given["input"] = input_estimate(call)
        usage = Usage({**given, "output": seen.output_tokens}, estimated=True)
    return bill_of(route, usage, rule)


def work_bill(work: Work, route: Route, seen: Seen, rule: Rule) -> Bill:
    """The bill of other work: the upstream's figures, else what it had counted by then, else what is likely.

    Figures in units of which the price names none (seconds where tokens are sold) say nothing: then too what is likely.
    """
    prices = route.price.at(0)
    for usage in (seen.usage, Usage(seen.given, estimated=True) if seen.given else None):
        if usage is not None and (
            not usage.counts or any(unit_price(prices, unit) is not None for unit in usage.counts)
        ):
            return bill_of(route, usage, rule)
    likely = {unit: count for unit, count in work.likely.items() if unit_price(prices, unit) is not None}
    return bill_of(route, Usage(likely or work.likely, estimated=True), rule)


def bill_of(route: Route, usage: Usage, rule: Rule) -> Bill:
    """The bill for so much, at the price of the route that served."""
    priced, unpriced = _priced(route, usage)
    charge = 0 if rule in FREE else priced.charged_nano
    upstream = money.ceil_nano(priced.upstream_pico)
    drifted = usage.upstream_cost_pico is not None and _drifted(route, priced)
    saved = 0 if rule in FREE else cache_saved_nano(route, usage)
    return Bill(rule, usage, priced.lines, charge, upstream, unpriced, drifted, saved)


def searched_at_most(paid: Bill, route: Route, searches: int) -> Bill:
    """The bill with no more searches of the upstream's own than these; what it did beyond them is the house's."""
    counts = paid.usage.counts
    if counts.get("search", 0) <= searches:
        return paid
    _log.warning("%s/%s searched %d times, %d are charged", route.provider, route.model, counts["search"], searches)
    within = bill_of(route, replace(paid.usage, counts={**counts, "search": searches}), paid.rule)
    return replace(within, upstream=paid.upstream, unbilled=paid.upstream - within.upstream)


def with_search(paid: Bill, price_nano: int, cost_pico: int) -> Bill:
    """The bill with one search of ours: at its own price, on which there is no markup."""
    price_pico = price_nano * 1_000
    return replace(
        paid,
        usage=replace(paid.usage, counts={**paid.usage.counts, "search": 1}),
        lines=(*paid.lines, Line("search", 1, price_pico, price_pico, marked_up=True)),
        charge=0 if paid.rule in FREE else paid.charge + price_nano,
        upstream=paid.upstream + money.ceil_nano(cost_pico),
    )


def _drifted(route: Route, priced: Cost) -> bool:
    """Whether the upstream took over a fifth more or less than its listed price: the table is wrong, and an alarm."""
    listed = sum(line.pico for line in priced.lines)
    if abs(priced.upstream_pico - listed) * DRIFT_PARTS <= listed:
        return False
    figures = (route.provider, route.model, priced.upstream_pico, listed)
    _log.warning("price drift: %s/%s took %d pico-USD, listed at %d", *figures)
    return True


def _priced(route: Route, usage: Usage) -> tuple[Cost, tuple[str, ...]]:
    """The cost, and the units that no price names: those are the house's loss, and an alarm."""
    unpriced: list[str] = []
    while True:
        try:
            return cost(route, usage), tuple(unpriced)
        except UnpricedUsage as error:
            _log.error("unpriced usage: %s", error)
            unpriced.append(error.unit)
            left, *turns = (
                {unit: count for unit, count in counts.items() if unit != error.unit}
                for counts in (usage.counts, *usage.turns)
            )
            usage = Usage(left, usage.estimated, usage.upstream_cost_pico, tuple(turns))


@dataclass(slots=True)
class Receipt:
    """The request's row, filled as the request goes on. kind: what was asked for; searched_pico: what our own search
    cost the house.
    """

    id: str
    account_id: int
    key_id: str | None
    at_ms: int
    model: str
    source: str | None
    streamed: bool
    kind: Kind = "chat"
    attempts: list[dict[str, Any]] = field(default_factory=list)
    capped_to: int | None = None
    first_event_ms: int | None = None
    searched_pico: int = 0
    upstream_request_id: str | None = None

    def row(
        self,
        route: Route | None,
        bill: Bill | None,
        seen: Seen,
        *,
        total_ms: int,
        error_code: str | None = None,
        rule: Rule = "upstream_error",
        unknown_nano: int = 0,
    ) -> RequestRow:
        """The row; `rule` is for what came to no bill at all. unknown_nano: the quote of what an upstream may have done
        without an answer.
        """
        usage = bill.usage if bill else Usage({})
        upstream_nano = bill.upstream if bill else money.ceil_nano(self.searched_pico)
        detail = {
            "usage": usage.counts,
            "lines": list(map(_line, bill.lines)) if bill else [],
            "estimated": usage.estimated,
            "finish": seen.finish,
            "attempts": self.attempts,
            "capped_to": self.capped_to,
            "cache_saved_nano": bill.cache_saved if bill else 0,
        }
        # By place: arguments by name to a class cost a call a dictionary.
        return RequestRow(
            self.account_id,
            self.id,
            self.key_id,
            self.at_ms,
            self.model,
            route.provider if route else None,
            _answer_id(seen.like) if seen.like else None,
            QUERY_TYPES[self.kind],
            self.source,
            int(self.streamed),
            usage.total(INPUT_UNITS),
            usage.total(OUTPUT_UNITS),
            upstream_nano,
            bill.unbilled if bill and bill.rule not in FREE else max(upstream_nano, unknown_nano),
            bill.rule if bill else rule,
            error_code,
            self.first_event_ms,
            total_ms,
            orjson.dumps(detail).decode(),
            _text(self.upstream_request_id),
        )


def _line(line: Line) -> dict[str, Any]:
    found = {"unit": line.unit, "count": line.count, "pico_per_unit": line.pico_per_unit, "pico": line.pico}
    if line.marked_up:
        found["marked_up"] = True
    return found


def _answer_id(first: dict[str, Any]) -> str | None:
    """The answer's own id, in its first event; Anthropic's streams begin with the message that is to come."""
    message = first.get("message")
    return _text(first.get("id") or (message.get("id") if isinstance(message, dict) else None))


def _text(value: Any) -> str | None:
    return value[:200].replace("\0", "") if isinstance(value, str) else None  # PostgreSQL stores no NUL


def cost_fields(bill: Bill, route: Route, charged: str) -> dict[str, Any]:
    """`usage.cost` and its explanation: what the caller paid (USD, as it is written), never the upstream's own figure.

    The explanation is written as it stands, for `money.json`: units and rules are our own words.
    """
    lines = ",".join(
        [
            f'{{"unit":"{line.unit}","count":{line.count},"usd_per_million":{_per_million(line.pico_per_unit)},'
            f'"usd":{money.plain(line.pico, 12)}{_MARKED_UP if line.marked_up else ""}}}'
            for line in bill.lines
        ]
    )
    estimated = "true" if bill.usage.estimated else "false"
    details = f'{{"rule":"{bill.rule}","estimated":{estimated},"markup":"{_markup(route.markup)}","lines":[{lines}]}}'
    return {"cost": orjson.Fragment(charged), "cost_details": orjson.Fragment(details)}


@lru_cache
def _per_million(pico_per_unit: int) -> str:
    return money.plain(pico_per_unit, 6)


@lru_cache
def _markup(markup: money.Ratio) -> str:
    """The markup for people to read."""
    return money.plain(markup.numerator * 10**9 // markup.denominator)
