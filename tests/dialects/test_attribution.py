"""The caller's own names for its users stay; ours goes."""

from __future__ import annotations

from typing import Any

import pytest

from perquery.dialects.attribution import anonymous, in_messages


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"user": "u", "safety_identifier": "s", "user_id": "i", "seed": 1}, {"seed": 1}),
        ({"metadata": {"user_id": "u"}}, {}),
        ({"metadata": {"user_id": "u", "topic": "t"}, "user": "u"}, {"metadata": {"topic": "t"}}),
        ({"metadata": {"topic": "t"}}, {"metadata": {"topic": "t"}}),
        ({"metadata": None, "user": None}, {"metadata": None}),
        ({}, {}),
    ],
)
def test_the_caller_s_own_names_stay(given: dict[str, Any], left: dict[str, Any]) -> None:
    before = {"model": "m"} | given
    assert anonymous(before) == {"model": "m"} | left
    assert before == {"model": "m"} | given


def test_a_messages_body_names_the_account() -> None:
    assert in_messages({"model": "m"}, "ours")["metadata"] == {"user_id": "ours"}
    told = in_messages({"metadata": {"user_id": "theirs", "more": 1}}, "ours")
    assert told["metadata"] == {"user_id": "ours", "more": 1}
