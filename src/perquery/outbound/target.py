"""From method, URL and headers to the bytes of a request head: pure, and strict about what it writes.

This module must never put anything into a head that could end a line early, and never repeat a URL's query or
userinfo in an error message.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from perquery.outbound.errors import OutboundError
from perquery.outbound.guard import PORTS

# Written by this module alone: a second one would contradict the framing, the pool or the virtual host.
_OWN = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "accept-encoding",
        "expect",
        "upgrade",
        "te",
        "trailer",
    }
)
_PORT_OF = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[!-~]+")
_METHOD = re.compile(r"[A-Z]{1,16}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. `path` is what stands in the request line, `host_header` what stands in Host."""

    scheme: str
    host: str
    port: int
    host_header: str
    path: str
    userinfo: str | None

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def basic(self) -> str | None:
        """The URL's userinfo as a Basic credential, ready for an authorization header."""
        if self.userinfo is None:
            return None
        return "Basic " + b64encode(unquote(self.userinfo).encode()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's own address: "http" (absolute-form, CONNECT) or "socks5"; names are resolved at the proxy."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str | None
    authorization: str | None


def refuse(why: str) -> OutboundError:
    return OutboundError("refused", why, sent=False)


def _split(url: str, schemes: Mapping[str, int]) -> tuple[SplitResult, str, int]:
    """The URL's parts, its host as ASCII and its port; raises OutboundError("refused")."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:  # UnicodeError too: a label that is empty or longer than 63
        raise refuse("not a URL") from error
    if parts.scheme not in schemes:
        raise refuse(f"the scheme must be one of {', '.join(schemes)}")
    if not host or not _VISIBLE.fullmatch(host):
        raise refuse("the URL has no usable host")
    return parts, host, schemes[parts.scheme] if port is None else port


def parse(url: str) -> Target:
    """The target of an http or https URL. Anything but visible ASCII after the host must be percent-encoded."""
    parts, host, port = _split(url, _PORT_OF)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _VISIBLE.fullmatch(path):
        raise refuse("the URL's path holds a character that must be percent-encoded")
    shown = f"[{host}]" if ":" in host else host
    header = shown if port == _PORT_OF[parts.scheme] else f"{shown}:{port}"
    userinfo, at, _ = parts.netloc.rpartition("@")
    return Target(parts.scheme, host, port, header, path, userinfo if at else None)


def parse_proxy(url: str) -> Proxy:
    """A proxy from "http://[user:password@]host:port" or "socks5://…" (socks5h is the same: names stay remote)."""
    parts, host, port = _split(url, {"http": 80, "socks5": 1080, "socks5h": 1080})
    user = unquote(parts.username) if parts.username is not None else None
    password = unquote(parts.password) if parts.password is not None else None
    basic = None
    if user is not None:
        basic = "Basic " + b64encode(f"{user}:{password or ''}".encode()).decode("ascii")
    return Proxy("http" if parts.scheme == "http" else "socks5", host, port, user, password, basic)


def check_given(target: Target) -> None:
    """Raises OutboundError("refused") for what a caller-given URL may not hold; addresses come later."""
    if target.userinfo is not None:
        raise refuse("the URL must not hold a user or password")
    if target.port not in PORTS:
        raise refuse("the URL's port must be 80 or 443")


def head(
    method: str,
    target: Target,
    headers: Mapping[str, str],
    body_bytes: int,
    *,
    keep: bool = True,
    proxy_authorization: str | None = None,
    absolute: bool = False,
) -> bytes:
    """The request head. `absolute` writes the request line for an HTTP proxy.

    Raises ValueError for a header that only this module may write (our own mistake), OutboundError("refused")
    for a method, name or value that HTTP cannot carry.
    """
    start = _start(method, target, tuple(headers.items()), proxy_authorization, absolute)
    length = b"content-length: %d\r\n" % body_bytes if body_bytes or method not in ("GET", "HEAD") else b""
    return start + length + (b"\r\n" if keep else b"connection: close\r\n\r\n")


@lru_cache(maxsize=256)
def _start(
    method: str,
    target: Target,
    headers: tuple[tuple[str, str], ...],
    proxy_authorization: str | None,
    absolute: bool,
) -> bytes:
    """All but the length: a gateway says the same to the same hosts over and over."""
    where = f"http://{target.host_header}{target.path}" if absolute else target.path
    lines = [f"{method} {where} HTTP/1.1\r\nhost: {target.host_header}\r\naccept-encoding: identity\r\n"]
    given = set()
    for name, value in headers:
        lower = name.lower()
        if lower in _OWN:
            raise ValueError(f"header {lower} is written by the client")
        if not _NAME.fullmatch(name):
            raise refuse("a header's name is not one")
        given.add(lower)
        lines.append(f"{name}: {value}\r\n")
    if "user-agent" not in given:
        lines.append("user-agent: perquery\r\n")
    if target.userinfo is not None and "authorization" not in given:
        lines.append(f"authorization: {target.basic}\r\n")
    if proxy_authorization is not None:
        lines.append(f"proxy-authorization: {proxy_authorization}\r\n")
    return _encode(method, "".join(lines), len(lines) + 2)


def _encode(method: str, text: str, ends: int) -> bytes:
    """The head as bytes; `ends` is how many line ends were written here, so one more came in a value."""
    if text.count("\r") != ends or text.count("\n") != ends or "\0" in text:
        raise refuse("a header's value holds a line break or a NUL")
    if not _METHOD.fullmatch(method):
        raise refuse("the method is not one")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise refuse("a header's value is not Latin-1") from error
