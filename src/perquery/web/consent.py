"""Sign-in for apps: an app sends its user here, who allows it a key of its own, with a limit, or does not.

OpenRouter's PKCE flow. The key itself is never on a page: the app exchanges the code for it (`routes/auth`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.responses import Response

from perquery import money
from perquery.accounts import Grant
from perquery.errors import BadRequest
from perquery.routes.auth import METHODS
from perquery.routes.keys import NAME_MAX, PERIODS, settings_in
from perquery.store import queries
from perquery.web.guard import origin_of
from perquery.web.site import Page, Visit

LIMIT: Final = "10"
URL_MAX: Final = 2_000
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_HOST: Final = re.compile(r"[a-z0-9.:\[\]-]+", re.ASCII)
_CHALLENGE: Final = re.compile(r"[\w.~+/=-]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asking:
    """What an app asks for. host: its name, as the user is shown it."""

    callback_url: str
    challenge: str | None
    method: Any
    host: str


async def consent(visit: Visit) -> Response:
    """The question; the answer leads back to the app, with a code or without."""
    if visit.request.method != "POST":
        return await _asked(visit, asking(visit.request.query_params), {"limit": LIMIT, "reset_period": "monthly"})
    fields = await visit.fields()
    app = asking(fields)
    if fields.get("answer") != "allow":
        return visit.go(_with(app.callback_url, error="access_denied"))
    try:
        terms = settings_in(
            {"usage_limit_usd": _limit(fields.get("limit", "")), "reset_period": fields.get("reset_period") or None},
            lambda name: name,
        )
    except BadRequest as error:
        return await _asked(visit, app, fields, error)
    grant = Grant(visit.account_id, app.challenge, app.method, app.host[:NAME_MAX], **terms)
    code = await visit.accounts.grant(grant)
    return visit.go(_with(app.callback_url, code=code))


async def _asked(visit: Visit, app: Asking, values: Mapping[str, str], error: BadRequest | None = None) -> Response:
    figures = await asyncio.to_thread(queries.figures, visit.state.database, visit.account_id)
    return visit.page(
        "consent.html",
        400 if error else 200,
        form_action=origin_of(app.callback_url),
        app=app,
        balance=figures["balance"],
        values=values,
        wrong=error.message if error else "",
        periods=[("", "never"), *((period, period) for period in PERIODS)],
    )


def asking(given: Mapping[str, str]) -> Asking:
    """What the query, or the form that repeats it, asks for. Raises BadRequest."""
    url, challenge = given.get("callback_url", ""), given.get("code_challenge") or None
    method = given.get("code_challenge_method") or ("plain" if challenge else None)
    if challenge is not None and not _CHALLENGE.fullmatch(challenge):
        raise BadRequest("code_challenge is not one.", param="code_challenge")
    if method is not None and (method not in METHODS or challenge is None):
        raise BadRequest("code_challenge_method must be S256 or plain, beside code_challenge.")
    return Asking(url, challenge, method, _host(url))


def _host(url: str) -> str:
    """The app's host. Raises BadRequest where the URL is neither https nor this machine's."""
    wrong = BadRequest("callback_url must be an https URL, or http on localhost.", param="callback_url")
    if len(url) > URL_MAX or not url.isascii() or not url.isprintable() or re.search(r"[\s\\]", url):
        raise wrong
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise wrong from error
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL)
    if not secure or parts.username is not None or not _HOST.fullmatch(parts.netloc.lower()):
        raise wrong
    return parts.netloc.lower()


def _limit(text: str) -> Any:
    """The amount, exactly; None for none. What is no number is left to be refused."""
    try:
        return money.decimal(text) if text else None
    except ValueError:
        return text


def _with(url: str, **more: str) -> str:
    """The URL with something more in its query."""
    parts = urlsplit(url)
    query = f"{parts.query}&{urlencode(more)}" if parts.query else urlencode(more)
    return urlunsplit(parts._replace(query=query))


PAGES: Final = (Page("/auth", consent, ("GET", "POST"), "owner"),)
