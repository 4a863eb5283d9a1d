"""Stripe's API: the official SDK writes the requests, our own client carries them.

Nothing leaves but what Stripe needs: no telemetry, nothing about this machine. Nothing is sent twice: whether a
question may be repeated is known only to whoever asks. This module must never let a key into an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import stripe

from perquery import money
from perquery.outbound import Client, OutboundError
from perquery.rails.node import ANSWER_BYTES_MAX, TIMEOUT_S, Refused, field
from perquery.rails.rail import RailDown

NAME: Final = "Stripe"
URL: Final = "https://api.stripe.com"
PAGE: Final = 100  # Stripe's largest
_PAGES_MAX: Final = 10
_KEY: Final = re.compile(r"(?P<kind>sk|rk)_(?P<mode>live|test)_[A-Za-z0-9_]{8,}")
_HEADERS: Final = frozenset({"authorization", "content-type", "idempotency-key", "stripe-version"})


class StripeApi:
    """key: a restricted or a secret one; ValueError where it is neither. url: without a final slash.

    live: whether the key moves real money; whole: whether it may do everything that the account may.
    """

    def __init__(self, client: Client, key: str, url: str = URL) -> None:
        known = _KEY.fullmatch(key)
        if known is None:
            wrong = "is empty" if not key.strip() else "is none"
            raise ValueError(f"key: {wrong}; it is a restricted key (rk_live_…, rk_test_…) of Stripe's API")
        self.live = known["mode"] == "live"
        self.whole = known["kind"] == "sk"
        stripe.enable_telemetry = False  # the SDK knows no other place for it
        self._stripe = stripe.StripeClient(
            key, http_client=_Outbound(client, key), base_addresses={"api": url.rstrip("/")}, max_network_retries=0
        )

    async def get(self, path: str, **query: Any) -> Mapping[str, Any]:
        """Raises Refused, RailDown. Numbers in the answer are int or Decimal. path: of words and ids, joined by /."""
        return await self._ask("get", path, query)

    async def post(self, path: str, fields: Mapping[str, Any], *, idempotency_key: str) -> Mapping[str, Any]:
        """As `get`. The same key and fields do nothing twice."""
        return await self._ask("post", path, {**fields, "idempotency_key": idempotency_key})

    async def listed(self, path: str, **query: Any) -> list[Any]:
        """All of a list, newest first. Raises RailDown also where there is no end of it."""
        found: list[Any] = []
        for _ in range(_PAGES_MAX):
            page = await self.get(path, limit=PAGE, **query)
            data = field(NAME, page, "data", list)
            found += data
            if not field(NAME, page, "has_more", bool) or not data:
                return found
            query["starting_after"] = field(NAME, data[-1], "id", str)
        raise RailDown(f"{NAME} lists more than {len(found)} of {path}")

    async def _ask(self, method: str, path: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = await self._stripe.raw_request_async(method, f"/v1/{quote(path)}", **fields)
            found = money.from_json(answer.body)
        except (stripe.StripeError, ValueError):
            raise RailDown(f"{NAME} answered something else than JSON") from None
        if not isinstance(found, Mapping):
            raise RailDown(f"{NAME} answered without an object")
        return found


class _Outbound(stripe.HTTPClient):
    """What the SDK sends, by our client. Errors are read here: the SDK trips over those that are not in their shape."""

    name = "perquery"

    def __init__(self, client: Client, key: str) -> None:
        super().__init__()
        self._client = client
        self._key = key

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        sent = {name.lower(): value for name, value in headers.items() if name.lower() in _HEADERS}
        body = post_data.encode() if isinstance(post_data, str) else post_data or b""
        try:
            async with await self._client.request(
                method.upper(), url, headers=sent, body=body, timeout_s=TIMEOUT_S, idle_timeout_s=TIMEOUT_S
            ) as response:
                data = await response.read(ANSWER_BYTES_MAX)
        except OutboundError as error:
            raise RailDown(f"{NAME} does not answer: {error}") from error
        text = data.decode("utf-8", "replace")
        if response.status >= 300:
            raise Refused(NAME, response.status, _reason(text.replace(self._key, "…")))
        return text.encode(), response.status, {}


def _reason(text: str) -> Any:
    """What Stripe says is wrong: the fields of its error that help, or its text."""
    try:
        error = money.from_json(text)["error"]
        told = {name: error.get(name) for name in ("type", "code", "param", "message")}
    except (ValueError, TypeError, KeyError, AttributeError):
        return text
    return {name: said for name, said in told.items() if isinstance(said, str)}
