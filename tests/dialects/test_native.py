"""A caller's body for an upstream of the same dialect."""

from __future__ import annotations

from perquery.calls import Call
from perquery.dialects.native import native_body


def test_only_what_must_be_ours_is_changed() -> None:
    call = Call("anthropic", "alias", {}, b"", stream=True, native={"model": "alias", "max_tokens": 9, "new": [1]})
    assert native_body(call, "own", cap_tokens=None, stream=True) == {
        "model": "own",
        "max_tokens": 9,
        "new": [1],
        "stream": True,
    }
    assert native_body(call, "own", cap_tokens=5, stream=True)["max_tokens"] == 5
    call.dialect = "openai-responses"
    assert native_body(call, "own", cap_tokens=5, stream=False)["max_output_tokens"] == 5
