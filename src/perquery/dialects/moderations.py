"""POST /v1/moderations, the caller's side: OpenAI's body in, its answer out. Pure.

The vendor takes nothing for it, and neither do we.
"""

from __future__ import annotations

from typing import Any, Final

from perquery import money
from perquery.calls import Unit, Work
from perquery.dialects.fields import check_types, is_text, require
from perquery.dialects.forms import Form

MODEL: Final = "omni-moderation-latest"
INPUTS_MAX: Final = 2_048
_NOTHING: Final[dict[Unit, int]] = {"input": 0}


def parse(form: Form) -> Work:
    """Raises BadRequest."""
    body = form.fields
    check_types(body, {"model": is_text})
    given = body.get("input")
    fine = is_text(given) or (
        isinstance(given, list) and 0 < len(given) <= INPUTS_MAX and (_are_texts(given) or all(map(_is_part, given)))
    )
    require(fine, "input", "a text, an array of texts, or one of parts (text and image_url)")
    return Work(
        kind="moderation",
        model=body.get("model") or MODEL,
        body={"input": given},
        most=lambda _: _NOTHING,
        likely=_NOTHING,
        render=lambda answer, _: money.json(answer),
        retried=True,
    )


def _are_texts(given: list[Any]) -> bool:
    return all(isinstance(one, str) for one in given)


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    image = part.get("image_url")
    return (part.get("type") == "text" and isinstance(part.get("text"), str)) or (
        part.get("type") == "image_url" and isinstance(image, dict) and isinstance(image.get("url"), str)
    )
