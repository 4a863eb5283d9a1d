"""The first page: what this is, what it costs, and an account in one click."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from perquery.web import shelf
from perquery.web.site import Page, Visit

SHOWN: Final = 10


async def landing(visit: Visit) -> Response:
    models = shelf.callable_now(visit.state.catalog)
    first = shelf.featured(models, SHOWN)
    return visit.page(
        "landing.html",
        models_count=len(models),
        owners_count=len({model.owner for model in models}),
        models=[shelf.listed(model) for model in first],
        bill=shelf.bill(first[0]) if first else None,
        methods=[method.display_name for method, is_open in await visit.state.topups.payment_methods() if is_open],
        rate=visit.usd_nano_per_btc(),
    )


PAGES: Final = (Page("/", landing),)
