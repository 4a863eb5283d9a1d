"""How a video job is shown to its caller: PPQ's object and OpenAI's in one, the status in the caller's words. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from perquery import money
from perquery.store.jobs import JobRow

Word = Literal["queued", "in_progress", "completed", "failed"]
_SIZES: Final = {
    "second_480p": "480p",
    "second_720p": "720p",
    "second_1080p": "1080p",
    "second_1440p": "2k",
    "second_2160p": "4k",
}


def word(row: JobRow) -> Word:
    """OpenAI's word for its state."""
    match row.state:
        case "completed" | "failed" as ended:
            return ended
        case "running" | "settling":
            return "in_progress"
        case "releasing":
            return "in_progress"
        case _:
            return "queued"


def shown(row: JobRow, base_url: str) -> dict[str, Any]:
    """A value for `money.json`. base_url: where this gateway is reached, "" for a path alone."""
    counts = orjson.loads(row.counts)
    unit, seconds = next(((unit, n) for unit, n in counts.items() if unit.startswith("second")), ("second", 0))
    pending = not row.ended
    body: dict[str, Any] = {
        "id": row.id,
        "object": "video",
        "model": row.model,
        "status": "pending" if pending and row.shape == "ppq" else word(row),
        "state": word(row),
        "progress": row.progress,
        "created": row.created_at // 1000,
        "created_at": row.created_at // 1000,
        "completed_at": row.ended_at // 1000 if row.state == "completed" and row.ended_at else None,
        "expires_at": row.content_until // 1000 if row.content_until else None,
        "seconds": str(seconds),
        "size": _SIZES.get(unit, ""),
        "error": None,
    }
    if row.state == "completed":
        url = f"{base_url.rstrip('/')}/v1/media/{row.id}/0?token={row.token}"
        body |= {"cost": money.number(row.cost_nano or 0), "data": {"url": url, "content_type": row.media_type}}
    elif row.state == "failed":
        body |= {"cost": money.number(0), "error": {"code": row.error_code, "message": row.error}}
    else:
        body["estimated_cost"] = money.number(row.quoted_nano)
    return body
