"""GET /v1/models and /v1/models/{id}: what can be called now, what it costs. Pages are rendered once a day."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from perquery.catalog import render
from perquery.errors import MethodNotAllowed, PerQueryError
from perquery.routes.answers import error_response


async def list_models(request: Request) -> Response:
    """All models of a type (`?type=chat`, `all`, several with commas); `?availability=all` adds the rest.

    Who sends Anthropic's version header gets Anthropic's list.
    """
    pages: render.Pages = request.state.pages
    kind = request.query_params.get("type", "chat")
    everything = request.query_params.get("availability") == "all"
    on = datetime.now(UTC).date()
    try:
        if "anthropic-version" in request.headers:
            body = pages.anthropic(on)
        else:
            body = pages.page(on, kind, everything=everything)
    except PerQueryError as error:
        return error_response(error)
    return Response(body, media_type="application/json")


async def one_model(request: Request) -> Response:
    """One model, by any of its names."""
    try:
        body = render.one(request.state.catalog, request.path_params["model"], datetime.now(UTC).date())
    except PerQueryError as error:
        return error_response(error)
    return Response(body, media_type="application/json")


async def wrong_method(_request: Request) -> Response:
    """The router would pass it on to the routes behind, which know nothing of models."""
    return error_response(MethodNotAllowed("Use GET.", headers={"allow": "GET, HEAD"}))
