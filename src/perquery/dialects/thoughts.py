"""Thinking that has to come back unchanged: `reasoning_details` of the internal form (docs/dialects.md). Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Any, Final

import orjson

PACKED: Final = "pq1."  # begins a seal of our own: a vendor's thinking in the place of another's
ANTHROPIC: Final = "anthropic-claude-v1"
GEMINI: Final = "google-gemini-v1"
RESPONSES: Final = "openai-responses-v1"


def joined(details: Iterable[Any], format: str) -> list[dict[str, Any]]:
    """One format's details; the pieces of a thought as one, which its signature ends."""
    made: list[dict[str, Any]] = []
    for detail in details:
        if not isinstance(detail, dict) or detail.get("format") != format:
            continue
        last = made[-1] if made else None
        goes_on = last is not None and last.get("type") == detail.get("type") == "reasoning.text"
        if last is not None and goes_on and not last.get("signature"):
            last["text"] = (last.get("text") or "") + (detail.get("text") or "")
            if detail.get("signature"):
                last["signature"] = detail["signature"]
        else:
            made.append(dict(detail))
    return made


def packed(details: Iterable[Any], own: str) -> str:
    """Other vendors' thinking as a seal, for callers whose shape has a place only for `own`.

    "" where none of it has to come back: what is neither encrypted nor signed is mere text.
    """
    others = [one for one in details if isinstance(one, dict) and one.get("format") not in (None, own, "unknown")]
    if not any(one.get("type") == "reasoning.encrypted" or one.get("signature") for one in others):
        return ""
    return PACKED + b64encode(orjson.dumps(others)).decode()


def unpacked(sealed: str) -> list[dict[str, Any]]:
    """Other vendors' thinking out of a seal of ours; what is not ours is nothing."""
    try:
        found = orjson.loads(b64decode(sealed.removeprefix(PACKED), validate=True))
    except (NotBase64, ValueError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def effort_of(budget_tokens: int) -> str:
    """The effort that a budget of tokens amounts to, for models that are told no budget."""
    return "low" if budget_tokens <= 2_048 else "medium" if budget_tokens <= 8_192 else "high"


def wished(thinking: Any) -> dict[str, Any]:
    """Anthropic's `thinking`, which some tools send in chat too, as `reasoning`."""
    given = thinking if isinstance(thinking, dict) else {}
    match given.get("type"):
        case "enabled":
            budget = given.get("budget_tokens")
            return {"max_tokens": budget} if type(budget) is int and budget > 0 else {"enabled": True}
        case "adaptive":
            return {"enabled": True}
        case "disabled":
            return {"enabled": False}
    return {}
