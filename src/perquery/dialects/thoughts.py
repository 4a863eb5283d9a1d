"""Thinking that has to come back unchanged: `reasoning_details` of the internal form (docs/dialects.md). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

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
