"""An account as its holder sees it: the balance first."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from perquery.store import queries
from perquery.web.site import Page, Visit


async def overview(visit: Visit) -> Response:
    figures = await asyncio.to_thread(queries.figures, visit.state.database, visit.account_id)
    return visit.page("account.html", figures=figures, rate=visit.usd_nano_per_btc())


PAGES: Final = (Page("/account", overview, needs="account"),)
