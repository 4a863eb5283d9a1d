"""The ledger's decisions, one by one: each verb applied, replayed, and refused for each reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from perquery.money import ONE, Ratio
from perquery.store.books import Account, Key, State, apply, granted, period_start
from perquery.store.operations import (
    WHOLE,
    Credit,
    Extend,
    Hold,
    House,
    Operation,
    Reason,
    Release,
    Renew,
    Result,
    Reverse,
    Settle,
)
from perquery.store.statements import REQUEST
from tests.store.calls import row as receipt

NOON: Final = 1_767_787_200_000  # Wednesday 2026-01-07T12:00:00Z
DAY: Final = 86_400_000
OWNER: Final = "gateway:here"
HALF: Final = Ratio(1, 2)


def key(**changes: Any) -> Key:
    period = period_start(changes.get("reset_period"), NOON)
    return replace(Key("k", 1, None, None, None, None, None, period, 0, 0, 0), **changes)


def state(posted: int = 1_000, held: int = 0, owed: int = 0, bonus: int = 0, **keys: Any) -> State:
    """An account 1 with a key `k`, an account 2 with nothing."""
    accounts = {1: Account(1, posted, held, owed, bonus), 2: Account(2, 0, 0, 0, 0)}
    return State(NOON, OWNER, accounts, {"k": key(**keys)})


def hold(amount: int = 100, id: str = "h", **changes: Any) -> Hold:
    asked = Hold(id, 1, "k", amount, amount, WHOLE, WHOLE, True, "m")
    return replace(asked, **changes)


def extend(amount: int = 50, **changes: Any) -> Extend:
    return replace(Extend("h", 1, "k", amount, amount, WHOLE, WHOLE), **changes)


def settle(charge: int, id: str = "h", **changes: Any) -> Settle:
    return replace(Settle(id, 1, "k", charge), **changes)


def release(**changes: Any) -> Release:
    return replace(Release("h", 1, "k"), **changes)


def credit(amount: int = 500, reference: str = "rail:1", **changes: Any) -> Credit:
    return replace(Credit(1, reference, amount, "deposits:rail"), **changes)


def reverse(amount: int = 500, part: str = "", of: str = "rail:1") -> Reverse:
    return Reverse(1, of, amount, part)


def after(books: State, *operations: Operation) -> Result:
    """The answer to the last one."""
    result = Result("APPLIED")
    for operation in operations:
        result = apply(books, operation)
    return result


def figures(books: State) -> tuple[int, int, int, int]:
    account = books.accounts[1]
    return account.posted, account.held, account.owed, account.bonus


def moves(books: State) -> list[tuple[str, str, str, int]]:
    return [(reference, source, target, amount) for _, reference, source, target, amount, _ in books.transfers]


# -- hold ------------------------------------------------------------------------------------------------


def test_a_hold_reserves_and_says_what_is_left() -> None:
    books = state()
    assert apply(books, hold(100)) == Result("APPLIED", None, 100, 0, free=900, posted=1_000, held=100)
    row = books.new_holds["h"]
    assert (row.amount, row.owner, row.key_id, row.model, row.quoted_nano, row.created_at) == (
        *(100, OWNER, "k", "m", 100, NOON),
    )
    assert books.keys["k"].period_held == 100
    assert not books.transfers


def test_a_hold_asked_for_again_is_the_same_hold() -> None:
    books = state()
    assert after(books, hold(100), hold(100)).status == "REPLAYED"
    assert figures(books) == (1_000, 100, 0, 0)
    assert after(books, hold(999)).amount == 100


def test_a_hold_of_another_account_is_no_replay() -> None:
    books = state()
    assert after(books, hold(100), hold(100, account_id=2, key_id=None)) == Result("REFUSED", "balance")


def test_a_durable_job_owns_its_hold() -> None:
    books = state()
    apply(books, hold(owner="job:7"))
    assert books.new_holds["h"].owner == "job:7"


REFUSED: Final = [
    pytest.param(state(), hold(account_id=9), "no_account", id="no account"),
    pytest.param(state(0, owed=1), hold(), "frozen", id="in debt"),
    pytest.param(state(), hold(key_id="x"), "no_key", id="unknown key"),
    pytest.param(state(deleted_at=1), hold(), "no_key", id="revoked key"),
    pytest.param(state(), hold(0, account_id=2), "no_key", id="another's key"),
    pytest.param(state(expire_at=NOON), hold(), "key_expired", id="expired this moment"),
    pytest.param(state(models=frozenset({"other"})), hold(), "model_not_allowed", id="model"),
    pytest.param(state(limit_nano=99), hold(100), "key_limit", id="limit"),
    pytest.param(state(limit_nano=10, period_used=50), hold(1), "key_limit", id="limit below what is used"),
    pytest.param(state(50, limit_nano=40), hold(100), "key_limit", id="limit narrower than an empty balance"),
    pytest.param(state(50, limit_nano=60), hold(100), "balance", id="balance narrower than the limit"),
    pytest.param(state(99), hold(100), "balance", id="balance"),
    pytest.param(state(1_000, held=1_000), hold(1), "balance", id="all is held"),
    pytest.param(state(), hold(501, sharp=False, share=HALF), "tight", id="over its share"),
]


@pytest.mark.parametrize(("books", "asked", "reason"), REFUSED)
def test_a_refusal_says_why_and_changes_nothing(books: State, asked: Hold, reason: Reason) -> None:
    before = figures(books)
    result = apply(books, asked)
    assert (result.status, result.reason, result.amount) == ("REFUSED", reason, 0)
    assert figures(books) == before
    assert not (books.new_holds or books.transfers or books.touched_accounts or books.touched_keys)


ORDER: Final[list[tuple[Reason, dict[str, Any]]]] = [
    ("no_key", {"deleted_at": 1}),
    ("key_expired", {"expire_at": NOON - 1}),
    ("model_not_allowed", {"models": frozenset({"other"})}),
    ("key_limit", {"limit_nano": 0}),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_of_several_reasons_is_told(first: int) -> None:
    wrong: dict[str, Any] = {}
    for _, change in ORDER[first:]:
        wrong |= change
    assert apply(state(**wrong), hold()).reason == ORDER[first][0]
    assert apply(state(0, owed=1, **wrong), hold()).reason == "frozen"


@pytest.mark.parametrize(("allowed", "status"), [({"m"}, "REFUSED"), ({"n"}, "REFUSED"), ({"m", "n"}, "APPLIED")])
def test_a_key_must_allow_every_model_that_may_answer(allowed: set[str], status: str) -> None:
    asked = hold()
    asked.others = ("n",)
    assert apply(state(models=frozenset(allowed)), asked).status == status


def test_a_refusal_for_the_limit_tells_what_the_limit_leaves() -> None:
    assert apply(state(limit_nano=70, period_used=20, period_held=10), hold(100)).free == 40
    assert apply(state(limit_nano=10, period_used=20), hold(100)).free == 0


def test_without_a_key_only_the_account_decides() -> None:
    assert apply(state(deleted_at=1), hold(key_id=None)).status == "APPLIED"


@pytest.mark.parametrize(
    ("least", "most", "free", "fits", "share", "amount"),
    [
        (10, 100, 1_000, ONE, HALF, 100),  # it fits
        (10, 1_000, 1_000, ONE, HALF, 1_000),  # it fits to the last
        (10, 1_001, 1_000, ONE, HALF, 500),  # it does not: its share
        (10, 600, 1_000, HALF, HALF, 500),  # it fits the balance, not its part
        (700, 2_000, 1_000, ONE, HALF, 700),  # the least is more than the share
        (0, 10, 0, ONE, HALF, 0),  # nothing of nothing
        (1, 3, 3, HALF, HALF, 1),  # shares round down
    ],
)
def test_how_much_is_granted(least: int, most: int, free: int, fits: Ratio, share: Ratio, amount: int) -> None:
    assert granted(hold(least=least, most=most, fits=fits, share=share), free) == amount


def test_a_sharp_bound_may_take_more_than_its_share() -> None:
    assert apply(state(), hold(501, sharp=True, share=HALF)).amount == 501
    assert apply(state(), hold(500, sharp=False, share=HALF)).amount == 500


# -- extend ----------------------------------------------------------------------------------------------


def test_an_extension_adds_to_the_hold() -> None:
    books = state()
    assert after(books, hold(100), extend(50)).amount == 50
    assert books.holds["h"].amount == 150
    assert figures(books) == (1_000, 150, 0, 0)
    assert books.keys["k"].period_held == 150
    assert not books.resized  # the row is yet to be written


def test_an_extension_of_an_older_hold_is_an_update() -> None:
    books = state()
    after(books, hold(100))
    books.new_holds.clear()
    apply(books, extend(50))
    assert books.resized == {"h": 150}


@pytest.mark.parametrize(
    ("books", "first", "asked", "reason"),
    [
        (state(), None, extend(), "no_hold"),
        (state(), settle(1), extend(), "no_hold"),
        (state(), release(), extend(), "no_hold"),
        (state(), None, extend(account_id=2), "no_hold"),
        (state(120), None, extend(50), "balance"),
        (state(limit_nano=120), None, extend(50), "key_limit"),
    ],
    ids=["never there", "settled", "released", "another's", "balance", "limit"],
)
def test_an_extension_is_refused(books: State, first: Operation | None, asked: Extend, reason: Reason) -> None:
    if reason != "no_hold" or first is not None or asked.account_id == 2:
        after(books, hold(100))
    if first is not None:
        apply(books, first)
    before = figures(books)
    assert apply(books, asked).reason == reason
    assert figures(books) == before


def test_a_frozen_account_extends_nothing() -> None:
    books = state()
    after(books, hold(100))
    books.accounts[1].owed = 5
    assert apply(books, extend()).reason == "frozen"


# -- settle and release -------------------------------------------------------------------------------------


def test_a_settlement_charges_and_gives_the_rest_back() -> None:
    books = state()
    assert after(books, hold(100), settle(30)) == Result("APPLIED", None, 30, 0, free=970, posted=970)
    assert moves(books) == [("h", "customer", "revenue", 30)]
    assert not books.new_holds and not books.ended  # held and ended within one batch: no row at all
    assert (books.keys["k"].period_used, books.keys["k"].period_held, books.keys["k"].total_used) == (30, 0, 30)


def test_a_settlement_sent_again_charges_once() -> None:
    books = state()
    assert after(books, hold(100), settle(30), settle(30)).status == "REPLAYED"
    assert figures(books) == (970, 0, 0, 0)
    assert books.keys["k"].total_used == 30
    assert len(books.transfers) == 1


def test_a_free_settlement_sent_again_moves_nothing() -> None:
    books = state()
    assert after(books, hold(100), settle(0), settle(0)).amount == 0
    assert figures(books) == (1_000, 0, 0, 0)
    assert not books.transfers


def test_cost_above_the_hold_is_taken_from_what_is_free() -> None:
    books = state(150)
    result = after(books, hold(100), settle(130))
    assert (result.amount, result.shortfall) == (130, 0)


def test_cost_above_all_there_is_is_the_houses_loss() -> None:
    books = state(150)
    after(books, hold(100), hold(20, id="other"))
    result = apply(books, settle(200))
    assert (result.amount, result.shortfall, result.posted, result.held) == (130, 70, 20, 20)
    assert moves(books) == [("h", "customer", "revenue", 130), ("h:shortfall", "shortfall", "revenue", 70)]
    assert apply(books, settle(200)) == replace(result, status="REPLAYED")


def test_a_settlement_of_which_all_was_lost_is_replayed_too() -> None:
    books = state(0)
    assert after(books, settle(7)).shortfall == 7
    assert after(books, settle(7)).status == "REPLAYED"
    assert len(books.transfers) == 1


def test_a_late_settlement_takes_what_is_free_once() -> None:
    books = state(150)
    after(books, hold(100), release(), settle(160), settle(160))
    assert figures(books) == (0, 0, 0, 0)
    assert moves(books) == [("h", "customer", "revenue", 150), ("h:shortfall", "shortfall", "revenue", 10)]


def test_nobody_ends_the_hold_of_another_account() -> None:
    books = state()
    after(books, hold(100), settle(10, account_id=2), release(account_id=2))
    assert figures(books) == (1_000, 100, 0, 0)
    assert "h" in books.holds


def test_a_release_gives_all_back() -> None:
    books = state()
    assert after(books, hold(100), release()).amount == 100
    assert figures(books) == (1_000, 0, 0, 0)
    assert books.keys["k"].period_held == 0
    assert apply(books, release()).reason == "no_hold"


def test_only_a_lapsed_owner_loses_its_hold() -> None:
    books = state()
    after(books, hold(100))
    assert apply(books, release(if_lapsed=True)).reason == "no_hold"
    books.lapsed = frozenset({OWNER})
    assert apply(books, release(if_lapsed=True)).status == "APPLIED"


def test_an_ended_hold_that_was_in_the_database_is_deleted() -> None:
    books = state()
    after(books, hold(100))
    books.new_holds.clear()
    after(books, extend(10), settle(5))
    assert books.ended == ["h"]
    assert not books.resized


def test_the_receipt_is_completed_by_what_was_done() -> None:
    books = state(150)
    after(books, hold(100), settle(200, record=receipt(1, "k", "h", NOON)))
    written = dict(zip(REQUEST, books.records[1, "h"], strict=True))
    assert (written["held_nano"], written["cost_nano"], written["shortfall_nano"]) == (100, 150, 50)


def test_a_late_receipt_in_the_batch_of_the_release_keeps_what_was_held() -> None:
    books = state()
    lost = receipt(1, "k", "h", NOON, rule="gateway_lost")
    after(books, hold(100), release(record=lost), settle(30, record=receipt(1, "k", "h", NOON)))
    (record,) = books.records.values()
    written = dict(zip(REQUEST, record, strict=True))
    assert (written["held_nano"], written["cost_nano"], written["rule"]) == (100, 30, "complete")


# -- keys' periods -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "start"),
    [
        (None, 0),
        ("daily", 1_767_744_000_000),  # 2026-01-07
        ("weekly", 1_767_571_200_000),  # Monday 2026-01-05
        ("monthly", 1_767_225_600_000),  # 2026-01-01
    ],
)
def test_when_a_period_began(reset: str | None, start: int) -> None:
    assert period_start(reset, NOON) == start
    if reset:
        assert period_start(reset, start) == start
        assert period_start(reset, start - 1) < start


@pytest.mark.parametrize(("reset", "days"), [("daily", 1), ("weekly", 7), ("monthly", 31)])
def test_a_new_period_starts_empty_and_an_old_hold_does_not_count_in_it(reset: str, days: int) -> None:
    books = state(limit_nano=200, reset_period=reset)
    after(books, hold(60, id="old"), settle(50, id="old"), hold(150))
    books.now_ms += days * DAY
    assert after(books, hold(200, id="new")).status == "APPLIED"
    assert apply(books, settle(120)).amount == 120
    new = books.keys["k"]
    assert (new.period_used, new.period_held, new.total_used) == (0, 200, 170)
    assert apply(books, hold(1, id="more")).reason == "key_limit"


def test_an_extension_in_a_new_period_counts_nowhere() -> None:
    books = state(limit_nano=100, reset_period="daily")
    after(books, hold(100))
    books.now_ms += DAY
    books.touched_keys.clear()
    assert after(books, extend(100)).status == "APPLIED"
    assert books.keys["k"].period_held == 0
    assert books.touched_keys == {"k"}  # else the old period would be left with a hold that it does not count
    after(books, settle(150))
    assert (books.keys["k"].period_held, books.keys["k"].period_used) == (0, 0)


def test_a_clock_set_back_begins_no_period_again() -> None:
    books = state(limit_nano=100, reset_period="daily")
    after(books, hold(60))
    books.now_ms -= DAY
    assert apply(books, hold(60, id="more")).reason == "key_limit"
    after(books, settle(60))
    assert (books.keys["k"].period_held, books.keys["k"].period_used) == (0, 60)


# -- credit and reverse -----------------------------------------------------------------------------------


def test_a_credit_and_its_bonus() -> None:
    books = state(0)
    assert apply(books, credit(500, bonus=Ratio(1, 20))).amount == 525
    assert figures(books) == (525, 0, 0, 25)
    assert moves(books) == [("rail:1", "deposits:rail", "customer", 500), ("rail:1:bonus", "bonus", "customer", 25)]


def test_a_bonus_of_nothing_is_no_transfer() -> None:
    books = state(0)
    apply(books, credit(19, bonus=Ratio(1, 20)))
    assert figures(books) == (19, 0, 0, 0)


def test_a_credit_sent_again_is_credited_once() -> None:
    books = state(0)
    assert after(books, credit(), credit()).status == "REPLAYED"
    assert apply(books, credit(501)).reason == "mismatch"
    assert apply(books, credit(account_id=9)).reason == "no_account"
    assert figures(books) == (500, 0, 0, 0)


def test_a_reversal_takes_what_is_free_and_its_bonus_along() -> None:
    books = state(0)
    result = after(books, credit(500, bonus=Ratio(1, 20)), reverse(500))
    assert result.amount == 525
    assert figures(books) == (0, 0, 0, 0)
    assert apply(books, reverse(500)).status == "REPLAYED"
    assert figures(books) == (0, 0, 0, 0)


def test_a_reversal_of_spent_credit_is_owed_and_the_next_deposit_pays_it() -> None:
    books = state(0)
    after(books, credit(500, bonus=Ratio(1, 20)), hold(400), settle(400), hold(50, id="open"))
    after(books, reverse(500))
    assert figures(books) == (50, 50, 450, 0)
    assert apply(books, hold(1, id="next")).reason == "frozen"
    after(books, settle(20, id="open"))  # what it leaves free goes to the debt
    assert figures(books) == (0, 0, 420, 0)
    after(books, credit(400, "rail:2"))
    assert figures(books) == (0, 0, 20, 0)
    after(books, credit(100, "rail:3"))
    assert figures(books) == (80, 0, 0, 0)
    assert apply(books, hold(80, id="next")).status == "APPLIED"


def test_a_release_pays_the_debt_too() -> None:
    books = state(0)
    after(books, credit(500), hold(400), reverse(500), release())
    assert figures(books) == (0, 0, 0, 0)
    assert ("h:owed", "customer", "debtors", 400) in moves(books)


def test_parts_never_take_back_more_than_the_credit_and_its_bonus() -> None:
    books = state(0)
    after(books, credit(100, bonus=Ratio(1, 20)), credit(100, "rail:2", bonus=Ratio(1, 20)))
    taken = [apply(books, reverse(1, part=f":{number}")).amount for number in range(100)]
    assert sum(taken) == 105
    assert apply(books, reverse(1, part=":more")).reason == "mismatch"
    assert figures(books) == (105, 0, 0, 5)


def test_a_part_takes_its_part_of_the_bonus_rounded_up() -> None:
    books = state(0)
    assert after(books, credit(100, bonus=Ratio(1, 20)), reverse(30, part=":a")).amount == 32
    assert after(books, reverse(70, part=":b")).amount == 73


@pytest.mark.parametrize("wrong", [reverse(501), reverse(1, of="rail:2")], ids=["too much", "never credited"])
def test_what_was_not_credited_is_not_reversed(wrong: Reverse) -> None:
    books = state(0)
    assert after(books, credit(500), wrong).reason == "mismatch"
    assert figures(books) == (500, 0, 0, 0)


def test_no_account_no_reversal() -> None:
    assert apply(state(), Reverse(9, "rail:1", 1)).reason == "no_account"


# -- the house ---------------------------------------------------------------------------------------------


def test_a_house_transfer_is_booked_once() -> None:
    books, cost = state(), House("cost:x:2026-01-06", "upstream:x", "costs", 7)
    assert after(books, cost).status == "APPLIED"
    assert after(books, cost) == Result("REPLAYED", None, 7)
    assert moves(books) == [("cost:x:2026-01-06", "upstream:x", "costs", 7)]


def test_a_renewal_touches_nothing() -> None:
    books = state()
    assert apply(books, Renew()) == Result("APPLIED")
    assert not (books.touched_accounts or books.transfers)
