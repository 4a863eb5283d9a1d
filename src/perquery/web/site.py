"""What all pages share: templates, files, sessions, the operator's settings; and one visitor's request to a page.

A page is an async function from a Visit to a Response. Every text that goes into a template is escaped by it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from perquery import __version__
from perquery.accounts import Access, Accounts
from perquery.config import Settings
from perquery.errors import Forbidden, Unauthorized, Unavailable
from perquery.store import sessions as store
from perquery.store.sessions import Session
from perquery.web import figures, forms, guard, sessions
from perquery.web.assets import Assets
from perquery.web.sessions import Sessions

TEMPLATES: Final = Path(__file__).with_name("templates")
GZIP_LEAST_BYTES: Final = 1_000
T = TypeVar("T")
Needs: TypeAlias = Literal["nobody", "account", "owner", "operator"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page at a path. needs: who must be signed in: anybody with the account or a key of it, the account's owner
    (by the credit id), or the operator.
    """

    path: str
    serve: Callable[[Visit], Awaitable[Response]]
    methods: tuple[str, ...] = ("GET",)
    needs: Needs = "nobody"


class Site:
    """One per application. Raises ConfigError where the operator's logo is not one."""

    def __init__(self, settings: Settings, keyed: Sessions) -> None:
        self.settings = settings
        self.sessions = keyed
        self.assets = Assets(settings.site)
        self.document: Callable[[], Mapping[str, Any]] = dict  # the API's, as OpenAPI
        self._made: dict[str, tuple[object, Any]] = {}
        self.api: Any = None  # the API itself, as an ASGI application
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        names = ("usd", "usd_text", "sats", "per_million", "each", "pico_per_million", "pico_usd", "count", "tokens")
        for name in (*names, "seconds", "when", "day", "breakable", "dollars"):
            self._templates.filters[name] = getattr(figures, name)
        self._templates.globals |= {
            "site": settings.site,
            "sandbox": settings.sandbox,
            "version": __version__,
            "asset": self.assets.url,
            "logo": self.assets.url(self.assets.logo),
        }

    def serves(self, paths: Iterable[str]) -> None:
        """Let templates know which pages there are: `pages`."""
        self._templates.globals["pages"] = frozenset(paths)

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        return self._templates.get_template(template).render(values)

    def once(self, name: str, version: object, make: Callable[[], T]) -> T:
        """What is made of what seldom changes: made anew where the version is another than the last time."""
        kept = self._made.get(name)
        if kept is None or kept[0] != version:
            kept = self._made[name] = (version, make())
        made: T = kept[1]
        return made


class Visit:
    """One request. access: who is signed in. `state` has the gateway's parts by name, as `app` composed them."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self.request = request
        self.settings = site.settings
        self.state: Any = request.state
        self.access: Access | None = None
        self.operator = False
        public = self.settings.public_url or ""
        self.secure = request.url.scheme == "https" or public.startswith("https:")

    @property
    def accounts(self) -> Accounts:
        accounts: Accounts = self.state.accounts
        return accounts

    @property
    def account_id(self) -> int:
        """Of a page that needs somebody signed in."""
        return self.signed_in.account_id

    @property
    def signed_in(self) -> Access:
        if self.access is None:
            raise Unauthorized("Sign in first.")
        return self.access

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def base_url(self) -> str:
        """Where people reach this site, without a final slash."""
        return (self.settings.public_url or str(self.request.base_url)).rstrip("/")

    @property
    def api_url(self) -> str:
        """Where programs reach the API, without a final slash."""
        return (self.settings.api_url or self.base_url).rstrip("/")

    def usd_nano_per_btc(self) -> int | None:
        """The rate now; None where there is none."""
        try:
            rate: int = self.state.rates.usd_nano_per_coin("BTC")
        except Unavailable:
            return None
        return rate

    async def fields(self) -> Mapping[str, str]:
        """The form that was sent. Raises BadRequest, TooLarge."""
        return await forms.fields_of(self.request)

    def page(
        self,
        template: str,
        status: int = 200,
        /,
        *,
        secret: bool = False,
        form_action: str = "",
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """The template as an answer. secret: it shows what must never be shown again, so its length must not tell
        either; form_action: an origin to which its form may lead.
        """
        body = self.site.text(template, self._values() | values).encode()
        sent = guard.headers(secure=self.secure, form_action=form_action) | dict(headers or {})
        sent |= {
            "cache-control": "no-store" if self.access or self.operator or secret else "no-cache",
            "vary": "accept, cookie",
        }
        if not secret and len(body) >= GZIP_LEAST_BYTES and "gzip" in self.request.headers.get("accept-encoding", ""):
            body, sent["content-encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
            sent["vary"] += ", accept-encoding"
        return Response(body, status, sent, media_type="text/html")

    def _values(self) -> dict[str, Any]:
        return {
            "path": self.request.url.path,
            "signed_in": self.access,
            "base_url": self.base_url,
            "api_url": self.api_url,
        }

    def json(self, text: str | bytes, status: int = 200) -> Response:
        """What a script of a page asked for, which is JSON already."""
        sent = guard.headers(secure=self.secure) | {"cache-control": "no-store"}
        return Response(text, status, sent, media_type="application/json")

    def go(self, path: str) -> Response:
        """On to another page, by GET."""
        sent = guard.headers(secure=self.secure) | {"location": path, "cache-control": "no-store"}
        return Response(status_code=303, headers=sent)

    # -- sessions -----------------------------------------------------------------------------------------------

    async def recognise(self) -> None:
        """Find out who is signed in, as things stand now."""
        operators, theirs = self._session(operator=True), self._session()
        if operators is not None:
            self.operator = await asyncio.to_thread(store.is_operators, self.state.database, operators)
        if theirs is not None:
            try:
                self.access = await self.accounts.resume(theirs)
            except Unauthorized:
                return

    def _session(self, *, operator: bool = False) -> str | None:
        """The id that the browser's cookie holds."""
        return self.site.sessions.read(self.request.cookies.get(self._cookie(operator=operator), ""))

    def require(self, needs: Needs) -> None:
        """Raises Unauthorized, Forbidden."""
        if needs == "operator" and not self.operator:
            raise Unauthorized("This page is the operator's.")
        if needs in ("account", "owner") and self.access is None:
            raise Unauthorized("Sign in first.", code="missing_credentials")
        if needs == "owner" and not self.signed_in.master:
            text = "You are signed in with a key. Keys and wallets are managed with the credit id: sign in with that."
            raise Forbidden(text, code="credit_id_required")

    async def sign_in(self, answer: Response, session: Session) -> Response:
        """The answer with the cookie of a new session. Raises Unavailable where nobody can sign in."""
        self.require_sessions()
        operator = session.account_id is None
        lasts_s = sessions.OPERATOR_LASTS_S if operator else sessions.LASTS_S
        id = await asyncio.to_thread(store.begin, self.state.database, session, lasts_s)
        name, value = self._cookie(operator=operator), self.site.sessions.written(id)
        answer.set_cookie(name, value, lasts_s, path="/", secure=self.secure, httponly=True, samesite="lax")
        return answer

    def require_sessions(self) -> None:
        if not self.site.sessions.possible:
            text = "Nobody can sign in to this site: its operator must set `secret_key`. The API works without."
            raise Unavailable(text, code="sign_in_unavailable")

    async def sign_out(self, answer: Response) -> Response:
        """End this browser's sessions, here and there."""
        for operator in (False, True):
            id = self._session(operator=operator)
            if id is not None:
                await asyncio.to_thread(store.end, self.state.database, id)
            name = self._cookie(operator=operator)
            answer.delete_cookie(name, path="/", secure=self.secure, httponly=True, samesite="lax")
        return answer

    def _cookie(self, *, operator: bool = False) -> str:
        return sessions.cookie_name(secure=self.secure, operator=operator)
