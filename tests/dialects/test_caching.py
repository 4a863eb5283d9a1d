"""Cache markers for callers who sent none: where they stand, where they never do, and that no word changes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects.caching import in_chat, in_messages, least_tokens

SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"
MARK = {"cache_control": {"type": "ephemeral"}}
LONG = "word " * 1_000
ENOUGH = 1_024 * 4


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value} | more


def told(*messages: Any, **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": content} for content in messages]
    return {"model": SONNET, "messages": turns or [{"role": "user", "content": "Hi"}]} | fields


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-3-haiku-20240307", 2_048),
        ("claude-3-5-haiku-latest", 2_048),
        ("anthropic/claude-haiku-4.5", 4_096),
        ("claude-opus-4-1-20250805", 1_024),
        ("claude-opus-4-5-20251101", 4_096),
        ("anthropic/claude-opus-4.6", 4_096),
        ("claude-opus-4-7", 2_048),
        ("claude-sonnet-4-6", 1_024),
        ("qwen3.7-max", 1_024),
    ],
)
def test_the_least_that_is_kept(model: str, least: int) -> None:
    assert least_tokens(model) == least


def test_the_end_of_the_system_and_of_the_last_turn() -> None:
    body = told("Hi", [text("one"), text("two")], system=[text(LONG), text("Be brief.")])
    made = in_messages(body, ENOUGH)
    assert made["system"] == [text(LONG), text("Be brief.") | MARK]
    assert made["messages"] == [*body["messages"][:1], {"role": "user", "content": [text("one"), text("two") | MARK]}]


def test_plain_texts_become_blocks() -> None:
    made = in_messages(told("Hi", system=LONG), ENOUGH)
    assert (made["system"], made["messages"][0]["content"]) == ([text(LONG) | MARK], [text("Hi") | MARK])


def test_without_a_system_the_tools() -> None:
    tools: list[dict[str, Any]] = [
        {"name": "a", "description": LONG},
        {"name": "b"},
        {"name": "later", "defer_loading": True},
    ]
    made = in_messages(told("Hi", tools=tools), ENOUGH)
    assert made["tools"] == [tools[0], {**tools[1], **MARK}, tools[2]]
    with_system = in_messages(told("Hi", tools=tools, system="Brief."), ENOUGH)
    assert (with_system["tools"], with_system["system"]) == (tools, [text("Brief.") | MARK])


def test_a_short_system_has_no_marker_of_its_own() -> None:
    made = in_messages(told(LONG, system="Brief."), ENOUGH)
    assert (made["system"], made["messages"][0]["content"]) == ("Brief.", [text(LONG) | MARK])


def test_instructions_alone_have_no_turn_to_mark() -> None:
    body = {"model": "claude-sonnet-4-5", "system": "word " * 2_000, "messages": []}
    made = in_messages(body, 10_000)
    assert made["messages"] == [] and made["system"][0]["cache_control"]


def test_below_the_minimum_nothing() -> None:
    body = told(LONG, system=LONG)
    assert in_messages(body, ENOUGH - 1) is body
    assert in_messages(body | {"model": HAIKU}, 4 * ENOUGH - 1) == body | {"model": HAIKU}
    assert in_messages(body | {"model": HAIKU}, 4 * ENOUGH) != body | {"model": HAIKU}


@pytest.mark.parametrize(
    "last",
    [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        text(""),
        text(" \n"),
        {"type": "tool_result", "tool_use_id": "t", "content": []},
        {"type": "something_new"},
    ],
)
def test_what_carries_no_marker(last: dict[str, Any]) -> None:
    made = in_messages(told([text("one"), last]), ENOUGH)
    assert made["messages"][0]["content"] == [text("one") | MARK, last]
    alone = told([last])
    assert in_messages(alone, ENOUGH) == alone


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [text(LONG) | MARK]},
        {"tools": [{"name": "a"} | MARK, {"name": "b"}]},
        {"messages": [{"role": "user", "content": [text("one") | MARK, text("two")]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [text("deep") | MARK]}]}]},
    ],
)
def test_a_caller_who_marks_is_left_alone(fields: dict[str, Any]) -> None:
    body = told(LONG) | fields
    assert in_messages(body, 10 * ENOUGH) is body
    assert in_chat(body, 10 * ENOUGH) is body


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Hi"} | MARK,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "f"}} | MARK]},
    ],
)
def test_a_marker_in_chat_form_alone(message: dict[str, Any]) -> None:
    body = {"model": "anthropic/claude-sonnet-4.5", "messages": [message, {"role": "user", "content": LONG}]}
    assert in_chat(body, ENOUGH) is body


def test_chat_form() -> None:
    messages = [
        {"role": "system", "content": LONG},
        {"role": "developer", "content": "Brief."},
        {"role": "user", "content": "Hi"},
        {"role": "tool", "tool_call_id": "t", "content": "42"},
    ]
    made = in_chat({"model": "qwen3.7-max", "messages": messages}, ENOUGH)["messages"]
    assert made[:1] == messages[:1]
    assert made[1]["content"] == [text("Brief.") | MARK]
    assert made[2:] == [messages[2], {"role": "tool", "tool_call_id": "t", "content": [text("42") | MARK]}]


def test_an_image_in_chat_form_carries_none() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    made = in_chat({"model": "qwen", "messages": [{"role": "user", "content": [text(LONG), image]}]}, ENOUGH)
    assert made["messages"][0]["content"] == [text(LONG) | MARK, image]


def test_a_system_alone_is_marked_once() -> None:
    made = in_chat({"model": "qwen", "messages": [{"role": "system", "content": LONG}]}, ENOUGH)
    assert made["messages"] == [{"role": "system", "content": [text(LONG) | MARK]}]


# -- any body ---------------------------------------------------------------------------------------------------

words = st.one_of(st.text(max_size=9), st.just(LONG))
marker = st.sampled_from([{}, {}, {}, MARK])
block = st.one_of(
    st.builds(lambda value, mark: text(value) | mark, words, marker),
    st.builds(lambda value: {"type": "thinking", "thinking": value, "signature": "s"}, words),
    st.builds(lambda value, mark: {"type": "tool_result", "tool_use_id": "t", "content": value} | mark, words, marker),
    st.just({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}),
)
content = st.one_of(words, st.lists(block, max_size=4))
messages = st.lists(
    st.builds(
        lambda role, held: {"role": role, "content": held},
        st.sampled_from(["user", "assistant", "system", "tool"]),
        content,
    ),
    min_size=1,
    max_size=4,
)
tools = st.lists(st.builds(lambda name, mark: {"name": name} | mark, words, marker), max_size=3)
bodies = st.builds(
    lambda turns, system, given_tools, model: {
        "model": model,
        "messages": turns,
        "system": system,
        "tools": given_tools,
    },
    messages,
    content,
    tools,
    st.sampled_from([SONNET, HAIKU, "qwen3.7-max"]),
)


def markers(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(markers, value))
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(map(markers, value.values()))
    return 0


def unmarked(value: Any) -> Any:
    """Without markers, and texts as blocks, so that before and after can be compared."""
    if isinstance(value, list):
        return [unmarked(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: unmarked(each) for name, each in value.items() if name != "cache_control"}
    for name in ("content", "system"):
        if isinstance(plain.get(name), str) and value.get("type") != "tool_result":
            plain[name] = [text(plain[name])]
    return plain


@given(bodies, st.sampled_from([0, ENOUGH, 10 * ENOUGH]), st.sampled_from([in_messages, in_chat]))
def test_any_body(body: dict[str, Any], text_bytes: int, put: Any) -> None:
    before, had = deepcopy(body), markers(body)
    made = put(body, text_bytes)
    assert body == before  # never changed in place
    assert unmarked(made) == unmarked(before)  # not a word
    assert markers(made) <= (had or 4)
    assert markers(made) == had if had else markers(made) <= 2
