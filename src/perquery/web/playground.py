"""The playground: talk to any chat model. It asks by `ask`; what is said is kept by the browser and nowhere else."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from perquery.web import shelf
from perquery.web.site import Page, Visit


async def playground(visit: Visit) -> Response:
    """`model` in the query string chooses one, as a model's page does."""
    models = shelf.featured(shelf.callable_now(visit.state.catalog), None)
    wanted = visit.request.query_params.get("model", "")
    ids = [model.id for model in models]
    return visit.page(
        "playground.html",
        models=[shelf.listed(model) for model in models],
        chosen=wanted if wanted in ids else next(iter(ids), ""),
        asked=wanted in ids,
    )


PAGES: Final = (Page("/playground", playground),)
