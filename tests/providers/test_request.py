"""A request's body as a host takes it: nothing that it refuses, one cap that the held money covers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.providers.hosts import HOSTS
from perquery.providers.request import prepare

CAPS = ("max_tokens", "max_completion_tokens")
PLAIN: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False}


def ready(host: str, refused: frozenset[str] = frozenset(), **fields: Any) -> dict[str, Any]:
    return prepare(HOSTS[host], "openai-chat", PLAIN | fields, refused)[0]


def dropped(host: str, refused: frozenset[str] = frozenset(), **fields: Any) -> list[str]:
    return prepare(HOSTS[host], "openai-chat", PLAIN | fields, refused)[1]


def replayed(host: str, **message: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", **message}]
    (_, assistant) = ready(host, messages=messages)["messages"]
    assert isinstance(assistant, dict)
    return assistant


@pytest.mark.parametrize("name", HOSTS)
def test_a_plain_request_passes_untouched(name: str) -> None:
    assert prepare(HOSTS[name], "openai-chat", PLAIN) == (PLAIN, [])


def test_what_nobody_knows_passes() -> None:
    assert ready("together", something_new={"a": 1})["something_new"] == {"a": 1}


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("stated", CAPS)
def test_a_cap_goes_under_the_host_s_name(name: str, stated: str) -> None:
    body, _ = prepare(HOSTS[name], "openai-chat", PLAIN | {stated: 7})
    assert {each: body[each] for each in CAPS if each in body} == {HOSTS[name].cap: 7}


@given(st.sampled_from(sorted(HOSTS)), st.integers(1, 100), st.integers(1, 100))
def test_of_two_caps_the_lower_counts(name: str, first: int, second: int) -> None:
    """The quote goes by the lower one; the other would be bought with the house's money."""
    body = ready(name, max_tokens=first, max_completion_tokens=second)
    assert [body[each] for each in CAPS if each in body] == [min(first, second)]


def test_a_cap_of_null_is_none() -> None:
    assert "max_tokens" not in ready("groq", max_tokens=None)


@pytest.mark.parametrize("name", ["n_predict", "num_predict", "max_new_tokens", "max_output_tokens", "max_length"])
def test_a_cap_by_another_server_s_name_is_dropped(name: str) -> None:
    """llama.cpp takes n_predict before max_tokens."""
    body, gone = prepare(HOSTS["llamacpp"], "openai-chat", PLAIN | {"max_tokens": 5, name: 100_000})
    assert (body, gone) == (PLAIN | {"max_tokens": 5}, [name])


def test_a_model_that_refuses_max_tokens_keeps_its_cap() -> None:
    refused = frozenset({"max_tokens", "temperature"})
    assert ready("github", refused, max_tokens=5)["max_completion_tokens"] == 5


def test_refused_parameters_are_dropped_and_told() -> None:
    body, gone = prepare(
        HOSTS["groq"], "openai-chat", PLAIN | {"logprobs": True, "logit_bias": {"5": 1}, "temperature": 0.5}
    )
    assert (body, gone) == (PLAIN | {"temperature": 0.5}, ["logit_bias", "logprobs"])


def test_a_model_s_refused_parameters_are_dropped_and_told() -> None:
    refused = frozenset({"temperature", "top_p"})
    assert dropped("openrouter", refused, temperature=0.5, top_p=0.9) == ["temperature", "top_p"]


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 1), ("temperature", 1.0), ("top_p", 1), ("stop", []), ("stop", None), ("n", 1)]
)
def test_what_asks_for_the_default_goes_without_a_word(name: str, value: Any) -> None:
    body, gone = prepare(HOSTS["openai"], "openai-chat", PLAIN | {name: value}, frozenset({name}))
    assert (body, gone) == (PLAIN, [])


def test_a_seed_of_zero_is_asked_for() -> None:
    assert dropped("perplexity", seed=0) == ["seed"]


def test_a_choice_of_tool_goes_with_the_tools() -> None:
    assert "tool_choice" not in ready("perplexity", tools=[{"type": "function"}], tool_choice="auto")


def test_the_model_and_the_messages_are_never_dropped() -> None:
    assert ready("vllm", frozenset({"model", "messages", "stream"})) == PLAIN


def test_seed_is_random_seed_at_mistral() -> None:
    body = ready("mistral", seed=5)
    assert (body["random_seed"], "seed" in body) == (5, False)


def test_obfuscation_is_off_at_openai() -> None:
    body = ready("openai", stream=True, stream_options={"include_usage": True})
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_no_stream_options_without_a_stream() -> None:
    assert "stream_options" not in ready("openai")


def test_no_stream_options_at_mistral() -> None:
    assert "stream_options" not in ready("mistral", stream=True, stream_options={"include_usage": True})


@pytest.mark.parametrize(
    ("asked", "effort", "told"),
    [
        ({"effort": "high"}, "high", []),
        ({"enabled": False}, "none", []),
        ({"enabled": True}, None, []),
        ({"effort": "low", "exclude": True}, "low", ["reasoning"]),
        ({"max_tokens": 2000}, "low", []),
    ],
)
def test_openrouter_s_reasoning_becomes_an_effort(asked: dict[str, Any], effort: str | None, told: list[str]) -> None:
    body, gone = prepare(HOSTS["openai"], "openai-chat", PLAIN | {"reasoning": asked})
    assert (body.get("reasoning_effort"), gone, "reasoning" in body) == (effort, told, False)


def test_an_effort_that_is_stated_stays() -> None:
    assert ready("xai", reasoning={"effort": "low"}, reasoning_effort="high")["reasoning_effort"] == "high"


def test_openrouter_takes_the_object() -> None:
    assert ready("openrouter", reasoning={"effort": "high"})["reasoning"] == {"effort": "high"}


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("deepseek", {"reasoning_content": "Hm"}),
        ("groq", {"reasoning": "Hm"}),
        ("cerebras", {"reasoning": "Hm"}),
        ("mistral", {}),
        ("openai", {}),
    ],
)
def test_earlier_reasoning_goes_back_as_the_host_wants_it(host: str, name: str, expected: dict[str, str]) -> None:
    assert replayed(host, **{name: "Hm"}) == {"role": "assistant", "content": "Ho"} | expected


def test_deepseek_gets_the_field_on_every_assistant_message() -> None:
    assert replayed("deepseek")["reasoning_content"] == " "


def test_other_hosts_get_messages_as_they_are() -> None:
    assert replayed("zai", reasoning_content="Hm", reasoning="Hm")["reasoning"] == "Hm"


MARKED: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
ADDED: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", **MARKED}]},
        {"role": "assistant", "content": "Ho", "tool_calls": [{"id": "a", **MARKED}], "reasoning_details": [{}]},
        {"role": "tool", "tool_call_id": "a", "content": "x", "is_error": True, **MARKED},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}, **MARKED}],
    **MARKED,
}


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("groq", set()),
        ("openai", set()),
        ("dashscope", {"cache_control"}),
        ("openrouter", {"cache_control", "reasoning_details"}),
        ("anthropic", {"cache_control", "reasoning_details", "is_error"}),
    ],
)
def test_additions_to_chat_go_only_to_who_takes_them(host: str, kept: set[str]) -> None:
    """Groq and Cerebras answer 400 to a cache marker, which Claude Code always sets."""
    text = str(prepare(HOSTS[host], HOSTS[host].dialect, PLAIN | ADDED)[0])
    assert {name for name in ("cache_control", "reasoning_details", "is_error") if name in text} == kept
    assert text.count("cache_control") == (5 if kept else 0)


def test_an_operator_s_own_host_gets_what_the_caller_sent() -> None:
    own = replace(HOSTS["vllm"], takes=None)
    assert prepare(own, "openai-chat", PLAIN | ADDED)[0]["messages"] == ADDED["messages"]


def test_only_assistants_have_reasoning() -> None:
    messages = [{"role": "user", "content": "Hi", "reasoning": "x"}, "not a message"]
    assert ready("deepseek", messages=messages)["messages"] == messages


@given(
    st.sampled_from(sorted(HOSTS)),
    st.dictionaries(
        st.sampled_from(["max_tokens", "seed", "reasoning", "stream_options", "tools", "stop", "n"]), st.none()
    ),
)
def test_the_caller_s_body_is_left_alone(name: str, fields: dict[str, None]) -> None:
    """Another host may be asked next."""
    message = {"role": "assistant", "content": "Ho", "reasoning": "Hm"}
    body = PLAIN | fields | {"messages": [message], "stream": True}
    before = dict(body)
    prepare(HOSTS[name], "openai-chat", body, frozenset({"stop"}))
    assert (body, message) == (before, {"role": "assistant", "content": "Ho", "reasoning": "Hm"})
