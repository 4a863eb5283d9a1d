"""The playground: talk to any chat model. It asks by `ask`; what is said is kept by the browser and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup
from starlette.responses import Response

from perquery.web import shelf
from perquery.web.site import Page, Visit


async def playground(visit: Visit) -> Response:
    """`model` in the query string chooses one, as a model's page does."""
    ids, options = visit.site.once("talkers", (visit.state.catalog, shelf.today()), lambda: _talkers(visit))
    wanted = visit.request.query_params.get("model", "")
    return visit.page(
        "playground.html",
        ids=ids,
        options=options,
        chosen=wanted if wanted in ids else next(iter(ids), ""),
        asked=wanted in ids,
    )


def _talkers(visit: Visit) -> tuple[Sequence[str], Markup]:
    """The chat models' ids, and their list as it is drawn."""
    models = [shelf.listed(model) for model in shelf.featured(shelf.callable_now(visit.state.catalog), None)]
    return [model.id for model in models], Markup(visit.site.text("model_options.html", {"models": models}))


PAGES: Final = (Page("/playground", playground),)
