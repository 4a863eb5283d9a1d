"""A caller's body for an upstream of the same dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Call, Dialect
from perquery.dialects.native import native_body
from perquery.dialects.thoughts import PACKED


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


OWN = {"type": "thinking", "thinking": "Hm", "signature": "s"}
TEXT = {"type": "text", "text": "So"}
FOREIGN = ({"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "redacted_thinking", "data": PACKED})


def sent(dialect: Dialect, native: dict[str, Any]) -> dict[str, Any]:
    call = Call(dialect, "m", {}, orjson.dumps(native), native=native)
    return native_body(call, "m", cap_tokens=None, stream=False)


@pytest.mark.parametrize(
    "content, left", [((OWN, *FOREIGN, TEXT), [OWN, TEXT]), (FOREIGN, [{"type": "text", "text": "…"}])]
)
def test_other_vendors_thinking_is_not_shown_to_anthropic(content: tuple[Any, ...], left: list[Any]) -> None:
    user = {"role": "user", "content": "Hi"}
    body = sent("anthropic", {"messages": [user, {"role": "assistant", "content": list(content)}]})
    assert body["messages"] == [user, {"role": "assistant", "content": left}]


def test_nor_to_openai() -> None:
    own = {"type": "reasoning", "encrypted_content": "gAAA", "summary": []}
    foreign = own | {"encrypted_content": PACKED + "W10="}
    assert sent("openai-responses", {"input": [own, foreign]})["input"] == [own]
    assert sent("openai-responses", {"input": "Hi, pq1."})["input"] == "Hi, pq1."
