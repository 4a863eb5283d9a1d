"""A caller's body for an upstream of the same dialect, other than chat: untouched but for what must be ours. Pure."""

from __future__ import annotations

from typing import Any, Final

from perquery.calls import Call, Dialect

_CAPS: Final[dict[Dialect, str]] = {"anthropic": "max_tokens", "openai-responses": "max_output_tokens"}


def native_body(call: Call, model: str, *, cap_tokens: int | None, stream: bool) -> dict[str, Any]:
    """The body with the upstream's model name; `cap_tokens` replaces the caller's cap where it is given."""
    body = {**(call.native or {}), "model": model, "stream": stream}
    if cap_tokens is not None:
        body[_CAPS[call.dialect]] = cap_tokens
    return body
