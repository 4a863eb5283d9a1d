"""An account as its holder sees it: the balance, what was spent and for what, its top-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from perquery import money
from perquery.autotopup.connections import THRESHOLD_USD
from perquery.store import queries
from perquery.store.queries import Grouping, UsageRow
from perquery.topups.methods import METHODS
from perquery.web import charts
from perquery.web.charts import DAY_MS
from perquery.web.site import Page, Visit

DAYS: Final = (7, 30, 90)
ROWS: Final = 8  # of the dearest models and keys
CALLS: Final = 5
TOPUPS: Final = 50
LOW_NANO: Final = money.nano(THRESHOLD_USD) // 10


@dataclass(frozen=True, slots=True)
class Spending:
    """A stretch of days: calls, nano-USD by day, and the dearest models and keys."""

    days: int
    requests: int
    failed: int
    cost_nano: int
    by_day: Sequence[tuple[int, int]]
    by_model: Sequence[UsageRow]
    by_key: Sequence[UsageRow]


async def overview(visit: Visit) -> Response:
    database, account_id = visit.state.database, visit.account_id
    figures = await asyncio.to_thread(queries.figures, database, account_id)
    spent = await asyncio.to_thread(_spending, visit, _days(visit))
    calls = await asyncio.to_thread(queries.history, database, account_id, visit.signed_in.key_id, 1, CALLS)
    shown = await visit.state.connections.show(account_id)
    return visit.page(
        "account.html",
        figures=figures,
        low=0 <= figures["balance"] < LOW_NANO and (shown.wallet is None or not shown.wallet.enabled),
        rate=visit.usd_nano_per_btc(),
        spent=spent,
        chart=charts.by_day(spent.by_day, f"Spending by day over {spent.days} days"),
        share=charts.share,
        choices=DAYS,
        calls=calls[:CALLS],
    )


def _days(visit: Visit) -> int:
    given = visit.request.query_params.get("days", "")
    return int(given) if given.isdecimal() and len(given) < 4 and int(given) in DAYS else DAYS[1]


def _spending(visit: Visit, days: int) -> Spending:
    database, key_id = visit.state.database, visit.signed_in.key_id
    to_ms = database.now_ms() + 1
    from_ms = (to_ms // DAY_MS - days + 1) * DAY_MS

    def rows(*by: Grouping) -> list[UsageRow]:
        return queries.usage(database, visit.account_id, key_id, by, from_ms, to_ms)

    daily = rows("day")
    return Spending(
        days,
        sum(row.requests for row in daily),
        sum(row.failed for row in daily),
        sum(row.cost_nano for row in daily),
        charts.every_day({row.day: row.cost_nano for row in daily if row.day is not None}, from_ms, to_ms),
        _dearest(rows("model")),
        _dearest(rows("key")),
    )


def _dearest(rows: list[UsageRow]) -> list[UsageRow]:
    return sorted(rows, key=lambda row: row.cost_nano, reverse=True)[:ROWS]


async def topups(visit: Visit) -> Response:
    """What was asked to be paid, and what became of it."""
    latest = await visit.state.topups.latest(visit.account_id, TOPUPS)
    return visit.page("topups.html", topups=latest, methods=METHODS)


PAGES: Final = (
    Page("/account", overview, needs="account"),
    Page("/account/top-ups", topups, needs="account"),
)
