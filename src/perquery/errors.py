"""The error tree: what can go wrong, its status and code, and how each API shape says it.

    PerQueryError
    ├── BadRequest 400            malformed JSON, a bad parameter, a field that we refuse
    ├── Unauthorized 401          no credential, or one that is unknown or revoked
    ├── PaymentRequired 402
    │   ├── InsufficientCredits   the balance does not cover the request
    │   └── KeyLimitExceeded      the key's own limit does not cover it
    ├── Forbidden 403
    │   └── AccountFrozen         a deposit was taken back after it was spent
    ├── NotFound 404
    │   └── ModelNotFound
    ├── Gone 410                  what was kept for its time
    ├── Conflict 409              an Idempotency-Key that is in use, or bound to another body
    ├── TooLarge 413
    ├── UnsupportedMedia 415      a file of a kind that we do not take
    ├── Unprocessable 422
    ├── TooManyRequests 429
    │   └── BalanceBackoff        hammering at a zero balance
    ├── InternalError 500
    └── Unavailable 503
        ├── UpstreamUnavailable   no upstream could answer; the reason is the operator's, not the caller's
        └── Overloaded            too many requests in flight here

    UpstreamError                 what an upstream did; metering turns it into one of the above, never the caller

This module must never import the rest of the package, and no message may hold a key, a path or a traceback.
The body is a superset that PPQ's clients, the OpenAI and Anthropic SDKs and Aider all read: the SDK shape
(`error.message`) and PPQ's (`status`, `statusCode`, `message`) side by side; either alone loses the text in
some client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Shape = Literal["openai", "anthropic"]
UpstreamKind = Literal["refused", "auth", "funds", "model", "busy", "down", "timeout", "garbage"]


class PerQueryError(Exception):
    """An error that a caller may see. `code` is stable and documented in docs/errors.md."""

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.headers = dict(headers or {})
        self.details = dict(details or {})


class BadRequest(PerQueryError):
    status, code, type = 400, "invalid_request", "invalid_request_error"


class Unauthorized(PerQueryError):
    status, code, type = 401, "invalid_api_key", "authentication_error"


class PaymentRequired(PerQueryError):
    status, code, type = 402, "insufficient_credits", "insufficient_balance"


class InsufficientCredits(PaymentRequired):
    """Aider stops at once only where the message holds both `insufficient credits` and `"code":402`."""


class KeyLimitExceeded(PaymentRequired):
    code = "key_limit_exceeded"


class Forbidden(PerQueryError):
    status, code, type = 403, "forbidden", "permission_error"


class AccountFrozen(Forbidden):
    code = "account_frozen"


class NotFound(PerQueryError):
    status, code, type = 404, "not_found", "not_found_error"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(PerQueryError):
    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class NoWebSocket(PerQueryError):
    """Codex opens a WebSocket first; of all statuses only this one makes it POST at once."""

    status, code, type = 426, "websocket_not_supported", "invalid_request_error"


class Gone(PerQueryError):
    status, code, type = 410, "gone", "not_found_error"


class Conflict(PerQueryError):
    status, code, type = 409, "conflict", "invalid_request_error"


class TooLarge(PerQueryError):
    status, code, type = 413, "request_too_large", "request_too_large"


class UnsupportedMedia(PerQueryError):
    status, code, type = 415, "unsupported_media_type", "invalid_request_error"


class Unprocessable(PerQueryError):
    status, code, type = 422, "unprocessable", "invalid_request_error"


class TooManyRequests(PerQueryError):
    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class BalanceBackoff(TooManyRequests):
    code = "balance_backoff"


class InternalError(PerQueryError):
    pass


class Unavailable(PerQueryError):
    status, code, type = 503, "unavailable", "server_error"


class UpstreamUnavailable(Unavailable):
    code = "upstream_unavailable"


class Overloaded(Unavailable):
    code = "overloaded"


class LedgerUnavailable(Unavailable):
    """The database did not answer in time; nothing was promised."""

    code = "ledger_unavailable"


class UpstreamError(Exception):
    """What an upstream did wrong, before or within its answer.

    kind: refused (its 400, 413, 422: the caller's own request), auth, funds, model (the house's troubles:
    dead key, empty account, unknown model there), busy (429, 529), down (5xx, no connection), timeout,
    garbage (an answer that is not the protocol's).
    sent: whether the request may have reached the upstream, so that it may bill it. request_id: what the upstream
    calls the request, where it has answered.
    """

    def __init__(
        self,
        kind: UpstreamKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind: UpstreamKind = kind
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.sent = sent
        self.request_id: str | None = None


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def status_in(error: PerQueryError, shape: Shape) -> int:
    """The HTTP status in that API shape: Messages says 529 where the others say 503."""
    return 529 if shape == "anthropic" and error.status == 503 else error.status


def body_in(error: PerQueryError, shape: Shape, request_id: str = "") -> dict[str, Any]:
    """The error's JSON object in an API shape, PPQ's fields included. A pure function."""
    status = status_in(error, shape)
    common = {"status": "error", "statusCode": status, "message": error.message}
    if shape == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        inner: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code, "param": error.param}
        return {"type": "error", "error": inner | error.details, "request_id": request_id, **common}
    inner = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    return {"error": inner | error.details, **common}
