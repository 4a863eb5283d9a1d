"""Bounds are never below, estimates are near."""

from __future__ import annotations

import re

import pytest

from perquery.calls import Call
from perquery.media import IMAGE_TOKENS_MAX, documents_as_images
from perquery.metering import estimate


def call(text: str, images: int = 0) -> Call:
    raw = text.encode()
    return Call("openai-chat", "m", {}, raw, text_bytes=len(raw), images=images)


@pytest.mark.parametrize(
    "text", ["Hello, world. " * 50, "日本語のテキスト" * 40, "<|endoftext|>" * 10, "x" * 3_000, ""]
)
def test_the_sharp_bound_lies_between_estimate_and_bytes(text: str) -> None:
    asked = call(text)
    assert estimate.sharp_input_bound(asked) <= estimate.input_bound(asked) == len(asked.raw)


def test_english_is_bounded_at_a_third_of_its_bytes() -> None:
    asked = call("The quick brown fox jumps over the lazy dog. " * 100)
    assert estimate.sharp_input_bound(asked) < len(asked.raw) * 0.4


def test_what_is_too_long_to_tokenise_is_halved() -> None:
    asked = call("a" * 500_000)
    assert estimate.sharp_input_bound(asked) == 250_000


def test_images_and_documents_have_ceilings() -> None:
    assert estimate.input_bound(call("hi", images=2)) == 2 + 2 * IMAGE_TOKENS_MAX
    assert documents_as_images(1) == 1
    assert documents_as_images(200_000) == 4


def test_estimates_of_what_was_delivered() -> None:
    assert estimate.output_estimate(10, 12) == 10
    assert estimate.output_estimate(1, 400) == 100
    assert estimate.input_estimate(call("x" * 41)) == 11


@pytest.mark.parametrize("text", ["a" * 5_000, " " * 5_000, "漢" * 5_000, "-" * 5_000, "a b " * 99, "\n" * 200])
def test_no_run_is_longer_than_the_tokenizer_can_bear(text: str) -> None:
    """Its time grows with the square of a run: 16,000 of one letter keep it busy for seconds."""
    runs = re.findall(r"\S+|\s+", estimate.broken_up(text))
    assert max(map(len, runs)) <= estimate.RUN_MAX + 1
    assert "".join(estimate.broken_up(text).split()).replace(".", "") == "".join(text.split())
