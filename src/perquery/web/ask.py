"""A call of the API made from a page, for whoever is signed in there: the playground's and the reference's.

It goes to the API itself and the way of all calls, the caller named by the session in place of a credential, so
holds, limits, revocation and receipts are the same. Only a script of our own pages can ask, and only for what ALLOWED
names: it must never reach what makes or changes keys, wallets or refunds.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from perquery.accounts import RECOGNISED
from perquery.errors import BadRequest, NotFound, PerQueryError
from perquery.routes.answers import error_response, request_id_in
from perquery.web import guard
from perquery.web.site import Page, Visit

PREFIX: Final = "/ask"
ALLOWED: Final[tuple[tuple[str, str], ...]] = (
    *(("POST", f"/v1/{name}") for name in ("chat/completions", "completions", "responses")),
    *(("POST", f"/v1/{name}") for name in ("messages", "messages/count_tokens")),
    *(("POST", f"/v1/{name}") for name in ("embeddings", "rerank", "moderations", "audio/speech")),
    *(("POST", f"/v1/{name}") for name in ("images/generations", "images/edits", "videos")),
    *(("POST", path) for path in ("/credits/balance", "/topup/create/{rail}")),
    *(("GET", f"/v1/{name}") for name in ("models", "models/{model:path}/endpoints", "models/{model:path}")),
    *(("GET", f"/v1/{name}") for name in ("audio/models", "audio/voices", "videos", "videos/{id}")),
    *(("GET", f"/v1/{name}") for name in ("key", "credits", "generation", "usage")),
    *(("GET", path) for path in ("/queries/history", "/topup", "/topup/payment-methods", "/topup/status/{invoice_id}")),
)
# The same as the OpenAPI document writes paths.
CAN_BE_ASKED: Final = frozenset((method, path.replace(":path}", "}")) for method, path in ALLOWED)
_PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (method, compile_path(path)[0]) for method, path in ALLOWED
)
_PASSED_ON: Final = (b"content-type", b"content-length", b"idempotency-key", b"anthropic-version", b"x-request-id")
_SOURCE: Final = (b"x-query-source", b"site")


async def ask(visit: Visit) -> Response:
    """The API's own answer, or an error in its shape."""
    request = visit.request
    path = "/" + request.path_params["path"]
    try:
        guard.refuse_foreign("POST", request.headers, visit.settings.public_url)  # reading, too, is for our pages only
        visit.require("account")
        if not any(method == request.method and pattern.fullmatch(path) for method, pattern in _PATTERNS):
            raise NotFound("This cannot be asked from a page; use a key.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            raise BadRequest("Send JSON: a page asks with nothing else.")
    except PerQueryError as error:
        return error_response(error, request_id=request_id_in(request.scope["headers"]))
    return _Asked(visit, path)


class _Asked(Response):
    """What the API answers, as it comes, with the headers of a page."""

    def __init__(self, visit: Visit, path: str) -> None:
        super().__init__()
        self._api = visit.site.api
        self._sent = _api_scope(visit, path)
        self._of_a_page = [
            (name.encode(), value.encode())
            for name, value in (guard.headers(secure=visit.secure) | {"cache-control": "no-store"}).items()
        ]

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0] != b"cache-control"]
                message["headers"] = [*kept, *self._of_a_page]
            await send(message)

        await self._api(self._sent, receive, sending)


def _api_scope(visit: Visit, path: str) -> dict[str, Any]:
    """The request as the API gets it: no cookie, no credential, but who is signed in."""
    request: Request = visit.request
    kept = [(name, value) for name, value in request.scope["headers"] if name in _PASSED_ON]
    fresh = {name: request.scope[name] for name in ("type", "asgi", "http_version", "method", "scheme", "query_string")}
    return fresh | {
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "headers": [*kept, _SOURCE],
        "client": request.scope.get("client"),
        "server": request.scope.get("server"),
        "state": request.scope["state"],
        RECOGNISED: visit.signed_in,
    }


PAGES: Final = (Page(PREFIX + "/{path:path}", ask, ("GET", "POST")),)
