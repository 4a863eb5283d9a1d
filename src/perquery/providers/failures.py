"""What an upstream's failure means: from status, headers and body to errors.UpstreamError. Pure.

The vendor's text is kept only where it concerns the caller's own request, with keys and organisations cut out;
for everything else the text is for the operator's log and the caller gets ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from perquery.errors import UpstreamError, UpstreamKind
from perquery.outbound import OutboundError

_SECRETS: Final = re.compile(r"\b(?:sk|gsk|xai|pplx|key|org|proj|req)[-_][A-Za-z0-9_*.-]{6,}|AIza[A-Za-z0-9_-]{10,}")
_FUNDS: Final = re.compile(
    r"insufficient[_ ]quota|credit balance|insufficient (?:balance|credits?|funds)|billing|exceeded your current quota"
    r"|payment required|out of credits|spending limit",
    re.IGNORECASE,
)
_MODEL: Final = re.compile(
    r"model[_ ]not[_ ]found|model .{0,80}(?:does not exist|not found|not exist|is not available)|no such model"
    r"|unknown model|invalid model",
    re.IGNORECASE,
)
_BUSY: Final = re.compile(r"overloaded|rate[_ ]limit|too many requests|capacity", re.IGNORECASE)
_TEXT_MAX: Final = 2_000


def broke(error: OutboundError) -> UpstreamError:
    """A failure of the connection. What was cut after it was sent may still be billed there."""
    kind: UpstreamKind = "timeout" if error.kind in ("timeout", "idle") else "down"
    if error.kind == "protocol":
        kind = "garbage"
    return UpstreamError(kind, f"{error.kind}: {error.message}", sent=error.sent)


def answered(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A status other than 200, or a failure told in the body of one."""
    message, code, param = _told(body)
    kind = _kind(status, f"{code or ''} {message}")
    return UpstreamError(
        kind, message, status=status, code=code, param=param, retry_after_s=_retry_after_s(headers), sent=True
    )


def in_stream(error: Any) -> UpstreamError:
    """An error object in the place of an event."""
    message, code, _ = _fields(error)
    status = code if isinstance(code, int) else None
    text = f"{code or ''} {message}"
    kind: UpstreamKind = _kind(status, text) if status else ("busy" if _BUSY.search(text) else "down")
    return UpstreamError(kind, message, status=status, code=str(code) if code else None, sent=True)


def _kind(status: int, text: str) -> UpstreamKind:
    if status in (400, 413, 422):
        if _FUNDS.search(text):
            return "funds"
        return "model" if _MODEL.search(text) else "refused"
    if status in (402, 403, 429) and _FUNDS.search(text):
        return "funds"
    by_status: dict[int, UpstreamKind] = {
        401: "auth", 402: "funds", 403: "auth", 404: "model", 408: "timeout", 429: "busy", 529: "busy"
    }  # fmt: skip
    return by_status.get(status) or ("busy" if status == 503 and _BUSY.search(text) else "down")


def _told(body: bytes) -> tuple[str, str | None, str | None]:
    """(message, code, parameter) out of any vendor's error body."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _clean(body[:_TEXT_MAX].decode("utf-8", "replace")), None, None
    if isinstance(parsed, list) and parsed:  # Google wraps its errors in an array
        parsed = parsed[0]
    found = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    message, code, param = _fields(found)
    return message, str(code) if code is not None else None, param


def _fields(error: Any) -> tuple[str, Any, str | None]:
    if not isinstance(error, dict):
        return _clean(str(error)), None, None
    message = error.get("message") or error.get("detail") or error.get("msg") or "the upstream failed"
    code = error.get("code") or error.get("type")
    param = error.get("param")
    return _clean(str(message)), code, param if isinstance(param, str) else None


def _clean(text: str) -> str:
    return _SECRETS.sub("[redacted]", text)[:_TEXT_MAX]


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """`retry-after` in seconds, from seconds or an HTTP date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(int(value.partition(".")[0][:9] or 0), 86_400)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0, round((when.astimezone(UTC) - datetime.now(UTC)).total_seconds()))
