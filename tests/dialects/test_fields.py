"""A body as an object: bounded in what it grows to, and clear about what is wrong with it."""

from __future__ import annotations

import pytest

from perquery.dialects.fields import LARGE_BYTES, VALUES_MAX, object_of
from perquery.errors import BadRequest


def test_an_object_is_read() -> None:
    assert object_of(b'{"a": [1, {}]}') == {"a": [1, {}]}


@pytest.mark.parametrize(
    ("raw", "code"), [(b"", "malformed_json"), (b"{", "malformed_json"), (b"[]", "invalid_request")]
)
def test_anything_else_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        object_of(raw)
    assert refused.value.code == code


@pytest.mark.parametrize("item", [b"1,", b"[],", b"{},", b"[" * 900 + b"]" * 900 + b","])
def test_more_values_than_memory_is_meant_for_are_refused(item: bytes) -> None:
    opened = item.count(b"[") + item.count(b"{") + 1
    raw = b'{"a":[' + item * (VALUES_MAX // opened + 1) + b"1]" + b" " * LARGE_BYTES + b"}"
    with pytest.raises(BadRequest, match="values"):
        object_of(raw)


def test_a_long_text_is_one_value() -> None:
    text = "data:image/png;base64," + "A" * (2 * LARGE_BYTES)
    assert object_of(b'{"a":"%b"}' % text.encode()) == {"a": text}
