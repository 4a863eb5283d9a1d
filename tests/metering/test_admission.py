"""Who may come in: the bound, the fair share, the patience with an empty balance."""

from __future__ import annotations

import contextlib

import pytest

from perquery.errors import BalanceBackoff, Overloaded
from perquery.metering.admission import STRIKES, Admission


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_more_than_the_limit_at_once() -> None:
    admission = Admission(2, Clock())
    with admission.place(1), admission.place(2), pytest.raises(Overloaded) as caught, admission.place(3):
        pass
    assert caught.value.headers["retry-after"] == "1"
    assert admission.in_flight == 0


def test_one_account_alone_may_use_all() -> None:
    admission = Admission(8, Clock())
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(admission.place(1))
        assert admission.in_flight == 8


def test_while_others_wait_no_account_takes_more_than_a_quarter() -> None:
    admission = Admission(8, Clock())
    with contextlib.ExitStack() as stack:
        for account in (1, 1, 2, 3, 4, 5):
            stack.enter_context(admission.place(account))
        with pytest.raises(Overloaded):
            stack.enter_context(admission.place(1))
        stack.enter_context(admission.place(6))
        assert admission.in_flight == 7


def test_hammering_at_an_empty_balance_is_asked_to_wait_longer_and_longer() -> None:
    clock = Clock()
    admission = Admission(8, clock)
    waits = []
    for _ in range(STRIKES + 3):
        with contextlib.suppress(BalanceBackoff), admission.place(1):
            pass
        admission.refused_empty(1)
        with contextlib.suppress(Overloaded):
            try:
                with admission.place(1):
                    pass
            except BalanceBackoff as error:
                waits.append(int(error.headers["retry-after"]))
                clock.now += waits[-1]
    assert waits == [1, 2, 4, 8]


def test_a_credit_ends_the_wait() -> None:
    admission = Admission(8, Clock())
    for _ in range(STRIKES):
        admission.refused_empty(1)
    admission.credited(1)
    with admission.place(1):
        assert admission.in_flight == 1


def test_old_refusals_are_forgotten() -> None:
    clock = Clock()
    admission = Admission(8, clock)
    for _ in range(STRIKES - 1):
        admission.refused_empty(1)
    clock.now += 61
    admission.refused_empty(1)
    with admission.place(1):
        assert admission.in_flight == 1
