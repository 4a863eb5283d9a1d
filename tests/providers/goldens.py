"""The goldens of tests/goldens: a folder a host, with what it answers, written from its published shapes.

plain: a body; stream: the payloads of its events; usage: usage objects; error: statuses and bodies. Each with what
is to be understood of it. `perquery providers check --record` writes the same form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perquery.calls import Event

FOLDER = Path(__file__).parents[1] / "goldens"


def golden(host: str, kind: str) -> Any:
    return json.loads((FOLDER / host / f"{kind}.json").read_text("utf-8"))


def encoded(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode()


def understood(events: list[Event]) -> dict[str, Any]:
    """What events came to, in the form of a golden's `expect`."""
    usages = [event.usage for event in events if event.usage is not None]
    finishes = [event.finish for event in events if event.finish is not None]
    return {
        "text_bytes": sum(event.text_bytes for event in events),
        "finish": finishes[-1] if finishes else None,
        "counts": dict(usages[-1].counts) if usages else None,
        "upstream_cost_pico": usages[-1].upstream_cost_pico if usages else None,
    }
