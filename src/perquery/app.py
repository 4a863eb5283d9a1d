"""Composition: from settings to a running ASGI application, and back down in order.

The paid routes come first, as plain ASGI; models are Starlette's, the JSON control plane is FastAPI mounted
behind. Start: database, ledger, upstreams, loops. Stop: calls in flight settle, then loops, then the
ledger. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

import orjson
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from perquery import __version__, money
from perquery.accounts import Accounts
from perquery.autotopup.connections import Connections
from perquery.autotopup.runner import Runner
from perquery.autotopup.vault import Vault
from perquery.callbacks import Callbacks
from perquery.calls import Draft
from perquery.catalog import recipes
from perquery.catalog.build import build
from perquery.catalog.models import Catalog, Model
from perquery.catalog.render import Pages
from perquery.catalog.voices import Voices
from perquery.config import Settings, is_loopback
from perquery.dialects import shapes
from perquery.errors import BadRequest, InternalError
from perquery.metering.gateway import Gateway, Prepare
from perquery.metering.jobs import Jobs
from perquery.metering.meters import FLUSH_S, Meters
from perquery.metering.search import Finding
from perquery.nwc import Connection, NwcClient
from perquery.outbound import Client
from perquery.own_key import own_key
from perquery.payouts.backends import open_wallet
from perquery.payouts.lnurl import Resolver
from perquery.providers import table
from perquery.providers.content import Content
from perquery.providers.exa import Exa
from perquery.rails.backends import Means, open_rails
from perquery.rails.rail import Rail
from perquery.rates.live import rates_from
from perquery.rates.rate import Rates
from perquery.refunds.runner import Runner as RefundRunner
from perquery.refunds.service import COIN, Refunds
from perquery.rounds import Round
from perquery.routes import (
    accounts,
    answers,
    audio,
    auth,
    autotopup,
    chat,
    keys,
    models,
    openapi,
    status,
    topup,
    usage,
    videos,
    works,
)
from perquery.routes import refunds as refund_routes
from perquery.routes.cors import Cors
from perquery.store import leases, sweep
from perquery.store.database import Database
from perquery.store.drivers import wall_ms
from perquery.store.ledger import GATEWAY, LEASE_MS, RENEW_MS, Ledger
from perquery.store.opening import open_database
from perquery.store.operations import Renew
from perquery.topups.feed import Feed
from perquery.topups.methods import METHODS, methods_from
from perquery.topups.service import Topups
from perquery.web.door import Door
from perquery.web.sessions import Sessions
from perquery.web.site import Site
from perquery.webhooks import Webhooks

SWEEP_S = 10.0
KEEP_S = 3600.0
_PAID: Final = {
    "/chat/completions": partial(chat.answer, shapes.CHAT),
    "/completions": partial(chat.answer, shapes.COMPLETIONS),
    "/messages": partial(chat.answer, shapes.MESSAGES),
    "/messages/count_tokens": partial(chat.count_tokens, shapes.COUNT),
    "/responses": partial(chat.answer, shapes.RESPONSES),
}
# PPQ serves speech under /api/v1 too: its callers' base URL for it is another than for chat.
_SPEECH: Final = {f"/api/v1{path}": serve for path, serve in works.SERVICES.items() if path.startswith("/audio/")}
HOT_ROUTES: Final = MappingProxyType(
    {prefix + path: serve for prefix in ("/v1", "") for path, serve in {**_PAID, **works.SERVICES}.items()} | _SPEECH
)
MODELS: Final = MappingProxyType(
    {
        "/v1/models": models.list_models,
        "/models": models.list_models,
        "/v1/models/{model:path}/endpoints": models.endpoints,
        "/models/{model:path}/endpoints": models.endpoints,
        "/v1/models/{model:path}": models.one_model,
        "/models/{model:path}": models.one_model,
        **{
            f"{prefix}/audio/{name}": page
            for prefix in ("/v1", "", "/api/v1")
            for name, page in (("models", audio.list_models), ("voices", audio.list_voices))
        },
    }
)
CONTROL: Final = tuple(
    family.router for family in (status, accounts, auth, keys, topup, refund_routes, autotopup, usage, videos)
)
OPENAPI: Final = "/openapi.json"
_SLASHES: Final = re.compile("//+")
_VERSIONS: Final = re.compile("^(?:/v1){2,}(?=/|$)")
_log = logging.getLogger(__name__)


def create_app(
    settings: Settings, on_ready: Callable[[], None] | None = None, shared_metrics: Path | None = None
) -> Door:
    """The ASGI application. on_ready: called once it takes requests; shared_metrics: the folder of several workers."""
    control = _control_plane()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with _running(settings, shared_metrics) as parts:
            for name, part in parts.items():
                setattr(control.state, name, part)
            if on_ready is not None:
                on_ready()
            yield parts

    pages = [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in MODELS.items()),
        *(Route(path, models.wrong_method, methods=["POST", "PUT", "PATCH", "DELETE"]) for path in MODELS),
        *(Route(path, _Plain(videos.begin), methods=["POST"]) for path in ("/v1/videos", "/videos")),
        Mount("/", app=control),
    ]
    others = Starlette(routes=pages, lifespan=lifespan)
    answers.install(others)
    site = Site(settings, Sessions(own_key(settings)))
    site.document = control.openapi
    site.api = Hot(HOT_ROUTES, others)
    return Door(site, Cors(site.api), (*HOT_ROUTES, *MODELS, *_control_paths()))


class _Plain:
    """A handler in plain ASGI as the router takes it: an instance, for it makes requests of functions."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._handler(scope, receive, send)


class Hot:
    """The paid routes, found by one look into a dictionary; a router and its middleware cost as much as the ledger.

    It is the last error handler of those routes: what is unforeseen is logged and answered without inner details.
    """

    def __init__(self, routes: Mapping[str, Any], others: Any) -> None:
        self._routes = routes
        self._others = others

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        endpoint = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None and scope["type"] == "http":
            scope = scope | {"path": _meant(scope["path"])}
            endpoint = self._routes.get(scope["path"])
        if endpoint is None:
            await self._others(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Exception:
            _log.exception("a paid route failed")
            await answers.send_error(send, InternalError("Something went wrong here; you were not charged."))


def _meant(path: str) -> str:
    """The path without what comes of a base URL that ends in a slash, or in a /v1 where the tool adds its own."""
    return _VERSIONS.sub("/v1", _SLASHES.sub("/", path)).rstrip("/") or "/"


def _control_plane() -> FastAPI:
    control = FastAPI(title="PerQuery", version=__version__, openapi_url=OPENAPI, docs_url=None, redoc_url=None)
    for router in CONTROL:
        control.include_router(router)
    answers.install(control)
    openapi.install(control)
    return control


def _control_paths() -> list[str]:
    return [OPENAPI, *(route.path for router in CONTROL for route in router.routes if isinstance(route, Route))]


@contextlib.asynccontextmanager
async def _running(settings: Settings, shared_metrics: Path | None) -> AsyncIterator[dict[str, Any]]:
    """Everything that runs, by name; torn down in the reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        database = await asyncio.to_thread(open_database, settings.database, mode=settings.mode)
        stack.callback(database.close)
        ledger = await _ledger(stack, database)
        client = Client()
        stack.push_async_callback(client.close)
        active = table.activate(settings)
        upstreams = table.connect(active.hosts, client, time.monotonic)
        catalog = _catalog(settings, active)
        registry = CollectorRegistry(auto_describe=False)
        gateway = Gateway(settings, ledger, upstreams, _preparing(active.hosts), Meters(registry))
        gateway.finding = _finding(settings, client)
        rails, rates, topups = _topups(stack, settings, database, ledger, client)
        connections, paying = _wallets(settings, database, topups, client)
        stack.push_async_callback(paying.close)
        refunds = _refunds(stack, settings, database, ledger, rates, client)
        feed = Feed(database)
        jobs, callbacks = _jobs(stack, database, gateway, upstreams, client)
        webhooks = Webhooks(database, client, settings, wall_ms)
        stack.push_async_callback(webhooks.close)
        topups.changed = _waking(feed, webhooks)
        running = (part.run() for part in (rates, topups, webhooks, paying, refunds, jobs, callbacks))
        tasks = [asyncio.create_task(loop) for loop in (*_keepers(database, ledger, gateway, jobs), *running)]
        stack.push_async_callback(_stop, tasks)
        yield {
            "settings": settings,
            "database": database,
            "ledger": ledger,
            "accounts": Accounts(database, settings, time.monotonic),
            "catalog": catalog,
            "pages": Pages(catalog),
            "voices": Voices(),
            "gateway": gateway,
            "rates": rates,
            "rails": rails,
            "jobs": jobs,
            "topups": topups,
            "connections": connections,
            "refunds": refunds,
            "feed": feed,
            "stopping": asyncio.Event(),
            "round": Round(asyncio.get_running_loop()),
            "registry": _exposed(shared_metrics) if shared_metrics else registry,
            "upstreams": upstreams,
        }


async def _ledger(stack: contextlib.AsyncExitStack, database: Database) -> Ledger:
    """The process's ledger, its lease taken."""
    ledger = Ledger(database.driver(), GATEWAY + uuid4().hex)
    ledger.start()
    stack.push_async_callback(asyncio.to_thread, leases.drop, database, ledger.owner, ledger.owner)
    stack.push_async_callback(ledger.close)
    await ledger.submit(Renew())
    return ledger


def _catalog(settings: Settings, active: table.Active) -> Catalog:
    catalog = build(settings, active.hosts, today=datetime.now(UTC).date())
    table.check_routes(settings, catalog.models.values(), active.hosts)
    return catalog


def _exposed(folder: Path) -> CollectorRegistry:
    """The sum of all workers' metrics."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry


def _preparing(hosts: Mapping[str, table.ActiveHost]) -> Prepare:
    """A body as the named host wants it, in bytes, and the parameters that it or the model does not take."""

    def prepared(provider: str, draft: Draft, model: Model) -> tuple[bytes, list[str]]:
        host = hosts[provider].host
        try:
            ready, dropped = table.prepared(host, draft, model.refused_parameters, model.output_tokens_max)
            return orjson.dumps(ready), dropped
        except orjson.JSONEncodeError as error:  # all that was read can be written, but what is nested too deeply
            raise BadRequest("The body is nested too deeply.", code="malformed_json") from error

    return prepared


def _finding(settings: Settings, client: Client) -> Finding | None:
    """Our own web search, where there is a key for it; in the sandbox only at a loopback address."""
    wanted = settings.search
    key = wanted.api_key or settings.environment_keys.get("EXA_API_KEY")
    if not key or (settings.sandbox and not is_loopback(wanted.base_url)):
        return None
    return Finding(Exa(wanted.base_url, key, client), money.nano(wanted.price_usd))


def _jobs(
    stack: contextlib.AsyncExitStack,
    database: Database,
    gateway: Gateway,
    upstreams: Mapping[str, table.Speaker],
    client: Client,
) -> tuple[Jobs, Callbacks]:
    """The durable jobs: videos, made by the upstreams that have a studio; and who tells their callers."""
    settings = gateway.settings
    studios = {name: upstream.studio for name, upstream in upstreams.items() if upstream.studio is not None}
    content = Content(settings.data / "videos", client, settings.videos)
    callbacks = Callbacks(database, client, settings, database.now_ms)
    jobs = Jobs(database, gateway, studios, recipes.known(), content, callbacks.news.set)
    stack.push_async_callback(callbacks.close)
    stack.push_async_callback(jobs.close)
    return jobs, callbacks


def _waking(feed: Feed, webhooks: Webhooks) -> Callable[[], None]:
    def wake() -> None:
        feed.wake()
        webhooks.wake()

    return wake


def _keepers(database: Database, ledger: Ledger, gateway: Gateway, jobs: Jobs) -> list[Coroutine[Any, Any, None]]:
    """The loops that keep the database, the metrics and the data folder in order."""
    return [
        _every(FLUSH_S, gateway.flush),
        _every(SWEEP_S, jobs.sweep),
        _every(RENEW_MS / 1000, _renewing(ledger)),
        _every(SWEEP_S, _sweeping(database, ledger)),
        _every(KEEP_S, _keeping(database, ledger)),
    ]


def _wallets(settings: Settings, database: Database, topups: Topups, client: Client) -> tuple[Connections, Runner]:
    """The wallets that callers connect, reached over public relays only unless the operator allows others; in the
    sandbox also over relays on this machine, named by a loopback literal.
    """

    def opened(connection: Connection) -> NwcClient:
        here = settings.sandbox and all(is_loopback(relay) for relay in connection.relays)
        return NwcClient(connection, client, allow_private=settings.private_relays or here)

    vault = Vault(own_key(settings))
    connections = Connections(database, topups, opened, vault, wall_ms, time.monotonic)
    return connections, Runner(database, topups, opened, vault, wall_ms)


def _topups(
    stack: contextlib.AsyncExitStack, settings: Settings, database: Database, ledger: Ledger, client: Client
) -> tuple[dict[str, Rail], Rates, Topups]:
    """Money in: the rails that the settings name, and the rates of their coins."""
    news = asyncio.Event()
    rails = open_rails(settings, Means(client, wall_ms, news))
    rates = rates_from(settings, _coins(settings, rails), client, wall_ms)
    topups = Topups(database, ledger, rails, rates, settings, wall_ms, news)
    stack.push_async_callback(topups.close)
    return rails, rates, topups


def _coins(settings: Settings, rails: Mapping[str, Rail]) -> list[str]:
    """Those whose rates are needed."""
    refunded = {COIN} if settings.refunds is not None else set()
    return sorted({METHODS[name].coin for name in rails} - {"USD"} | refunded)


def _refunds(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    database: Database,
    ledger: Ledger,
    rates: Rates,
    client: Client,
) -> Refunds:
    """Giving unspent deposits back, where the operator has a wallet for it."""
    wallet = open_wallet(settings, client)
    runner = RefundRunner(database, ledger, wallet, wall_ms) if wallet is not None else None
    bonuses = [method.bonus for method in methods_from(settings).values() if method.bonus is not None]
    promised = max(bonuses, key=lambda ratio: Fraction(*ratio), default=money.Ratio(0, 1))
    resolver = Resolver(client, local=settings.sandbox)
    refunds = Refunds(database, rates, resolver, runner, settings.refunds, promised, wall_ms)
    stack.push_async_callback(refunds.close)
    return refunds


def _renewing(ledger: Ledger) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def renew() -> None:
        await ledger.submit(Renew())

    return renew


def _sweeping(database: Database, ledger: Ledger) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def once() -> None:
        if await asyncio.to_thread(leases.take, database, "loop:sweep", ledger.owner, LEASE_MS):
            await sweep.sweep(database, ledger)

    return once


def _keeping(database: Database, ledger: Ledger) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def once() -> None:
        await sweep.book_upstream_costs(database, ledger)
        await asyncio.to_thread(sweep.forget_old, database)

    return once


async def _every(seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """A background loop: what goes wrong in a round is logged and the next round comes."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            _log.exception("a background loop failed")


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
