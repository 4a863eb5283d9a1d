"""The vendors' own types as judges: a value is what the type says, with nothing in it that the type does not know.

Values are judged as JSON, strictly: no number for a string, no float for an integer. It must never import a
dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Final, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import SchemaValidator

# What we say beside the vendors' own words (docs/dialects.md): the cost, and thinking that chat cannot say.
OURS: Final = frozenset(
    {
        *("cost", "cost_details", "cache_write_tokens", "image_tokens"),
        *("reasoning_content", "reasoning_details", "images", "content"),
    }
)
# What OpenAI's server sends, and its SDK does not name.
_UNNAMED: Final = frozenset({"frequency_penalty", "presence_penalty", "store", "annotations"})


@lru_cache
def _judge(type_: Any) -> SchemaValidator:
    # Around the type stands a list, for only a type that pydantic did not make takes a configuration.
    made = TypeAdapter(list[type_], config=ConfigDict(extra="forbid"))
    return SchemaValidator(_eager(made.core_schema))


def _eager(schema: Any) -> Any:
    """A schema in which `Iterable` is a list: else nothing in it is judged before somebody reads it."""
    if isinstance(schema, dict):
        lazy = {"type": "list"} if schema.get("type") == "generator" else {}
        return {name: _eager(value) for name, value in schema.items()} | lazy
    return [_eager(one) for one in schema] if isinstance(schema, list) else schema


def _member(type_: Any, kind: Any) -> Any:
    """Of a union of models the one of this `type`, so that an error is about that one."""
    union = get_args(type_)[0] if get_origin(type_) is Annotated else type_
    for one in get_args(union):
        if (
            isinstance(one, type)
            and issubclass(one, BaseModel)
            and kind in get_args(one.model_fields["type"].annotation)
        ):
            return one
    return type_


def unknown(found: Any, where: str = "") -> Iterator[str]:
    """The places of fields that a model let pass without knowing them."""
    if isinstance(found, BaseModel):
        for name in (found.model_extra or {}).keys() - OURS - _UNNAMED:
            yield f"{where}.{name}"
        for name in type(found).model_fields:
            yield from unknown(getattr(found, name), f"{where}.{name}")
    elif isinstance(found, dict):
        for name, value in found.items():
            yield from unknown(value, f"{where}.{name}")
    elif isinstance(found, list):
        for number, value in enumerate(found):
            yield from unknown(value, f"{where}[{number}]")


def holds(type_: Any, value: Any) -> None:
    """Raises ValidationError, or AssertionError naming the fields that the type does not know."""
    narrow = _member(type_, value.get("type")) if isinstance(value, dict) else type_
    (found,) = _judge(narrow).validate_json(orjson.dumps([value]), strict=True, by_alias=True, by_name=False)
    strange = list(unknown(found))
    assert not strange, f"{strange} in {value}"
