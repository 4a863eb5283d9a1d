"""Custom tools as functions, and their calls back: the same text however it is torn, and nobody else's call touched."""

from __future__ import annotations

import itertools
import json
from typing import Any, Final

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perquery.calls import Draft, Event
from perquery.dialects.customs import Restored, as_functions, names_in
from perquery.providers.hosts import HOSTS
from perquery.providers.table import prepared
from tests.dialects.test_sdk_types import CHECKS

GRAMMAR: Final = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "x"'}}
PATCH: Final = {"type": "custom", "custom": {"name": "patch", "description": "Patches.", "format": GRAMMAR}}
LOOK: Final = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALLED: Final = {"id": "a", "type": "custom", "custom": {"name": "patch", "input": '*** "x"\n'}}
BODY: Final[dict[str, Any]] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Patch it."},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ],
    "tools": [PATCH, LOOK],
}
NAMES: Final = frozenset({"patch"})


def test_a_custom_tool_as_a_function() -> None:
    made = as_functions(BODY | {"tool_choice": {"type": "custom", "custom": {"name": "patch"}}})
    patch, look = made["tools"]
    assert look is LOOK
    assert patch == {
        "type": "function",
        "function": {
            "name": "patch",
            "description": 'Patches.\n\n`input` must match this grammar (lark):\nstart: "x"',
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        },
    }
    (call,) = made["messages"][1]["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == ("a", "function", "patch")
    assert json.loads(call["function"]["arguments"]) == {"input": '*** "x"\n'}
    assert made["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert names_in(BODY) == NAMES and names_in(made) == frozenset()


def test_some_of_several_tools() -> None:
    some = {"mode": "required", "tools": [{"type": "custom", "custom": {"name": "patch"}}]}
    made = as_functions(BODY | {"tool_choice": {"type": "allowed_tools", "allowed_tools": some}})
    assert made["tool_choice"]["allowed_tools"]["tools"] == [{"type": "function", "function": {"name": "patch"}}]


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "openai-responses", "openai-chat"])
def test_what_vendors_are_told_is_of_their_own_types(dialect: str) -> None:
    CHECKS[dialect](as_functions(BODY))


@pytest.mark.parametrize(("name", "kind"), [("openai", "custom"), ("groq", "function"), ("vllm", "function")])
def test_only_who_knows_custom_tools_is_told_them(name: str, kind: str) -> None:
    draft = Draft(BODY, "openai-chat", False, False, 0, None)
    made, dropped = prepared(HOSTS[name], draft, frozenset(), 1_000)
    assert (made["tools"][0]["type"], dropped) == (kind, [])
    assert kind in made["messages"][1]["tool_calls"][0]


@pytest.mark.parametrize("name", ["anthropic", "google"])
def test_claude_and_gemini_lose_none(name: str) -> None:
    _, dropped = prepared(HOSTS[name], Draft(BODY, HOSTS[name].dialect, False, False, 0, None), frozenset(), 1_000)
    assert dropped == []


# -- back -------------------------------------------------------------------------------------------------------


def event(part: str, *calls: dict[str, Any], index: int = 0) -> Event:
    parsed = {"choices": [{"index": index, part: {"tool_calls": list(calls)}}]}
    return Event(orjson.dumps(parsed), 5, parsed)


def calls_of(found: Event, part: str = "delta") -> Any:
    assert found.parsed is not None and orjson.loads(found.data) == found.parsed
    return found.parsed["choices"][0][part]["tool_calls"]


def function(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_whole_answer() -> None:
    given = event("message", function("look", '{"input": "x"}'), function("patch", '{"input": "a\\n\\u00e9"}'))
    look, patch = calls_of(Restored(NAMES).event(given), "message")
    assert look == function("look", '{"input": "x"}')
    assert patch == {"id": "a", "type": "custom", "custom": {"name": "patch", "input": "a\né"}}


def test_an_answer_without_such_a_call_is_the_same_one() -> None:
    for same in (event("delta", function("look", "{}", index=0)), Event(b"{}", 0, {}), Event(b"[DONE]")):
        assert Restored(NAMES).event(same) is same


def test_a_chunk_that_nobody_has_looked_into() -> None:
    given = event("delta", function("patch", '{"input":"x"}', index=0))
    given.parsed = None
    assert calls_of(Restored(NAMES).event(given))[0]["custom"]["input"] == "x"


def streamed(pieces: list[str]) -> str:
    """The input of a call whose arguments came in these pieces, beside another tool's."""
    mend, said = Restored(NAMES), []
    begun = {"index": 1, "id": "a", "type": "function", "function": {"name": "patch", "arguments": ""}}
    (first,) = calls_of(mend.event(event("delta", begun)))
    assert first == {"index": 1, "id": "a", "type": "custom", "custom": {"name": "patch", "input": ""}}
    for piece in pieces:
        other = {"index": 0, "function": {"arguments": piece}}
        same, own = calls_of(mend.event(event("delta", other, {"index": 1, "function": {"arguments": piece}})))
        assert same == other and own.keys() == {"index", "custom"}
        said.append(own["custom"]["input"])
    return "".join(said)


@given(st.text(), st.booleans(), st.lists(st.integers(0, 300)))
@example('\\"/\b\f\n\r\t\U0001f600é', True, list(range(80)))
@example('\\"/\b\f\n\r\t\U0001f600é', False, list(range(80)))
def test_the_same_text_however_it_is_torn(text: str, ascii: bool, cuts: list[int]) -> None:
    whole = json.dumps({"input": text}, ensure_ascii=ascii)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    assert streamed([whole[a:b] for a, b in itertools.pairwise(places)]) == text


@pytest.mark.parametrize("whole", ["*** Begin", '{"patch": "x"}', '{"input": 5}', "{}", '["input"]'])
def test_what_is_of_another_shape_is_handed_on(whole: str) -> None:
    assert streamed(list(whole)) == whole


def test_what_is_said_already_is_not_held_back() -> None:
    mend = Restored(NAMES)
    mend.event(event("delta", function("patch", "", index=0)))
    for piece, expected in (('{"input"', ""), (': "*** Be', "*** Be"), ("gin\\", "gin"), ("nx", "\nx"), ('"}', "")):
        (own,) = calls_of(mend.event(event("delta", {"index": 0, "function": {"arguments": piece}})))
        assert own["custom"]["input"] == expected
