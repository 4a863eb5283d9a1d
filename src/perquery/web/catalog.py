"""All models in one list, found and sorted by the query string; and a page for each, with its prices and code.

The list always has all rows: those that are not asked for are hidden, so that a script can show them without asking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup
from starlette.responses import Response

from perquery import money
from perquery.catalog.models import ENDPOINTS, Model
from perquery.web import shelf
from perquery.web.shelf import Row
from perquery.web.site import Page, Visit

PRICES: Final = (("0", "Free"), ("0.2", "to $0.20"), ("1", "to $1"), ("3", "to $3"), ("10", "to $10"))
CONTEXTS: Final = (("32000", "from 32K"), ("128000", "from 128K"), ("200000", "from 200K"), ("1000000", "from 1M"))
ABILITIES: Final = (
    *(("tools", "calls tools"), ("thinking", "thinks"), ("schemas", "keeps to a schema")),
    *(("image-in", "sees images"), ("file-in", "reads files"), ("audio-in", "hears sound"), ("video-in", "sees video")),
    *(("image-out", "makes images"), ("audio-out", "makes sound"), ("video-out", "makes video")),
)
SORTS: Final[Mapping[str, tuple[str, Callable[[Row], Any]]]] = {
    "name": ("Name", lambda row: row.model.id),
    "new": ("Newest first", lambda row: (-row.created_at_ms, row.model.id)),
    "cheap": ("Cheapest input first", lambda row: (row.price_atto is None, row.price_atto or 0, row.model.id)),
    "dear": ("Dearest input first", lambda row: (row.price_atto is None, -(row.price_atto or 0), row.model.id)),
    "long": ("Longest context first", lambda row: (-row.model.context_tokens, row.model.id)),
}
_PRICE_DIGITS: Final = 12  # USD for a million tokens, read as atto-USD for one


@dataclass(frozen=True, slots=True)
class Sought:
    """What the query string asks for. What it does not name, or names wrongly, excludes nothing."""

    q: str
    by: str
    kind: str
    can: str
    price: str
    context: str
    sort: str

    def finds(self, row: Row) -> bool:
        words = self.q.lower().split()
        text = f"{row.model.name} {row.model.id}".lower()
        most = money.scaled(self.price, _PRICE_DIGITS) if self.price else None
        return (
            all(word in text for word in words)
            and self.by in ("", row.model.owner)
            and self.kind in ("", row.kind)
            and (not self.can or self.can in row.can)
            and (most is None or (row.price_atto is not None and row.price_atto <= most))
            and row.model.context_tokens >= int(self.context or 0)
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as it is drawn. opening: its tag without the end of that, where `hidden` may stand."""

    row: Row
    opening: Markup
    rest: Markup


@dataclass(frozen=True, slots=True)
class Stock:
    """Everything that can be called, and what it can be chosen by."""

    rows: Sequence[Shown]
    owners: Sequence[tuple[str, str]]
    kinds: Sequence[tuple[str, str]]


def sought(query: Mapping[str, str]) -> Sought:
    def chosen(name: str, offered: Iterable[str]) -> str:
        value = query.get(name, "")
        return value if value in offered else ""

    return Sought(
        q=query.get("q", "")[:100],
        by=query.get("by", "")[:100],
        kind=chosen("kind", ENDPOINTS),
        can=chosen("can", dict(ABILITIES)),
        price=chosen("price", dict(PRICES)),
        context=chosen("context", dict(CONTEXTS)),
        sort=chosen("sort", SORTS) or "name",
    )


async def listing(visit: Visit) -> Response:
    wanted = sought(visit.request.query_params)
    stock = visit.site.once("stock", (visit.state.catalog, shelf.today()), lambda: _stock(visit))
    order = SORTS[wanted.sort][1]
    return visit.page(
        "catalog.html",
        rows=sorted(stock.rows, key=lambda shown: order(shown.row)),
        found={shown.row.model.id for shown in stock.rows if wanted.finds(shown.row)},
        sought=wanted,
        owners=stock.owners,
        kinds=stock.kinds,
        abilities=ABILITIES,
        prices=PRICES,
        contexts=CONTEXTS,
        sorts=[(name, text) for name, (text, _) in SORTS.items()],
    )


def _stock(visit: Visit) -> Stock:
    """Drawn once for all visitors: hundreds of rows cost more than all else of a page."""
    rows = [shelf.row(model) for model in shelf.callable_now(visit.state.catalog)]
    drawn = (visit.site.text("catalog_row.html", {"row": row}).partition(">") for row in rows)
    return Stock(
        [Shown(row, Markup(opening), Markup(rest)) for row, (opening, _, rest) in zip(rows, drawn, strict=True)],
        _offered(row.model.owner for row in rows),
        _offered(row.kind for row in rows),
    )


def _offered(values: Iterable[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in sorted(set(values))]


async def one(visit: Visit) -> Response:
    """A model by any of its names; it is at its id."""
    name = visit.request.path_params["id"]
    model, reason = visit.state.catalog.describe(name, shelf.today())
    if name != model.id:
        return visit.go(f"/catalog/{quote(model.id)}")
    prices = shelf.all_prices(model)
    return visit.page(
        "model.html",
        model=model,
        reason=reason,
        prices=prices,
        tiers=sorted({price.from_tokens for price in prices}),
        rate=visit.usd_nano_per_btc(),
        can=[text for can, text in ABILITIES if can in shelf.abilities(model)],
        endpoint=ENDPOINTS[model.kind],
        upstreams=_upstreams(visit, model),
    )


def _upstreams(visit: Visit, model: Model) -> list[tuple[str, bool]]:
    """Who serves it, in the order in which they are tried, and whether they are well."""
    health = visit.state.gateway.health
    return [(route.provider, health.well(route)) for route in model.routes]


PAGES: Final = (Page("/catalog", listing), Page("/catalog/{id:path}", one))
