"""The operator's page: money in and out, what accounts have, wallets against the ledger, how upstreams do.

Opened by `operator_key`; without it these pages are not there.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from perquery.calls import Route
from perquery.errors import NotFound
from perquery.store.sessions import Session
from perquery.store.takings import DAY_MS, Takings, takings
from perquery.topups.methods import METHODS
from perquery.topups.reconcile import reconcile_all
from perquery.web import charts
from perquery.web.signing import onward
from perquery.web.site import Page, Visit

DAYS: Final = 30
_PATH: Final = "/operator"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A host: its models that can be called, those that cool down, and the worst of what was measured lately."""

    name: str
    models: int
    resting: tuple[str, ...]
    uptime_percent: str | None
    latency_ms: int | None


async def sign_in(visit: Visit) -> Response:
    """The form, and the key that it sends."""
    key = visit.settings.operator_key
    if key is None:
        raise NotFound("There is no such page.")
    if visit.request.method != "POST":
        return visit.go(_PATH) if visit.operator else visit.page("operator_sign_in.html", wrong=None)
    fields = await visit.fields()
    visit.require_sessions()
    visit.accounts.allow_sign_in(visit.address)
    if not hmac.compare_digest(fields.get("credential", "").encode(), key.encode()):
        return visit.page("operator_sign_in.html", 401, wrong="This is not the operator's key.")
    return await visit.sign_in(visit.go(onward(_PATH)), Session(None))


async def overview(visit: Visit) -> Response:
    database = visit.state.database
    to_ms = await asyncio.to_thread(database.now_ms) + 1
    from_ms = (to_ms // DAY_MS - DAYS + 1) * DAY_MS
    found: Takings = await asyncio.to_thread(takings, database, from_ms, to_ms)
    asked = "wallets" in visit.request.query_params
    return visit.page(
        "operator.html",
        takings=found,
        totals={
            name: sum(getattr(day, name) for day in found.days)
            for name in ("paid_in", "taken_back", "bonus", "calls", "charged", "upstream", "margin", "shortfall")
        },
        chart=charts.by_day([(day.day, day.charged) for day in found.days], f"Charged by day over {DAYS} days"),
        wallets=await reconcile_all(database, visit.state.rails) if asked else None,
        upstreams=upstreams(visit),
        methods=METHODS,
    )


def upstreams(visit: Visit) -> list[Upstream]:
    """Every host that is active, by name; figures are this process's."""
    routes: dict[str, list[Route]] = {name: [] for name in visit.state.upstreams}
    for model in visit.state.catalog.models.values():
        for route in model.routes:
            routes.setdefault(route.provider, []).append(route)
    return [_upstream(visit, name, found) for name, found in sorted(routes.items())]


def _upstream(visit: Visit, name: str, routes: list[Route]) -> Upstream:
    health = visit.state.gateway.health
    pulses = [pulse for provider, _, pulse in health.live.all() if provider == name and pulse.asked]
    latencies = [pulse.latency_us for pulse in pulses if pulse.latency_us is not None]
    worst = max((pulse.failed for pulse in pulses), default=0)
    return Upstream(
        name,
        len(routes),
        tuple(route.model for route in routes if not health.well(route)),
        f"{(1_000_000 - worst) // 1_000 / 10:.1f}" if pulses else None,
        max(latencies) // 1_000 if latencies else None,
    )


PAGES: Final = (
    Page("/operator", overview, needs="operator"),
    Page("/operator/sign-in", sign_in, ("GET", "POST")),
)
