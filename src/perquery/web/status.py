"""How the gateway does now, for anybody: the ledger, the upstreams, the ways to pay. Figures are this process's."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from perquery.topups.methods import METHODS
from perquery.web import operator
from perquery.web.site import Page, Visit


async def status(visit: Visit) -> Response:
    opened = {method.name for method in visit.state.topups.payment_methods()}
    return visit.page(
        "status.html",
        ledger_down=visit.state.ledger.down,
        upstreams=operator.upstreams(visit),
        rails=[(METHODS[name].display_name, name in opened) for name in visit.state.rails],
        rate=visit.usd_nano_per_btc(),
    )


PAGES: Final = (Page("/status", status),)
