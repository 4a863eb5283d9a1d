"""A plain answer out of a stream: the same object that the upstream would have sent whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects.assemble import Assembly


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return head | {"choices": [{"index": index, "delta": delta, "finish_reason": finish} | fields]}


def assembled(*chunks: dict[str, Any]) -> dict[str, Any]:
    assembly = Assembly()
    for one in chunks:
        assembly.add(one)
    return assembly.completion()


def test_text_reasoning_and_finish() -> None:
    answer = assembled(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
    )
    assert answer["object"] == "chat.completion"
    assert (answer["id"], answer["created"], answer["model"]) == ("c1", 7, "m")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "reasoning_content": "Hm"},
            "finish_reason": "stop",
        }
    ]


def test_parallel_tool_calls() -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    answer = assembled(
        chunk({"role": "assistant", "content": None, "tool_calls": [first]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
        chunk({"tool_calls": [second]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chunk({}, "tool_calls"),
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_choices_stay_apart() -> None:
    answer = assembled(chunk({"content": "b"}, index=1), chunk({"content": "a"}, index=0), chunk({}, "stop", 1))
    assert [c["message"]["content"] for c in answer["choices"]] == ["a", "b"]
    assert [c["finish_reason"] for c in answer["choices"]] == [None, "stop"]


def test_log_probabilities_add_up() -> None:
    one = {"content": [{"token": "a"}], "refusal": None}
    two = {"content": [{"token": "b"}], "refusal": None}
    answer = assembled(chunk({"content": "a"}, logprobs=one), chunk({"content": "b"}, logprobs=two))
    assert answer["choices"][0]["logprobs"]["content"] == [{"token": "a"}, {"token": "b"}]


def test_a_cut_answer_says_length() -> None:
    assembly = Assembly()
    assembly.finish("length")
    assert assembly.completion()["choices"][0]["finish_reason"] == "length"


@given(st.lists(st.text(), max_size=20))
def test_the_text_is_the_sum_of_the_pieces(pieces: list[str]) -> None:
    answer = assembled(*(chunk({"content": piece}) for piece in ["", *pieces]))
    assert answer["choices"][0]["message"]["content"] == "".join(pieces)


def test_parts_and_strings_together() -> None:
    """Mistral's reasoning models think in lists of parts and then speak in strings."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    answer = assembled(chunk({"content": [thought]}), chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop"))
    assert answer["choices"][0]["message"]["content"] == [thought, {"type": "text", "text": "Hello"}]


ODD = st.one_of(
    st.integers(),
    st.text(max_size=2),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.just("name"), st.integers()),
)
FIELDS = st.sampled_from(["content", "reasoning", "annotations", "function_call", "images", "anything"])


@given(
    st.lists(st.dictionaries(FIELDS, ODD), max_size=4), st.lists(st.dictionaries(st.just("content"), ODD), max_size=3)
)
def test_types_that_change_on_the_way_are_survived(deltas: list[dict[str, Any]], logs: list[dict[str, Any]]) -> None:
    assembled(*(chunk(delta) for delta in deltas), *(chunk({}, logprobs=log) for log in logs))


def test_the_input_of_a_custom_tool() -> None:
    begun = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** "}}
    more = {"index": 0, "custom": {"input": "x"}}
    answer = assembled(chunk({"tool_calls": [begun]}), chunk({"tool_calls": [more]}, "tool_calls"))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** x"}}
