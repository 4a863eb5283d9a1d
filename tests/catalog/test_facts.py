"""Facts: families in the file's order, single models last, the careful thing where nothing is known."""

from __future__ import annotations

from datetime import date

from perquery.catalog import overlay
from perquery.catalog.facts import created_ms, facts_of

TEXT = """
as_of = 2026-11-23
[[families]]
match = '^v/'
tools = true
reasoning = true
hides_output = true
hides_at = ["direct"]
[[families]]
match = '^v/small'
reasoning = false
refused_parameters = ["stop"]
[[models]]
id = "v/small"
source = "s"
created = 2026-01-02
output_tokens_max = 100
"""


def test_later_facts_win() -> None:
    facts = facts_of("v/small", overlay.load(TEXT))
    assert (facts.tools, facts.reasoning, facts.output_tokens_max) == (True, False, 100)


def test_nothing_is_promised_of_the_unknown() -> None:
    facts = facts_of("x/y", overlay.load(TEXT))
    assert facts.input_modalities == ("text",)
    assert "tools" not in facts.supported_parameters and "reasoning" not in facts.supported_parameters


def test_refused_parameters_are_not_supported() -> None:
    assert "stop" not in facts_of("v/small", overlay.load(TEXT)).supported_parameters


def test_output_is_hidden_where_the_family_says() -> None:
    facts = facts_of("v/large", overlay.load(TEXT))
    assert facts.hides("direct") and not facts.hides("elsewhere")


def test_the_release_is_in_milliseconds() -> None:
    single = overlay.load(TEXT).facts["v/small"]
    assert created_ms("v/small", single, date(2026, 11, 23)) == 1_767_312_000_000
    assert created_ms("x/y", None, date(1970, 1, 2)) == 86_400_000
