"""Who pays for what: each way that a call can end, its rule, its usage, its charge. docs/billing.md says the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perquery.calls import Call, Event, Price, Route, Unit, Usage, Work
from perquery.metering.settlement import FREE, Receipt, Seen, bill, cost_fields, rule_of, work_bill
from perquery.money import Ratio
from perquery.money import json as money_json

ROUTE = Route("up", "m", Price(((0, {"input": 1_000_000, "output": 2_000_000}),)), Ratio(21, 20))
CALL = Call("openai-chat", "m", {}, b"x" * 400, text_bytes=400)
TRUTH = Usage({"input": 10, "output": 5})


def seen(*, usage: Usage | None = None, finish: str | None = None, pieces: int = 0, failed: bool = False) -> Seen:
    return Seen(usage=usage, finish=finish, pieces=pieces, text_bytes=pieces * 4, failed=failed)


CASES: list[tuple[str, Seen, dict[str, bool], str, int]] = [
    # (what happened, what was seen, gone/dropped/cut/stopped, the rule, what the caller pays in nano-USD)
    ("finished with figures", seen(usage=TRUTH, finish="stop", pieces=5), {}, "complete", 21_000),
    ("finished without figures", seen(finish="stop", pieces=5), {}, "complete_estimated", 115_500),
    ("refused by a content filter", seen(usage=TRUTH, finish="content_filter"), {}, "complete", 21_000),
    (
        "explicit zero is no lack of figures",
        seen(usage=Usage({"input": 10, "output": 0}), finish="stop"),
        {},
        "complete",
        10_500,
    ),
    ("nothing at all", seen(), {}, "empty", 0),
    ("figures, no output, no reason", seen(usage=Usage({"input": 10})), {}, "empty", 0),
    ("an error as the reason", seen(usage=TRUTH, finish="error", pieces=5), {}, "empty", 0),
    ("broke within", seen(usage=TRUTH, pieces=5, failed=True), {}, "upstream_error", 0),
    ("broke after the caller left", seen(pieces=5, failed=True), {"gone": True}, "upstream_error", 0),
    ("caller left, dropped", seen(pieces=5), {"gone": True, "dropped": True}, "caller_left", 115_500),
    ("caller left before the first word, dropped", seen(), {"gone": True, "dropped": True}, "caller_left", 105_000),
    ("caller left, drained", seen(usage=TRUTH, finish="stop", pieces=5), {"gone": True}, "caller_left_drained", 21_000),
    ("caller left, drained without figures", seen(finish="stop", pieces=5), {"gone": True}, "caller_left", 115_500),
    (
        "caller left, figures came before the drop",
        seen(usage=TRUTH, finish="stop", pieces=5),
        {"gone": True, "dropped": True},
        "caller_left_drained",
        21_000,
    ),
    ("cut at the balance", seen(pieces=5), {"cut": True}, "cut_at_balance", 115_500),
    ("the gateway was stopped", seen(pieces=5), {"stopped": True}, "gateway_stopped", 0),
]


@pytest.mark.parametrize(("what", "observed", "flags", "rule", "charge"), CASES, ids=[case[0] for case in CASES])
def test_who_pays(what: str, observed: Seen, flags: dict[str, bool], rule: str, charge: int) -> None:
    given = {"gone": False, "dropped": False, "cut": False, "stopped": False} | flags
    decided = rule_of(observed, **given)
    paid = bill(CALL, ROUTE, observed, decided)
    assert (decided, paid.charge) == (rule, charge)
    assert (paid.charge == 0) == (rule in FREE)
    assert paid.usage.estimated == (observed.usage is None)


def test_an_unpriced_figure_in_one_of_several_turns_is_the_houses_loss_too() -> None:
    turns: tuple[dict[Unit, int], ...] = ({"input": 4, "output": 2}, {"input": 6, "output": 3, "search": 1})
    usage = Usage({"input": 10, "output": 5, "search": 1}, turns=turns)
    paid = bill(CALL, ROUTE, seen(usage=usage, finish="stop"), "complete")
    assert (paid.unpriced, paid.charge) == (("search",), 21_000)
    assert [(line.unit, line.count) for line in paid.lines] == [
        ("input", 4),
        ("output", 2),
        ("input", 6),
        ("output", 3),
    ]


def test_an_unpriced_figure_is_the_houses_loss_and_said() -> None:
    paid = bill(CALL, ROUTE, seen(usage=Usage({"input": 10, "search": 3}), finish="stop", pieces=1), "complete")
    assert paid.unpriced == ("search",)
    assert paid.charge == 10_500


@pytest.mark.parametrize(
    ("reported_pico", "drifted"),
    [(None, False), (20_000_000, False), (23_000_000, False), (25_000_000, True), (0, True)],
)
def test_an_upstream_that_takes_another_price_raises_an_alarm(reported_pico: int | None, drifted: bool) -> None:
    usage = Usage({"input": 10, "output": 5}, upstream_cost_pico=reported_pico)
    paid = bill(CALL, ROUTE, seen(usage=usage, finish="stop", pieces=5), "complete")
    assert paid.drifted is drifted
    assert paid.charge == 21_000  # by the listed price, unless the route says otherwise


def test_what_is_noted_of_events() -> None:
    observed = Seen()
    observed.note(Event(b"", text_bytes=4, parsed={"id": "c1"}))
    observed.note(Event(b"", text_bytes=2, parsed={"id": "c2"}, finish="stop"))
    observed.note(Event(b"", parsed={"usage": {"prompt_tokens": 1}}, usage=TRUTH))
    observed.note(Event(b"", parsed={"usage": {"prompt_tokens": 2}}, usage=Usage({"input": 2})))
    assert (observed.pieces, observed.text_bytes, observed.finish) == (2, 6, "stop")
    assert observed.usage == Usage({"input": 2})  # the last one counts, they are never summed
    assert observed.like == {"id": "c1"}
    assert observed.usage_object == {"prompt_tokens": 2}


def test_the_receipt_row_explains_the_call() -> None:
    observed = seen(usage=TRUTH, finish="stop", pieces=5)
    observed.like = {"id": "chatcmpl-1"}
    receipt = Receipt("gen-1", 7, "key", 1_000, "m", "api", True, first_event_ms=3)
    row = receipt.row(ROUTE, bill(CALL, ROUTE, observed, "complete"), observed, total_ms=12)
    detail: dict[str, Any] = json.loads(row.detail)
    assert detail["lines"][0] == {"unit": "input", "count": 10, "pico_per_unit": 1_000_000, "pico": 10_000_000}
    assert (row.provider, row.upstream_id, row.rule) == ("up", "chatcmpl-1", "complete")
    assert (row.account_id, row.id, row.key_id, row.at, row.model, row.kind) == (
        *(7, "gen-1", "key", 1_000, "m", "chat_completion"),
    )
    assert (row.source, row.streamed, row.first_event_ms, row.total_ms, row.error_code) == ("api", 1, 3, 12, None)
    assert (row.input_count, row.output_count, row.upstream_nano, row.unbilled_nano) == (10, 5, 20_000, 0)


def test_what_is_free_to_the_caller_is_counted_as_unbilled() -> None:
    observed = seen(usage=TRUTH, failed=True)
    row = Receipt("gen-1", 7, None, 0, "m", None, False).row(
        ROUTE, bill(CALL, ROUTE, observed, "upstream_error"), observed, total_ms=1, error_code="upstream_unavailable"
    )
    assert (row.upstream_nano, row.unbilled_nano) == (20_000, 20_000)


def test_the_price_is_explained_in_plain_decimals() -> None:
    fields = cost_fields(bill(CALL, ROUTE, seen(usage=TRUTH, finish="stop"), "complete"), ROUTE, "0.000021")
    written = money_json(fields)
    assert b'"cost":0.000021' in written
    assert b'"usd_per_million":1,' in written
    assert b'"markup":"1.05"' in written
    assert b"e-" not in written.lower()


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"id": "chatcmpl-1"}, "chatcmpl-1"),
        ({"type": "message_start", "message": {"id": "msg_1"}}, "msg_1"),
        ({"type": "message_start", "message": None}, None),
        ({"id": 5}, None),
        ({"id": "a\0b"}, "ab"),
    ],
)
def test_the_upstream_s_own_ids_are_kept(first: dict[str, Any], expected: str | None) -> None:
    observed = seen(usage=TRUTH, finish="stop", pieces=5)
    observed.like = first
    receipt = Receipt("gen-1", 7, None, 0, "m", None, False, upstream_request_id="r" * 500)
    row = receipt.row(ROUTE, bill(CALL, ROUTE, observed, "complete"), observed, total_ms=1)
    assert (row.upstream_id, row.upstream_request_id) == (expected, "r" * 200)


def test_what_the_cache_saved_stands_on_the_receipt() -> None:
    prices: dict[Unit, int] = {"input": 3_000_000, "cache_read": 300_000, "output": 2_000_000}
    route = Route("up", "m", Price(((0, prices),)), Ratio(21, 20))
    observed = seen(usage=Usage({"cache_read": 7, "output": 1}), finish="stop", pieces=1)
    paid = bill(CALL, route, observed, "complete")
    row = Receipt("gen-1", 7, None, 0, "m", None, False).row(route, paid, observed, total_ms=1)
    assert json.loads(row.detail)["cache_saved_nano"] == 7 * 2_700 * 105 // 100
    assert bill(CALL, route, observed, "upstream_error").cache_saved == 0  # what is free saves nothing


LIKELY: dict[Unit, int] = {"second": 4, "audio_input": 40, "output": 12}


def work(counts: dict[Unit, int] = LIKELY) -> Work:
    return Work("stt", "m", {}, lambda _: counts, counts, lambda *_: b"")


@pytest.mark.parametrize(
    ("price", "observed", "counts", "estimated"),
    [
        ({"second": 100}, Seen(usage=Usage({"second": 6})), {"second": 6}, False),
        ({"second": 100}, Seen(), {"second": 4}, True),
        ({"second": 100}, Seen(given={"second": 5}), {"second": 5}, True),
        ({"audio_input": 6, "output": 10}, Seen(usage=Usage({"second": 6})), {"audio_input": 40, "output": 12}, True),
        ({"second": 100}, Seen(usage=Usage({"audio_input": 70, "output": 9})), {"second": 4}, True),
        ({"request": 1}, Seen(usage=Usage({})), {}, False),
    ],
)
def test_other_work_is_billed_in_units_that_its_price_names(
    price: dict[Unit, int], observed: Seen, counts: dict[Unit, int], estimated: bool
) -> None:
    """An upstream that counts in others (seconds, where tokens are sold) does not make it free."""
    paid = work_bill(work(), Route("up", "m", Price(((0, price),))), observed, "complete")
    assert (paid.usage.counts, paid.usage.estimated, paid.unpriced) == (counts, estimated, ())
    assert paid.charge > 0 and all(line.unit in price for line in paid.lines)
