"""The endpoints for images: what a caller's wish becomes before it goes down the one line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from perquery.calls import Route, Unit, Work
from perquery.catalog import recipes
from perquery.dialects.forms import Form
from perquery.dialects.images import Wish, rendered, wish_in
from perquery.errors import BadRequest
from perquery.providers.drawing import most_at


def parse(form: Form) -> Work:
    """POST /v1/images/generations; with an image it is an edit. Raises BadRequest."""
    return _work(wish_in(form))


def parse_edit(form: Form) -> Work:
    """POST /v1/images/edits. Raises BadRequest."""
    wish = wish_in(form)
    if not wish.images:
        raise BadRequest("`image` is missing: what is to be edited.", param="image")
    return _work(wish)


def _work(wish: Wish) -> Work:
    routes: dict[tuple[str, str], Route] = {}

    def most(route: Route) -> Mapping[Unit, int]:
        routes[route.provider, route.model] = route
        return most_at(route, wish)

    return Work(
        kind="image",
        model=recipes.also_called().get(wish.model, recipes.also_called().get(f"google/{wish.model}", wish.model)),
        body={"wish": wish, "routes": routes},
        most=most,
        likely={"image": wish.n},
        render=lambda answer, figures: rendered(answer, figures, wish.model, int(time.time())),
    )
