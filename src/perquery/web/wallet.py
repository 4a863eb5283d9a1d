"""Auto top-up on a page: connect a wallet, see what it did, disconnect it. A wallet's secret is never shown again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from perquery.autotopup import words
from perquery.errors import BadRequest, PerQueryError
from perquery.web.site import Page, Visit

_PATH: Final = "/account/auto-top-up"
_FIELDS: Final = ("threshold_usd", "topup_amount_usd", "daily_limit_usd", "monthly_limit_usd")
_DEFAULTS: Final = {"threshold_usd": "10", "topup_amount_usd": "10"}


async def show(visit: Visit) -> Response:
    """The wallet and its attempts, or a form; what it sends connects one."""
    if visit.request.method != "POST":
        return await _shown(visit, _DEFAULTS)
    fields = await visit.fields()
    body: dict[str, Any] = {name: fields[name] for name in ("nwc_url", *_FIELDS) if fields.get(name)}
    try:
        await visit.state.connections.connect(visit.account_id, body)
    except PerQueryError as error:
        return await _shown(visit, fields, error)
    return visit.go(_PATH)


async def _shown(visit: Visit, fields: Mapping[str, str], error: PerQueryError | None = None) -> Response:
    view = await visit.state.connections.show(visit.account_id)
    named = isinstance(error, BadRequest) and error.param
    return visit.page(
        "wallet.html",
        error.status if error else 200,
        wallet=view.wallet,
        attempts=[(row, words.told(row, invoice)) for row, invoice in view.attempts],
        values={name: fields.get(name, "") for name in _FIELDS},
        wrong={named or "": error.message} if error else {},
    )


async def disconnect(visit: Visit) -> Response:
    await visit.state.connections.disconnect(visit.account_id)
    return visit.go(_PATH)


PAGES: Final = (
    Page(_PATH, show, ("GET", "POST"), "owner"),
    Page(_PATH + "/disconnect", disconnect, ("POST",), "owner"),
)
