"""Usage objects: where they stand, what their figures mean, and what is no figure at all."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery import money
from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Usage
from perquery.providers.usage import COST_PICO_MAX, COUNT_MAX, Flavour, found, read

FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
COUNTS = st.integers(0, COUNT_MAX)
JUNK = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.none()))
NAMES = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens")


def usage_of(flavour: Flavour = "openai", **figures: Any) -> Usage:
    usage = read(flavour, {"prompt_tokens": 10, "completion_tokens": 20} | figures)
    assert usage is not None
    return usage


@pytest.mark.parametrize(
    "parsed",
    [
        {"usage": {"prompt_tokens": 1}},
        {"usage": None, "x_groq": {"id": "req", "usage": {"prompt_tokens": 1}}},
        {"choices": [{"index": 0, "usage": {"prompt_tokens": 1}}]},
    ],
)
def test_found(parsed: dict[str, Any]) -> None:
    assert found(parsed) == {"prompt_tokens": 1}


@pytest.mark.parametrize(
    "parsed",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": "none"},
        {"choices": []},
        {"choices": [None]},
        {"x_groq": {"id": "r"}},
    ],
)
def test_not_found(parsed: dict[str, Any]) -> None:
    assert found(parsed) is None


def test_zero_is_a_figure() -> None:
    assert usage_of(prompt_tokens=0, completion_tokens=0).counts == {"input": 0, "output": 0}


@pytest.mark.parametrize("junk", [None, -1, 1.5, "10", True, [], COUNT_MAX + 1, 2**70])
def test_what_is_no_count_makes_no_usage(junk: Any) -> None:
    assert read("openai", {"prompt_tokens": 10, "completion_tokens": junk}) is None


@pytest.mark.parametrize("junk", [None, -1, 1.5, "10", True, {}, COUNT_MAX + 1])
def test_what_is_no_count_makes_no_part(junk: Any) -> None:
    assert usage_of(prompt_tokens_details={"cached_tokens": junk}).counts == {"input": 10, "output": 20}


@pytest.mark.parametrize("details", [None, [], "none", 5])
def test_details_that_are_none(details: Any) -> None:
    assert usage_of(prompt_tokens_details=details).counts == {"input": 10, "output": 20}


def test_a_missing_output_follows_from_the_total() -> None:
    assert usage_of(completion_tokens=None, total_tokens=35).counts == {"input": 10, "output": 25}


def test_a_missing_input_follows_from_the_total() -> None:
    assert usage_of(prompt_tokens=None, total_tokens=35).counts == {"input": 15, "output": 20}


def test_a_part_is_cut_to_its_whole() -> None:
    counts = usage_of(prompt_tokens_details={"cached_tokens": 900, "audio_tokens": 5}).counts
    assert counts == {"cache_read": 10, "input": 0, "output": 20}


def test_xai_counts_reasoning_apart() -> None:
    counts = usage_of("xai", completion_tokens_details={"reasoning_tokens": 30}).counts
    assert counts == {"input": 10, "output": 20, "reasoning": 30}


def test_openai_counts_reasoning_within() -> None:
    counts = usage_of("openai", completion_tokens_details={"reasoning_tokens": 15}).counts
    assert counts == {"input": 10, "output": 5, "reasoning": 15}


def test_perplexity_counts_citations_and_reasoning_apart() -> None:
    counts = usage_of("perplexity", citation_tokens=3, reasoning_tokens=4, num_search_queries=2).counts
    assert counts == {"input": 10, "output": 23, "reasoning": 4, "search": 2}


def test_google_counts_thoughts_in_the_total_only() -> None:
    assert usage_of("google", total_tokens=100).counts == {"input": 10, "output": 90}


def test_others_do_not_follow_a_total_against_their_own_count() -> None:
    assert usage_of("openai", total_tokens=100).counts == {"input": 10, "output": 20}


def cost(flavour: Flavour, text: str) -> int | None:
    """The reported cost out of JSON, as it comes over the wire."""
    usage = read(flavour, {"prompt_tokens": 1, "completion_tokens": 1, **money.from_json(text)})
    assert usage is not None
    return usage.upstream_cost_pico


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("0.000123", 123_000_000),
        ("1e-7", 100_000),
        ("0.1", 100_000_000_000),
        ("0", 0),
        ("2", 2 * 10**12),
        ("0.0000000000001", 1),  # up, so that the house's cost is never less than it is
        ("1E-999999", 1),
        ("999999.9999999999999", None),
        ("1e40", None),
        ("-0.01", None),
        ('"0.1"', None),
        ("true", None),
        ("null", None),
    ],
)
def test_openrouter_cost(text: str, pico: int | None) -> None:
    assert cost("openrouter", f'{{"cost": {text}}}') == pico


def test_openrouter_cost_with_a_key_of_the_house() -> None:
    text = '{"cost": 0.01, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.2}}'
    assert cost("openrouter", text) == 210_000_000_000


def test_openrouter_cost_without_one() -> None:
    text = '{"cost": 0.01, "is_byok": false, "cost_details": {"upstream_inference_cost": 0.2}}'
    assert cost("openrouter", text) == 10_000_000_000


@pytest.mark.parametrize(("ticks", "pico"), [(0, 0), (1, 100), (32_160_000, 3_216_000_000), (10**18, None)])
def test_xai_ticks(ticks: int, pico: int | None) -> None:
    assert cost("xai", f'{{"cost_in_usd_ticks": {ticks}}}') == pico


def test_perplexity_cost() -> None:
    assert cost("perplexity", '{"cost": {"total_cost": 0.00503, "request_cost": 0.005}}') == 5_030_000_000


def test_a_cost_that_nobody_vouches_for_is_none() -> None:
    assert cost("openai", '{"cost": 5}') is None


def test_a_float_is_not_what_was_written() -> None:
    usage = usage_of("openrouter", cost=0.1)
    assert usage.upstream_cost_pico is None


@given(
    st.sampled_from(FLAVOURS),
    COUNTS,
    COUNTS,
    st.dictionaries(st.sampled_from(NAMES), COUNTS | JUNK),
    st.dictionaries(st.sampled_from(NAMES), COUNTS | JUNK),
)
def test_buckets_are_disjoint_and_none_is_lost(
    flavour: Flavour, prompt: int, completion: int, given_: dict[str, Any], made: dict[str, Any]
) -> None:
    usage = usage_of(
        flavour,
        prompt_tokens=prompt,
        completion_tokens=completion,
        prompt_tokens_details=given_,
        completion_tokens_details=made,
    )
    assert usage.total(INPUT_UNITS) == prompt
    assert usage.total(OUTPUT_UNITS) >= completion


@given(
    st.sampled_from(FLAVOURS),
    st.dictionaries(
        st.sampled_from((*NAMES, "prompt_tokens", "completion_tokens", "cost", "total_tokens", "cost_in_usd_ticks")),
        JUNK | COUNTS,
    ),
)
def test_whatever_comes_is_read_or_is_none(flavour: Flavour, figures: dict[str, Any]) -> None:
    usage = read(flavour, figures)
    assert usage is None or all(0 <= count <= 3 * COUNT_MAX for count in usage.counts.values())
    assert usage is None or 0 <= (usage.upstream_cost_pico or 0) < COST_PICO_MAX


def test_alibaba_s_name_for_a_cache_write() -> None:
    details = {"cached_tokens": 0, "cache_creation_input_tokens": 7, "cache_type": "ephemeral"}
    assert usage_of(prompt_tokens_details=details).counts == {"cache_write_5m": 7, "input": 3, "output": 20}
