"""Checks of a request's fields that every API shape shares: types, and the fields that we refuse or drop.

Pure. Two kinds of field never pass through: those that change what is billed without being priced here, and
those that name state in the operator's one upstream account, which other tenants share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Final

import orjson

from perquery.errors import BadRequest

# A body grows in memory: an empty object takes three bytes on the wire and sixty here. Larger ones are looked at.
LARGE_BYTES: Final = 2 * 2**20
VALUES_MAX: Final = 1_000_000

Check = Callable[[Any], bool]


def object_of(raw: bytes) -> dict[str, Any]:
    """A request's body as a JSON object. Raises BadRequest."""
    if len(raw) > LARGE_BYTES and _values_at_most(raw) > VALUES_MAX:
        raise BadRequest(f"The body must hold at most {VALUES_MAX} values.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="malformed_json") from error
    if not isinstance(body, dict):
        raise wrong("body", "a JSON object")
    return body


def _values_at_most(raw: bytes) -> int:
    """How many values there may be. `split` leaps from find to find, where `count` looks at every byte."""
    return sum(len(raw.split(mark, VALUES_MAX)) for mark in (b",", b"[", b"{"))


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_object(value: Any) -> bool:
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_text_or_object(value: Any) -> bool:
    return isinstance(value, str | dict)


def is_text_or_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


EXPECTED: Final[Mapping[Check, str]] = {
    is_number: "a number",
    is_count: "an integer of at least 1",
    is_integer: "an integer",
    is_text: "a string",
    is_flag: "true or false",
    is_object: "an object",
    is_list: "an array",
    is_text_or_object: "a string or an object",
    is_text_or_texts: "a string or an array of strings",
}


def require(ok: bool, param: str, expected: str) -> None:
    """Raise BadRequest naming the parameter and what would be right."""
    if not ok:
        raise wrong(param, expected)


def wrong(param: str, expected: str) -> BadRequest:
    return BadRequest(f"`{param}` must be {expected}.", param=param)


def check_types(body: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Refuse the first known field of a wrong type; null is as good as absent."""
    for name, value in body.items():
        check = checks.get(name) if value is not None else None
        if check is not None and not check(value):
            raise BadRequest(f"`{name}` must be {EXPECTED[check]}.", param=name)


def refuse(body: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Refuse fields that are set and that we neither price nor map. An empty object is set: it asks for defaults."""
    if reasons.keys().isdisjoint(body):
        return
    for name, value in body.items():
        if name in reasons and value not in (None, False, [], ""):
            raise BadRequest(f"`{name}` {reasons[name]}", param=name, code="unsupported_parameter")


def kinds_in(messages: Iterable[Any], kinds: Set[str]) -> list[str]:
    """Those of the kinds of content parts that stand in the messages."""
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    return sorted({kind for part in parts if isinstance(kind := part.get("type"), str) and kind in kinds})


def arguments_in(text: Any) -> dict[str, Any]:
    """A tool call's arguments as the object that Anthropic wants; what is none is kept under a name."""
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}
