"""What an upstream's failure means: from status, headers and body to errors.UpstreamError. Pure.

The order: the vendor's own code, then how its message begins, then the status. A message is read only at its
beginning where it may quote the caller: whoever names a tool "billing" must not take a host out of service. The
vendor's text is kept with keys and organisations cut out; metering shows it only where the caller's own request
was refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeGuard

import orjson

from perquery.errors import UpstreamError, UpstreamKind
from perquery.outbound import OutboundError

TEXT_MAX: Final = 2_000
CODE_MAX: Final = 100
WAIT_S_MAX: Final = 86_400
_SECRETS: Final = re.compile(
    r"\b(?:sk|gsk|xai|pplx|csk|fw|nvapi|hf|r8|ghp|github_pat)[-_][A-Za-z0-9_*.-]{6,}|AIza[A-Za-z0-9_-]{10,}"
    r"|\b(?:org|proj|user|acct|team)[-_][A-Za-z0-9]{8,}"
)
_CODES: Final[Mapping[str, UpstreamKind]] = {
    # OpenAI, Moonshot, Anthropic, DashScope, Novita
    **dict.fromkeys(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"), "funds"),
    **dict.fromkeys(("exceeded_current_quota_error", "billing_error", "arrearage", "not_enough_balance"), "funds"),
    **dict.fromkeys(("insufficient_balance", "insufficient_credits", "payment_required"), "funds"),
    **dict.fromkeys(("invalid_api_key", "authentication_error", "invalid_authentication_error"), "auth"),
    **dict.fromkeys(("permission_error", "account_deactivated", "unsupported_country_region_territory"), "auth"),
    **dict.fromkeys(("model_not_found", "model_not_available", "invalid_model", "model_not_exist"), "model"),
    # Groq says 413 to what is more than the account's tokens a minute.
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "overloaded_error", "engine_overloaded_error"), "busy"),
    # ElevenLabs, Deepgram
    **dict.fromkeys(("quota_exceeded", "asr_payment_required"), "funds"),
    **dict.fromkeys(("invalid_auth", "missing_permissions", "insufficient_permissions"), "auth"),
    **dict.fromkeys(("too_many_concurrent_requests", "system_busy"), "busy"),
    **dict.fromkeys(("voice_not_found", "max_character_limit_exceeded"), "refused"),
    **dict.fromkeys(("content_policy_violation", "content_filter", "data_inspection_failed"), "refused"),
}
# For errors that come without a status.
_BARE_CODES: Final[Mapping[str, UpstreamKind]] = {
    **dict.fromkeys(("invalid_request_error", "badrequesterror", "invalid_argument", "bad_request"), "refused"),
    **dict.fromkeys(("context_length_exceeded", "exceed_context_size_error", "tool_use_failed"), "refused"),
    **dict.fromkeys(("overloaded", "too_many_requests", "resource_exhausted", "unavailable"), "busy"),
    **dict.fromkeys(("not_found_error", "not_found"), "model"),
}
_STATUSES: Final[Mapping[int, UpstreamKind]] = {
    **dict.fromkeys((400, 410, 413, 414, 422, 431, 451), "refused"),  # xAI's 410: a parameter that is gone
    **dict.fromkeys((401, 403), "auth"),
    402: "funds",
    404: "model",
    408: "timeout",
    **dict.fromkeys((429, 498, 529), "busy"),  # 498: Groq's flex capacity
}
# How messages begin, where the status alone would mislead.
_BEGINNINGS: Final[tuple[tuple[frozenset[int], UpstreamKind, re.Pattern[str]], ...]] = (
    # Anthropic and DeepSeek; Anthropic says both with a 400: an empty account, and the operator's own monthly limit.
    (
        frozenset({400, 403, 429}),
        "funds",
        re.compile(
            r"your credit balance is too low|you have reached your specified api usage limits"
            r"|insufficient (?:balance|credits?|funds)",
            re.IGNORECASE,
        ),
    ),
    # Google and xAI answer 400 to a wrong key, Anthropic to a disabled organization, Google to some countries.
    (
        frozenset({400}),
        "auth",
        re.compile(
            r"(?:incorrect|invalid) api key|api key (?:not valid|not found|expired)"
            r"|this organization has been disabled|user location is not supported",
            re.IGNORECASE,
        ),
    ),
    # DeepSeek, Mistral, Z.AI, OpenRouter, Together; OpenAI for models that are for verified organizations only.
    (
        frozenset({400, 422}),
        "model",
        re.compile(
            r"model not exist|(?:invalid|unknown) model\b|\S{1,150} is not a valid model id"
            r"|the model .{1,150} (?:does not exist|is not available)|your organization must be verified",
            re.IGNORECASE,
        ),
    ),
    # OpenRouter: 403 for what its moderation flags, 404 for what the caller's own parameters rule out. xAI: 403.
    (
        frozenset({403}),
        "refused",
        re.compile(r".{0,80}(?:flagged|moderation|usage guidelines|content policy)", re.IGNORECASE),
    ),
    (
        frozenset({404}),
        "refused",
        re.compile(r"no (?:endpoints found (?:that|matching)|allowed providers)", re.IGNORECASE),
    ),
)
# Said of the account where no caller is quoted: too many requests, no permission, a failed precondition.
_EMPTY: Final = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|credit balance|out of credits|used all available credits"
    r"|monthly spending limit|included credits|not enough balance|exhausted balance|payment required|is suspended",
    re.IGNORECASE,
)
_ACCOUNT_STATUSES: Final = frozenset({402, 403, 412, 429})
_OVERLOADED: Final = re.compile(r"overloaded|rate[_ ]limit|too many requests|capacity", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an error body says. codes: its code and type, in lower case."""

    message: str
    code: str | None = None
    param: str | None = None
    status: int | None = None
    codes: tuple[str, ...] = ()


def broke(error: OutboundError) -> UpstreamError:
    """A failure of the connection. What was cut after it was sent may still be billed there."""
    kind: UpstreamKind = "timeout" if error.kind in ("timeout", "idle") else "down"
    if error.kind == "protocol":
        kind = "garbage"
    return UpstreamError(kind, f"{error.kind}: {error.message}", sent=error.sent)


def answered(status: int, headers: Mapping[str, str], body: bytes, secret: str = "") -> UpstreamError:
    """A status other than 200. secret: the key that was used, in case the host repeats it."""
    told = _told(_parsed(body), f"the upstream answered {status}")
    message = told.message.replace(secret, "[redacted]") if secret else told.message
    return UpstreamError(
        _kind(status, told),
        message,
        status=status,
        code=told.code,
        param=told.param,
        retry_after_s=_retry_after_s(headers),
    )


def within(error: Any) -> UpstreamError:
    """An error object in the place of an answer or of an event, its status (if any) in its code."""
    told = _told(error, "the upstream failed within its answer")
    return UpstreamError(_kind(told.status, told), told.message, status=told.status, code=told.code, param=told.param)


def _kind(status: int | None, told: _Told) -> UpstreamKind:
    for code in told.codes:
        if code in _CODES:
            return _CODES[code]
    for statuses, kind, beginning in _BEGINNINGS:
        if (status in statuses or status is None) and beginning.match(told.message):
            return kind
    if status is None:
        known = next((_BARE_CODES[code] for code in told.codes if code in _BARE_CODES), None)
        return known or ("busy" if _OVERLOADED.search(told.message) else "down")
    if status in _ACCOUNT_STATUSES and _EMPTY.search(told.message):
        return "funds"
    if status == 503 and _OVERLOADED.search(told.message):
        return "busy"
    return _STATUSES.get(status, "down")


def _parsed(body: bytes) -> Any:
    """The body as JSON; else as text, unless it is a page for people."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:TEXT_MAX].decode("utf-8", "replace").strip()
        return None if text.startswith("<") else text


def _told(body: Any, otherwise: str) -> _Told:
    """The message, code, parameter and status out of any vendor's error."""
    while isinstance(body, list) and body:  # Google wraps its errors in an array
        body = body[0]
    error: Any = body.get("error") or body if isinstance(body, dict) else body
    if not isinstance(error, dict):  # xAI: the text under `error`, the code beside it
        outer = body if isinstance(body, dict) else {}
        return _named(outer, _text(_words(error)) or otherwise)
    if isinstance(error.get("detail"), dict):  # ElevenLabs
        error = error["detail"]
    message = _text(_words(error.get("message") or error.get("detail") or error.get("msg") or error.get("err_msg")))
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str):  # OpenRouter: what the provider behind it said
        inner = _told(_parsed(raw.encode("utf-8", "replace")), "")
        message = f"{message}: {inner.message}" if inner.message else message
    return _named(error, message[:TEXT_MAX] or otherwise)


def _named(error: Mapping[str, Any], message: str) -> _Told:
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    names = [
        name[:CODE_MAX]
        for name in (code, kind, *map(error.get, ("reason", "status", "err_code", "category")))
        if _is_name(name)
    ]
    number = _number(code) or _number(error.get("status_code"))
    return _Told(
        message,
        names[0] if names else str(code) if number is not None else None,
        param[:CODE_MAX] if isinstance(param, str) else None,
        number,
        tuple(name.lower() for name in names),
    )


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and not value.isdigit()


def _number(code: Any) -> int | None:
    """The code as an HTTP status, if it is one."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def _words(value: Any, depth: int = 4) -> str:
    """Text out of a message that may be an object or a list of complaints (FastAPI, Mistral)."""
    if isinstance(value, str):
        return value
    if not depth:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, [_words(item, depth - 1) for item in value[:20]]))
    if isinstance(value, dict):
        where = value.get("loc")
        place = ".".join(str(part)[:CODE_MAX] for part in where) + ": " if isinstance(where, list) else ""
        words = _words(value.get("message") or value.get("detail") or value.get("msg"), depth - 1)
        return place + words if words else ""
    return ""


def _text(words: str) -> str:
    return scrubbed(words[: 2 * TEXT_MAX])[:TEXT_MAX]


def scrubbed(text: str) -> str:
    """The text without API keys and names of accounts."""
    return _SECRETS.sub("[redacted]", text)


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Whole seconds, rounded up, from `retry-after-ms` (OpenAI), or `retry-after`: seconds, or a date beside `date`."""
    if (value := headers.get("retry-after-ms", "").strip()) and value.isascii() and value.isdigit():
        return min(-(-int(value[:12]) // 1000), WAIT_S_MAX)
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        whole, _, part = value.partition(".")
        return min(int(whole[:9] or 0) + bool(part.strip("0")), WAIT_S_MAX)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0, round(wait.total_seconds())), WAIT_S_MAX)
