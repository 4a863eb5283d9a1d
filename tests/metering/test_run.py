"""Whom the gateway plans to ask: the usual, what a conversation carries, where it is warm; and what is held for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from perquery.calls import Call, Preferences, Upstream
from perquery.catalog.models import Found
from perquery.config import Settings
from perquery.metering.gateway import Gateway
from perquery.metering.meters import Meters
from perquery.metering.reserve import Quote
from perquery.metering.routing import Plan
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from tests.metering.test_routing import CALL, HOSTS, A, B, C, D, Host, found

MIXED: dict[str, Upstream] = {**HOSTS, "b": Host("b", dialects=("anthropic",)), "d": Host("d")}
ALL = found(A, B, C)
SIGNED: dict[str, Any] = {"role": "assistant", "reasoning_details": [{"format": "anthropic-claude-v1"}]}


def prepare(*_: Any) -> tuple[bytes, list[str]]:
    raise NotImplementedError


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    database = open_database(f"sqlite:///{tmp_path}/x.db", mode="live")
    yield Gateway(Settings(), Ledger(database.driver(), "test"), MIXED, prepare, Meters(CollectorRegistry()))
    database.close()


def names(plan: Plan) -> str:
    return "".join(route.provider for route in plan.routes)


def quoted(gateway: Gateway, call: Call, *models: Found) -> Quote:
    return gateway.quote(call, gateway.plan(call, models, 1))


def test_without_a_wish_the_models_own_routes_as_they_are(gateway: Gateway) -> None:
    plan = gateway.plan(CALL, [ALL], 1)
    assert plan.routes is ALL.model.routes
    assert gateway.quote(CALL, plan).bound is ALL.model.bound
    gateway.remember(plan, CALL, 1, A)
    assert not gateway.conversations


def test_signed_thinking_goes_to_its_vendors_dialect_unless_the_caller_says_otherwise(gateway: Gateway) -> None:
    body = {"messages": [*CALL.body["messages"], SIGNED]}
    assert names(gateway.plan(replace(CALL, body=body), [ALL], 1)) == "bac"
    ordered = replace(CALL, body=body, preferences=Preferences(order=("c",)))
    assert names(gateway.plan(ordered, [ALL], 1)) == "cab"
    without = replace(CALL, body=body, preferences=Preferences(ignore=frozenset("b")))
    assert names(gateway.plan(without, [ALL], 1)) == "ac"


def test_where_all_speak_the_same_nobody_looks(gateway: Gateway) -> None:
    body = {"messages": [SIGNED]}
    assert names(gateway.plan(replace(CALL, body=body), [found(A, C)], 1)) == "ac"
    assert not gateway.terms(found(A, C).model).mixed


def test_a_warm_route_first_never_against_a_wish(gateway: Gateway) -> None:
    gateway.remember(gateway.plan(CALL, [ALL], 1), CALL, 1, C)
    assert names(gateway.plan(CALL, [ALL], 1)) == "cab"
    assert names(gateway.plan(CALL, [ALL], 2)) == "abc"
    for wishes, order in (
        (Preferences(sort="price"), "bca"),
        (Preferences(order=("b",)), "bac"),
        (Preferences(only=frozenset("ab")), "ab"),
        (Preferences(sort="latency"), "cab"),
    ):
        assert names(gateway.plan(replace(CALL, preferences=wishes), [ALL], 1)) == order


def test_an_order_that_moves_is_remembered_from_the_first_answer_on(gateway: Gateway) -> None:
    call = replace(CALL, preferences=Preferences(sort="latency"))
    gateway.remember(gateway.plan(call, [ALL], 1), call, 1, A)
    gateway.health.live.spoke(A, 0.5)
    gateway.health.live.spoke(B, 0.1)
    assert names(gateway.plan(call, [ALL], 1)) == "acb"


def test_another_models_answer_is_no_place_to_stay(gateway: Gateway) -> None:
    call = replace(CALL, preferences=Preferences(models=("n",)))
    models = (found(A, B), found(D, id="n"))
    gateway.remember(gateway.plan(call, models, 1), call, 1, D)
    assert not gateway.conversations


def test_the_quote_covers_the_dearest_that_is_left(gateway: Gateway) -> None:
    plain = quoted(gateway, CALL, ALL)
    cheap = quoted(gateway, replace(CALL, preferences=Preferences(only=frozenset("b"))), ALL)
    both = quoted(gateway, replace(CALL, preferences=Preferences(models=("n",))), ALL, found(D, id="n"))
    dear = quoted(gateway, CALL, found(D, id="n"))
    assert cheap.nano(100) < plain.nano(100) < both.nano(100) == dear.nano(100)
    assert (plain.others, both.model, both.others) == ((), "m", ("n",))


def test_the_quote_covers_the_longest_answer_of_all(gateway: Gateway) -> None:
    long = found(D, id="n")
    long = long._replace(model=replace(long.model, output_tokens_max=5_000))
    call = replace(CALL, preferences=Preferences(models=("n",)))
    assert quoted(gateway, call, ALL, long).cap_tokens == 5_000
    assert quoted(gateway, replace(call, cap_tokens=10), ALL, long).cap_tokens == 10
