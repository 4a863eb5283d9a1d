"""The wish for web search, however it is said, and what is told of what was found."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Search, Source
from perquery.dialects import chat, messages_in, responses_in
from perquery.dialects.search import (
    PLAIN,
    Citations,
    anthropic_tool,
    of_options,
    of_plugins,
    of_tools,
    options,
    question_in,
    responses_tool,
    told,
    words,
)
from perquery.errors import BadRequest

USER = {"role": "user", "content": "Hi"}
PLACE = {"type": "approximate", "city": "Omaha", "country": "US"}
SOURCE = Source("https://a.example/x", "A", "It rains. " * 500)


@pytest.mark.parametrize(
    "plugins, wish",
    [
        ([{"id": "web"}], PLAIN),
        ([{"id": "file-parser"}, {"id": "web", "max_results": 2}], Search(True, 2, 5)),
        ([{"id": "web", "include_domains": ["a"], "exclude_domains": ["b"]}], Search(True, 5, 5, None, ("a",), ("b",))),
        ([{"id": "web", "enabled": False}], None),
        ([{"id": "other"}, "web", 5], None),
    ],
)
def test_plugins(plugins: list[Any], wish: Search | None) -> None:
    assert of_plugins(plugins) == wish


@pytest.mark.parametrize("results", [0, 26, "5", 1.5])
def test_a_number_of_results_that_is_none(results: Any) -> None:
    with pytest.raises(BadRequest, match="`max_results` must be 1 to 25"):
        of_plugins([{"id": "web", "max_results": results}])


LOOK = {"type": "function", "name": "look"}


@pytest.mark.parametrize(
    "tools, choice, wish",
    [
        ([LOOK], None, None),
        ([{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}], None, Search(True, 5, 8)),
        ([{"type": "web_search", "max_uses": 99}, LOOK], None, Search(False, 5, 10)),
        ([{"type": "web_search_preview"}, LOOK], {"type": "web_search_preview"}, PLAIN),
        ([{"type": "web_search_20260101"}, LOOK], {"type": "tool", "name": "web_search"}, PLAIN),
        ([{"type": "web_search_20260101"}, LOOK], {"type": "tool", "name": "look"}, Search(False, 5, 5)),
        ([{"type": "openrouter:web_search", "parameters": {"max_results": 3}}], None, Search(True, 3, 5)),
        (
            [{"type": "web_search", "filters": {"allowed_domains": ["a"]}, "search_context_size": "low"}, LOOK],
            "auto",
            Search(False, 5, 5, "low", ("a",)),
        ),
        (
            [{"type": "web_search", "user_location": PLACE}],
            None,
            Search(True, 5, 5, place=PLACE),
        ),
    ],
)
def test_tools(tools: list[Any], choice: Any, wish: Search | None) -> None:
    assert of_tools(tools, choice) == wish


def test_options() -> None:
    place = {"type": "approximate", "approximate": {"city": "Omaha"}}
    wish = of_options({"search_context_size": "high", "user_location": place})
    assert wish == Search(True, 5, 5, "high", place={"city": "Omaha"})


def test_as_the_vendors_are_told() -> None:
    wish = Search(True, 5, 3, "low", ("a",), ("b",), {"city": "Omaha"})
    place = {"type": "approximate", "city": "Omaha"}
    assert anthropic_tool(wish) == {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 3,
        "allowed_domains": ["a"],
        "user_location": place,
    }
    assert options(wish) == {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Omaha"}},
    }
    assert anthropic_tool(Search(True, 5, 3, blocked=("b",)))["blocked_domains"] == ["b"]
    assert responses_tool(wish) == {
        "type": "web_search",
        "search_context_size": "low",
        "filters": {"allowed_domains": ["a"]},
        "user_location": place,
    }


def test_a_search_among_the_tools_of_chat_leaves_the_body() -> None:
    body = {"model": "m", "messages": [USER], "tools": [{"type": "web_search"}], "tool_choice": "auto"}
    call = chat.parse(orjson.dumps(body))
    assert call.search == PLAIN and not call.body.keys() & {"tools", "tool_choice"}
    call = chat.parse(orjson.dumps(body | {"tools": [], "plugins": [{"id": "web"}, {"id": "file-parser"}]}))
    assert (call.search, call.dropped) == (PLAIN, ["plugins"])


def test_what_a_vendor_runs_does_not_pass_natively() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "code_execution_1", "name": "c"},
             {"type": "bash_20250124", "name": "bash"}, {"name": "own", "input_schema": {}}]  # fmt: skip
    call = messages_in.parse(orjson.dumps({"model": "m", "messages": [USER], "max_tokens": 5, "tools": tools}))
    assert call.native is not None and [tool["name"] for tool in call.native["tools"]] == ["web_search", "bash", "own"]
    items = [{"type": kind, "name": "x"} for kind in ("function", "web_search", "mcp", "file_search", "custom")]
    call = responses_in.parse(orjson.dumps({"model": "m", "input": "Hi", "tools": items}))
    assert call.native is not None
    assert [tool["type"] for tool in call.native["tools"]] == ["function", "web_search", "custom"]


@pytest.mark.parametrize(
    "content, question",
    [
        ("Rain?", "Rain?"),
        (
            [{"type": "text", "text": "Rain"}, {"type": "image_url"}, {"type": "text", "text": "or not?"}],
            "Rain or not?",
        ),
        (None, ""),
    ],
)
def test_the_question_is_the_user_s_last_word(content: Any, question: str) -> None:
    messages = [USER, {"role": "user", "content": content}, {"role": "assistant", "content": "Well"}]
    assert question_in(messages) == question


def test_what_was_found_stands_before_the_question() -> None:
    answer = {"role": "assistant", "content": "Ho"}
    made = told([USER, answer, USER], [SOURCE], "2026-01-02")
    assert [message["role"] for message in made] == ["user", "assistant", "system", "user"]
    said = made[2]["content"]
    assert "2026-01-02" in said and "[A](https://a.example/x)" in said
    assert len(said.encode()) <= words(1)


def told_in(*texts: str) -> list[tuple[int, int]]:
    """Where an answer that comes in these pieces links to the source."""
    citations = Citations([SOURCE])
    for text in texts:
        assert citations.cited({"choices": [{"delta": {"content": text}, "finish_reason": None}]}) is None
    made = citations.cited({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert made is not None
    notes = made["choices"][0]["delta"]["annotations"]
    assert [(note["type"], note["url_citation"]["url"]) for note in notes] == [("url_citation", SOURCE.url)]
    return [(note["url_citation"]["start_index"], note["url_citation"]["end_index"]) for note in notes]


def test_an_answer_carries_its_sources_where_it_ends() -> None:
    assert Citations([SOURCE]).cited({"choices": []}) is None
    assert Citations([]).cited({"choices": [{"finish_reason": "stop"}]}) is None
    assert told_in("Who knows?") == [(0, 0)]


def test_a_source_is_placed_where_it_is_linked_to() -> None:
    text = f"Ö, it rains [a.example]({SOURCE.url}). Or [not](https://b.example)."
    place = [(12, 12 + len(f"[a.example]({SOURCE.url})"))]
    assert told_in(text) == told_in(*text) == place
    message = {"role": "assistant", "content": text}
    whole = Citations([SOURCE]).cited({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert whole is not None
    (note,) = whole["choices"][0]["message"]["annotations"]
    assert (note["url_citation"]["start_index"], note["url_citation"]["end_index"]) == place[0]
    assert told_in(f"[torn]({SOURCE.url}") == told_in(f"[another]({SOURCE.url}/y)") == [(0, 0)]
