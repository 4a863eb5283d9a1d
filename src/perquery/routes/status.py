"""Whether the gateway lives and can take money, what it counts, and what stands at its root. No credential needed.

`/metrics` shows `app.state.registry`: where several processes serve, the composition puts a registry there that
collects from all of them.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from perquery import __version__
from perquery.errors import LedgerUnavailable
from perquery.routes.answers import MoneyJSON
from perquery.store import queries

router = APIRouter(tags=["status"])


@router.get("/", summary="What this is")
@router.head("/", summary="Whether anybody is there")
async def root(request: Request) -> Response:
    settings = request.app.state.settings
    found = {"name": "PerQuery", "version": __version__, "mode": settings.mode, "docs": "/openapi.json"}
    return MoneyJSON(found)


@router.get("/health", summary="Alive: the process answers")
@router.head("/health", summary="The same, without a body")
async def health() -> Response:
    return MoneyJSON({"status": "ok"})


@router.get("/ready", summary="Ready: the database answers and the ledger writes")
@router.head("/ready", summary="The same, without a body")
async def ready(request: Request) -> Response:
    state = request.app.state
    await asyncio.to_thread(queries.ping, state.database)
    if state.ledger.down:
        raise LedgerUnavailable("The ledger's database does not answer.", headers={"retry-after": "2"})
    return MoneyJSON({"status": "ready"})


@router.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.registry), headers={"content-type": CONTENT_TYPE_LATEST})
