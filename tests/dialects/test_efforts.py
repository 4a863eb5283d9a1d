"""Efforts by model: what is taken stays, what is not becomes the nearest."""

from __future__ import annotations

import pytest

from perquery.dialects.efforts import nearest

GIVEN = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@pytest.mark.parametrize(
    ("model", "made"),
    [
        ("gpt-5", "minimal minimal low medium high high high"),
        ("openai/gpt-5-mini", "minimal minimal low medium high high high"),
        ("gpt-5-pro", "high high high high high high high"),
        ("gpt-5-codex", "low low low medium high high high"),
        ("gpt-5.1", "none low low medium high high high"),
        ("gpt-5.1-codex-max", "low low low medium high xhigh xhigh"),
        ("gpt-5.2", "none low low medium high xhigh xhigh"),
        ("gpt-5.2-pro", "medium medium medium medium high xhigh xhigh"),
        ("gpt-5.3-codex", "low low low medium high xhigh xhigh"),
        ("gpt-5.4-mini", "none low low medium high xhigh xhigh"),
        ("gpt-5.6", "none low low medium high xhigh max"),
        ("o4-mini", "low low low medium high high high"),
        ("deepseek-v4", "none low low medium high high high"),
        ("openai/gpt-oss-120b", "none low low medium high high high"),
    ],
)
def test_each_model_s_own(model: str, made: str) -> None:
    assert " ".join(nearest(model, effort) for effort in GIVEN) == made


def test_a_word_that_is_not_known_is_the_vendor_s_to_judge() -> None:
    assert nearest("gpt-5", "ultra") == "ultra"
