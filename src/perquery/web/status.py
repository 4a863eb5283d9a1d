"""How the gateway does now, for anybody: the ledger, the upstreams, the ways to pay. Figures are this process's."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from perquery.web import operator
from perquery.web.site import Page, Visit


async def status(visit: Visit) -> Response:
    methods = await visit.state.topups.payment_methods()
    return visit.page(
        "status.html",
        ledger_down=visit.state.ledger.down,
        upstreams=operator.upstreams(visit),
        rails=[(method.display_name, is_open) for method, is_open in methods],
        rate=visit.usd_nano_per_btc(),
    )


PAGES: Final = (Page("/status", status),)
