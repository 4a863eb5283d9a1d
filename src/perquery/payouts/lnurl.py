"""From a Lightning address or an LNURL to an invoice (LUD-01, LUD-06, LUD-16).

Where these lead is chosen by callers: only public addresses are asked, over TLS, once resolved, without redirects.
What comes back is an invoice that nobody has verified yet: that is for whoever asked. It must never log a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from perquery import money
from perquery.config import is_loopback
from perquery.outbound import Client, OutboundError
from perquery.rails import bech32

TIMEOUT_S: Final = 10.0
_ANSWER_BYTES_MAX: Final = 64 * 1024
_ADDRESS: Final = re.compile(r"([a-z0-9._+-]{1,64})@([a-z0-9.:\[\]-]{1,255})")
_WORDS_MAX: Final = 200
_URL_MAX: Final = 2_000


class Unusable(Exception):
    """There is no invoice to be had; the words are for the caller."""


class Resolver:
    """local: whether loopback addresses may be asked, without TLS: the sandbox's."""

    def __init__(self, client: Client, *, local: bool) -> None:
        self._client = client
        self._local = local

    async def invoice(self, destination: str, amount_msat: int) -> str:
        """An invoice over exactly that amount, as the destination's service says. Raises Unusable."""
        offer = await self._asked(self._url(destination))
        least, most, callback = offer.get("minSendable"), offer.get("maxSendable"), offer.get("callback")
        if offer.get("tag") != "payRequest" or type(least) is not int or type(most) is not int:
            raise Unusable("it does not take payments (no LNURL-pay)")
        if not least <= amount_msat <= most:
            raise Unusable(f"it takes {-(-least // 1000)} to {most // 1000} sat at once, not {amount_msat // 1000}")
        if not isinstance(callback, str) or "#" in callback or len(callback) > _URL_MAX:
            raise Unusable("it gave no usable callback")
        answer = await self._asked(f"{callback}{'&' if urlsplit(callback).query else '?'}amount={amount_msat}")
        invoice = answer.get("pr")
        if not isinstance(invoice, str):
            raise Unusable("it gave no invoice")
        return invoice

    def _url(self, destination: str) -> str:
        """The URL that a destination stands for. Raises Unusable."""
        text = destination.strip().lower().removeprefix("lightning:")
        if match := _ADDRESS.fullmatch(text):
            name, host = match.groups()
            scheme = "http" if self._local and is_loopback(f"http://{host}") else "https"
            return f"{scheme}://{host}/.well-known/lnurlp/{name}"
        try:
            readable, words = bech32.decode(text)
            url = bech32.bytes_of(words).decode("ascii")
        except (ValueError, UnicodeDecodeError) as error:
            raise Unusable("it is neither a Lightning invoice, nor a Lightning address, nor an LNURL") from error
        if readable != "lnurl" or len(url) > _URL_MAX:
            raise Unusable("it is no LNURL")
        return url

    async def _asked(self, url: str) -> Mapping[str, Any]:
        local = self._local and is_loopback(url)
        if not local and not url.startswith("https://"):
            raise Unusable("its service must be reached over https")
        try:
            async with await self._client.request(
                "GET",
                url,
                headers={"accept": "application/json"},
                timeout_s=TIMEOUT_S,
                idle_timeout_s=TIMEOUT_S,
                guard=not local,
            ) as response:
                data = await response.read(_ANSWER_BYTES_MAX)
        except OutboundError as error:
            refused = error.kind == "refused"
            raise Unusable("its address is not a public one" if refused else "its service does not answer") from error
        try:
            found = money.from_json(data)
        except ValueError:
            found = None
        if not isinstance(found, Mapping):
            raise Unusable(f"its service answered {response.status}, and no JSON object")
        if found.get("status") == "ERROR" or response.status != 200:
            said = " ".join(str(found.get("reason", "")).split())[:_WORDS_MAX]
            raise Unusable(f'its service refused: "{said}"' if said else f"its service answered {response.status}")
        return found
