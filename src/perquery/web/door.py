"""In front of the API: which requests are for the pages, and how a page is served, refused and excused.

A path belongs to the pages or to the API, never to both, but for `/`, which shows a browser the site. A browser that
asks for what is nowhere gets a page that says so. It must never let an error's inside out.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perquery.errors import InternalError, LedgerUnavailable, MethodNotAllowed, NotFound, PerQueryError, Unauthorized
from perquery.routes.answers import error_response, request_id_in
from perquery.web import (
    account,
    ask,
    assets,
    blog,
    calls,
    catalog,
    checkout,
    consent,
    guard,
    keys,
    landing,
    operator,
    passkeys,
    playground,
    reference,
    signing,
    status,
    topup,
    wallet,
)
from perquery.web.site import Page, Site, Visit

PAGES: Final[tuple[Page, ...]] = tuple(
    page
    for part in (
        landing,
        catalog,
        playground,
        ask,
        blog,
        reference,
        status,
        signing,
        account,
        calls,
        keys,
        wallet,
        passkeys,
        topup,
        checkout,
        consent,
        operator,
    )
    for page in part.PAGES
)
_log = logging.getLogger(__name__)


class Door:
    """The whole application: `api` behind, the pages before it. api_paths: all paths that are the API's."""

    def __init__(self, site: Site, api: Any, api_paths: Iterable[str]) -> None:
        self.api = api
        self._of_pages = frozenset(_first(page.path) for page in PAGES) - {""} | {_first(assets.PREFIX)}
        self._paths_of_api = frozenset(path for path in api_paths if _first(path) not in {"", *self._of_pages})
        self._of_api = frozenset(map(_first, self._paths_of_api))
        self._pages = pages_of(site)

    def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] not in self._paths_of_api and self._is_page(scope):
            return self._pages(scope, receive, send)
        answered: Awaitable[None] = self.api(scope, receive, send)
        return answered

    def _is_page(self, scope: MutableMapping[str, Any]) -> bool:
        first = _first(scope["path"])
        if first in self._of_pages:
            return True
        if first and first in self._of_api:
            return False
        return scope["method"] in guard.SAFE_METHODS and _wants_html(scope["headers"])


def _first(path: str) -> str:
    """The first part of a path: "v1" of "/v1/models", "" of "/"."""
    return path[1:].partition("/")[0]


def _wants_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


def pages_of(site: Site) -> Starlette:
    site.serves(page.path for page in PAGES)
    routes = [Route(page.path, _endpoint(site, page), methods=list(page.methods)) for page in PAGES]
    routes.append(Route(assets.PREFIX + "{name}", _file(site), methods=["GET"]))
    app = Starlette(routes=routes)
    excuse = _excusing(site)
    for kind in (HTTPException, OperationalError, Exception):
        app.add_exception_handler(kind, excuse)
    return app


def _endpoint(site: Site, page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        visit = Visit(site, request)
        try:
            guard.refuse_foreign(request.method, request.headers, visit.settings.public_url)
            await visit.recognise()
            visit.require(page.needs)
            return await page.serve(visit)
        except Unauthorized as error:
            if page.needs == "nobody" or request.method not in guard.SAFE_METHODS:
                return excused(visit, error)
            place = "/operator/sign-in" if page.needs == "operator" else "/sign-in"
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return visit.go(f"{place}?next={quote(asked)}")
        except PerQueryError as error:
            return excused(visit, error)

    return serve


def excused(visit: Visit, error: PerQueryError) -> Response:
    """An error as a page; to a script that sent JSON, as the API says it."""
    if visit.request.headers.get("content-type", "").startswith("application/json"):
        return error_response(error, request_id=request_id_in(visit.request.scope["headers"]))
    title = HTTPStatus(error.status).phrase
    return visit.page(
        "error.html", error.status, headers=error.headers, title=title, status=error.status, message=error.message
    )


def _excusing(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What no page expects: an unknown path, a wrong method, a database that is away, a bug of ours."""

    async def excuse(request: Request, error: Exception) -> Response:
        return excused(Visit(site, request), _ours(request, error))

    return excuse


def _ours(request: Request, error: Exception) -> PerQueryError:
    if isinstance(error, HTTPException):
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed("This page does not take that method.", headers=error.headers)
        return NotFound("There is no such page.")
    if isinstance(error, OperationalError):
        _log.error("the database does not answer: %s", type(error).__name__)
        return LedgerUnavailable("The database does not answer; try again shortly.", headers={"retry-after": "2"})
    request_id = request_id_in(request.scope["headers"])
    _log.error("page request %s failed: %s", request_id, type(error).__name__)
    return InternalError(f"Something went wrong here; the request's id is {request_id}.")


def _file(site: Site) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        found = site.assets.at(request.url.path)
        if found is None:
            raise HTTPException(404)
        sent = guard.headers(secure=False) | {
            "cache-control": "public, max-age=31536000, immutable",
            "vary": "accept-encoding",
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.gzipped, headers=sent | {"content-encoding": "gzip"}, media_type=found.media_type)
        return Response(found.body, headers=sent, media_type=found.media_type)

    return serve
