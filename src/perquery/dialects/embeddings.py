"""POST /v1/embeddings, the caller's side: OpenAI's body in, its answer out. Pure.

What is asked of upstreams is always floats; the caller gets them as asked, with the price in `usage`.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from typing import Any, Final

from perquery import money
from perquery.calls import Figures, Unit, Work
from perquery.dialects.chat_out import usage_object
from perquery.dialects.fields import check_types, is_count, is_integer, is_text, require
from perquery.dialects.forms import Form

INPUTS_MAX: Final = 2_048
_BYTES_PER_TOKEN: Final = 4
_FRAME_TOKENS: Final = 8  # that a vendor may put around each text


def parse(form: Form) -> Work:
    """Raises BadRequest."""
    body = form.fields
    require(is_text(body.get("model")) and body["model"] != "", "model", "the name of a model")
    check_types(body, {"dimensions": is_count, "user": is_text, "encoding_format": is_text, "input_type": is_text})
    format = body.get("encoding_format") or "float"
    require(format in ("float", "base64"), "encoding_format", '"float" or "base64"')
    texts = _inputs(body.get("input"))
    most: dict[Unit, int] = {"input": sum(_tokens_most(text) for text in texts)}
    likely: dict[Unit, int] = {"input": max(1, sum(_tokens_likely(text) for text in texts))}
    asked = {name: body[name] for name in ("dimensions", "input_type") if body.get(name) is not None}
    return Work(
        kind="embedding",
        model=body["model"],
        body={"input": texts, "encoding_format": "float"} | asked,
        most=lambda _: most,
        likely=likely,
        render=lambda answer, figures: _rendered(answer, figures, body["model"], base64_wanted=format == "base64"),
        retried=True,
    )


def _inputs(given: Any) -> list[Any]:
    """The texts, or lists of tokens, one for each embedding."""
    expected = "a text, an array of texts, of tokens, or of arrays of tokens; none of them empty"
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    require(isinstance(given, list) and 0 < len(given) <= INPUTS_MAX, "input", f"{expected}; at most {INPUTS_MAX}")
    all_texts = all(isinstance(one, str) and one for one in given)
    require(all_texts or all(_is_tokens(one) for one in given), "input", expected)
    found: list[Any] = given
    return found


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(is_integer(one) and 0 <= one < 2**31 for one in given)


def _tokens_most(one: str | list[int]) -> int:
    """A token stands for at least a byte."""
    return (len(one.encode("utf-8", "replace")) if isinstance(one, str) else len(one)) + _FRAME_TOKENS


def _tokens_likely(one: str | list[int]) -> int:
    return -(-len(one.encode("utf-8", "replace")) // _BYTES_PER_TOKEN) if isinstance(one, str) else len(one)


def _rendered(answer: Mapping[str, Any], figures: Figures, model: str, *, base64_wanted: bool) -> bytes:
    rows = [row | {"embedding": _as(row["embedding"], base64_wanted)} for row in answer["data"]]
    usage = usage_object(figures)
    usage.pop("completion_tokens", None)
    return money.json({"object": "list", "data": rows, "model": model, "usage": usage})


def _as(vector: Any, base64_wanted: bool) -> Any:
    """A vector as the caller wants it; some upstreams answer in base64 whatever they are asked."""
    if isinstance(vector, str) == base64_wanted:
        return vector
    floats = array("f")
    if base64_wanted:
        floats.extend(vector)
        return base64.b64encode(_little(floats)).decode("ascii")
    floats.frombytes(base64.b64decode(vector))
    _little(floats)
    return floats.tolist()


def _little(floats: array[float]) -> array[float]:
    """In the byte order of the wire."""
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
