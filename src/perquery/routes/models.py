"""GET /v1/models, /v1/models/{id} and /v1/models/{id}/endpoints: what can be called now, what it costs, through whom,
and how those are doing. Pages of the list are rendered once a day.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perquery import money
from perquery.calls import Route
from perquery.catalog import render
from perquery.errors import MethodNotAllowed, PerQueryError
from perquery.metering.health import Health
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
    """One model, by any of its names; in Anthropic's form as the list."""
    shown = render.one_of_anthropic if "anthropic-version" in request.headers else render.one
    try:
        body = shown(request.state.catalog, request.path_params["model"], datetime.now(UTC).date())
    except PerQueryError as error:
        return error_response(error)
    return Response(body, media_type="application/json")


async def endpoints(request: Request) -> Response:
    """Through whom a model can be called, by any of its names: prices and live figures of each upstream."""
    try:
        found = request.state.catalog.find(request.path_params["model"], datetime.now(UTC).date(), None)
    except PerQueryError as error:
        return error_response(error)
    health: Health = request.state.gateway.health
    body = render.endpoints(found.model, lambda route: _figures(health, route))
    return Response(body, media_type="application/json")


def _figures(health: Health, route: Route) -> dict[str, Any]:
    """latency: seconds; throughput: tokens a second; uptime: percent, None before anything was asked."""
    pulse = health.live.of(route)
    latency, rate, uptime = pulse.latency_us, pulse.milli_tokens, pulse.uptime_ppm
    percent = None if uptime is None else money.number(uptime, 4)
    return {
        "status": 0 if health.well(route) else -1,
        "uptime": percent,
        "uptime_last_30m": percent,
        "latency": None if latency is None else money.number(latency, 6),
        "throughput": None if rate is None else money.number(rate, 3),
    }


async def wrong_method(_request: Request) -> Response:
    """The router would pass it on to the routes behind, which know nothing of models."""
    return error_response(MethodNotAllowed("Use GET.", headers={"allow": "GET, HEAD"}))
