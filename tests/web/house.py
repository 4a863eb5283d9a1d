"""The whole application in this process, and a browser of the simplest kind: it keeps cookies and says where it is.

`visit(folder, body)` runs `body` with a House; nothing listens on a port.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlencode

from perquery import money
from perquery.accounts import Made
from perquery.app import create_app
from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting, Settings
from perquery.store import queries
from perquery.store.operations import Credit
from tests.store.calls import called as booked
from tests.store.calls import id_at
from tests.upstream import ScriptedUpstream, scripted

T = TypeVar("T")
HOST: Final = "gateway.test"
OPERATOR_KEY: Final = "an-operator-key-of-32-characters"
STUB: Final = ModelSetting(
    id="stub-model",
    aliases=("stub",),
    routes=(RouteSetting(provider="host", model="m"),),
    price_usd_per_million=PriceSetting(input=Decimal(1), output=Decimal(2)),
)
HOSTED: Final = Provider(name="host", dialect="openai-chat", base_url="http://127.0.0.1:9/v1", api_keys=("k",))


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back. headers: names in lower case; set_cookies: as they were sent."""

    status: int
    headers: dict[str, str]
    set_cookies: tuple[str, ...]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a reader sees: no tags, no entities, single blanks."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


@dataclass(slots=True)
class Browser:
    """One visitor. Forms are sent as from a page of ours unless `headers` say otherwise."""

    app: Any
    state: dict[str, Any]
    address: str = "127.0.0.1"
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Seen:
        return await self._ask("GET", path, {"accept": "text/html,*/*;q=0.8"} | _named(headers), b"")

    async def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Seen:
        ours = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", path, ours | _named(headers), urlencode(fields or {}).encode())

    async def ask(
        self, path: str, body: Any = None, method: str = "POST", *, leaves: asyncio.Event | None = None, **headers: str
    ) -> Seen:
        """Ask the API as a script of a page does. leaves: when the visitor does so before the answer is there."""
        ours = {"sec-fetch-site": "same-origin"} | ({} if body is None else {"content-type": "application/json"})
        raw = b"" if body is None else json.dumps(body).encode()
        return await self._ask(method, f"/ask{path}", ours | _named(headers), raw, stays=leaves or asyncio.Event())

    async def send(self, path: str, body: Any, **headers: str) -> Seen:
        """JSON, as a script of a page does."""
        ours = {"sec-fetch-site": "same-origin", "content-type": "application/json"}
        return await self._ask("POST", path, ours | _named(headers), json.dumps(body).encode())

    async def sign_in(self, credential: str) -> Seen:
        return await self.post("/sign-in", {"credential": credential})

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        messages: list[Any] | None = None,
        stays: asyncio.Event | None = None,
    ) -> Seen:
        sent = {"host": HOST} | {name: value for name, value in headers.items() if value}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await ask(self.app, self.state, method, path, sent, body, (self.scheme, self.address), messages, stays)
        for cookie in answer.set_cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value.strip('"'):
                self.cookies[name] = value
        return answer


@dataclass(slots=True)
class House:
    """The application, its parts by name, and an account with a dollar and a half."""

    app: Any
    state: dict[str, Any]
    made: Made

    def browser(self, address: str = "127.0.0.1", scheme: str = "http") -> Browser:
        return Browser(self.app, self.state, address, scheme)

    async def called(self, cost_nano: int, *, number: int = 0, **columns: Any) -> str:
        """A call of the account's first key, held and settled; its id."""
        (key, *_) = await self.state["accounts"].keys(self.made.account_id)
        at_ms = self.state["database"].now_ms()
        for operation in booked(self.made.account_id, key.id, at_ms, cost_nano, number=number, **columns):
            assert (await self.state["ledger"].submit(operation)).status == "APPLIED"
        return id_at(at_ms, number)

    async def balance_nano(self) -> int:
        """Of the account, as its pages show it."""
        figures = await asyncio.to_thread(queries.figures, self.state["database"], self.made.account_id)
        assert figures["held"] == 0
        return figures["balance"]

    async def owner(self) -> Browser:
        """A browser in which the account's owner is signed in."""
        browser = self.browser()
        assert (await browser.sign_in(self.made.credit_id)).status == 303
        return browser


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def ask(
    app: Any,
    state: Mapping[str, Any],
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    source: tuple[str, str] = ("http", "127.0.0.1"),
    messages: list[Any] | None = None,
    stays: asyncio.Event | None = None,
) -> Seen:
    """One request. source: the scheme, and the client's address; messages: gets what was sent, also where it breaks;
    stays: the client does not hang up before this.
    """
    messages = [] if messages is None else messages
    target, _, query = path.partition("?")
    scheme, address = source
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(target),
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (address, 40_000),
        "server": (HOST, 80),
        "state": dict(state),
    }
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not pending and stays is not None:
            await stays.wait()
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    named = [(name.decode().lower(), value.decode()) for name, value in messages[0]["headers"]]
    cookies = tuple(value for name, value in named if name == "set-cookie")
    return Seen(messages[0]["status"], dict(named), cookies, b"".join(m.get("body", b"") for m in messages[1:]))


def visit(folder: Path, body: Callable[[House], Awaitable[T]], **settings: Any) -> T:
    """Run `body` with a house that has these settings beside its own."""
    chosen = {"mode": "sandbox", "data": folder, "models": (STUB,), "providers": (HOSTED,)} | settings
    return asyncio.run(_visited(Settings.model_validate(chosen), body))


def called_upstream(folder: Path, body: Callable[[House, ScriptedUpstream], Awaitable[T]], **settings: Any) -> T:
    """The same, with an upstream that answers for the house's model; dropping its connection ends its bill."""

    async def run() -> T:
        async with scripted() as upstream:
            host = {**HOSTED.model_dump(), "base_url": upstream.base_url, "cancel_stops_billing": True}
            chosen = {"mode": "sandbox", "data": folder, "models": (STUB,), "providers": (host,)} | settings
            return await _visited(Settings.model_validate(chosen), lambda house: body(house, upstream))

    return asyncio.run(run())


async def _visited(settings: Settings, body: Callable[[House], Awaitable[T]]) -> T:
    app = create_app(settings)
    async with _living(app) as state:
        made = await state["accounts"].create("10.9.9.9")
        await state["ledger"].submit(Credit(made.account_id, "test:1", money.nano("1.5"), "deposits:test"))
        return await body(House(app, state, made))


@asynccontextmanager
async def _living(app: Any) -> AsyncIterator[dict[str, Any]]:
    """The application started, as a server starts it; its state."""
    state: dict[str, Any] = {}
    said: asyncio.Queue[Any] = asyncio.Queue()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    life = asyncio.create_task(app(scope, said.get, heard.put))
    said.put_nowait({"type": "lifespan.startup"})
    assert (await heard.get())["type"] == "lifespan.startup.complete"
    try:
        yield state
    finally:
        said.put_nowait({"type": "lifespan.shutdown"})
        await life
