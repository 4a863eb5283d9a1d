"""One node of a chain of Ethereum's kind: what it must prove, ranges too wide for it, and answers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.chain import View
from perquery.rails.evm_node import NOWHERE, EvmNode, Span
from perquery.rails.rail import RailDown
from perquery.rails.tokens import Token
from perquery.rails.transfers import Block
from tests.rails import evm
from tests.rails.chains import Paid

PAYEE = "0x" + "cd" * 20
TOKEN = Token("local", evm.CHAIN_ID, evm.CONTRACT, 6, 2)
NOW_MS = 1_800_000_000_000
BILLION = 10**9


@pytest.fixture
def chain() -> evm.EvmChain:
    return evm.EvmChain(lambda: NOW_MS)


@pytest.fixture
def node(chain: evm.EvmChain) -> Iterator[evm.Evm]:
    with evm.running(chain) as running:
        yield running


def ask(node: evm.Evm, question: Callable[[EvmNode], Awaitable[Any]], token: Token = TOKEN) -> Any:
    async def main() -> Any:
        client = Client()
        try:
            return await question(EvmNode(client, node.url + "/v3/SECRET", token))
        finally:
            await client.close()

    return asyncio.run(main())


def look(node: evm.Evm, *payees: str, token: Token = TOKEN) -> View:
    async def question(asked: EvmNode) -> View:
        first = await asked.block(0)
        return await asked.look(payees, Span(first))

    found: View = ask(node, question, token)
    return found


def test_a_payment(chain: evm.EvmChain, node: evm.Evm) -> None:
    paid = chain.pay((PAYEE, 5 * BILLION), ("0x" + "ee" * 20, BILLION), (PAYEE, BILLION))
    chain.mine(3)
    view = look(node, PAYEE)
    assert (view.height, view.node) == (chain.height, "Geth/v1.16.4/linux-amd64")
    names = [f"{evm.CHAIN_ID}:{paid.id}:{index}" for index in (0, 2)]
    assert [(each.id, each.amount) for each in view.outputs] == [(names[0], 5 * BILLION), (names[1], BILLION)]
    assert {(each.address, each.confirmations, each.at_ms, each.block) for each in view.outputs} == {
        (PAYEE, 3, NOW_MS, chain.height - 2)
    }


def test_letters_in_other_cases_are_the_same_payment(chain: evm.EvmChain, node: evm.Evm) -> None:
    chain.pay((PAYEE, BILLION))
    chain.mine()
    small = look(node, PAYEE)
    node.shouts = True
    assert look(node, PAYEE) == small and len(small.outputs) == 1


def test_by_what_the_chain_calls_final(chain: evm.EvmChain, node: evm.Evm) -> None:
    chain.pay((PAYEE, BILLION))
    chain.mine(node.final_depth)
    token = Token("local", evm.CHAIN_ID, evm.CONTRACT, 6)
    assert [each.confirmations for each in look(node, PAYEE, token=token).outputs] == [0]
    chain.mine()
    view = look(node, PAYEE, token=token)
    assert ([each.confirmations for each in view.outputs], view.height) == ([1], chain.height - node.final_depth)


def test_what_pays_nothing_is_no_payment(chain: evm.EvmChain, node: evm.Evm) -> None:
    """Logs of nothing are how thieves make their address look like one that was paid before."""
    chain.pay((PAYEE, 0), (PAYEE, 1))
    chain.mine()
    assert look(node, PAYEE).outputs == []


def test_another_contracts_token_is_none_and_is_told(chain: evm.EvmChain, node: evm.Evm) -> None:
    chain.mine()
    other, thing = "0x" + "11" * 20, "0x" + "22" * 20
    unique = node.log(chain.height, "0x" + "ab" * 32, 1, thing, PAYEE, 7)
    unique["topics"].append(unique["data"])
    node.strays = [node.log(chain.height, "0x" + "ab" * 32, 0, other, PAYEE, 5), unique | {"data": "0x"}]
    assert look(node, PAYEE).outputs == []
    found = ask(node, lambda asked: asked.strays([PAYEE], Span(Block(0, "0x", 0))))
    assert [(each.contract, each.units, each.fungible) for each in found] == [(other, 5, True), (thing, 7, False)]


@pytest.mark.parametrize("range_max", [1, 3, 50, 10_000])
def test_ranges_that_are_too_wide_are_asked_for_in_parts(chain: evm.EvmChain, node: evm.Evm, range_max: int) -> None:
    node.range_max = range_max
    for _ in range(3):
        chain.pay((PAYEE, BILLION))
        chain.mine(7)
    assert len(look(node, PAYEE).outputs) == 3
    asked = [params[0] for method, params in node.asked if method == "eth_getLogs"]
    read = [(int(each["fromBlock"], 16), int(each["toBlock"], 16)) for each in asked]
    done = [(first, last) for first, last in read if last - first < range_max]
    assert sorted(number for first, last in done for number in range(first, last + 1)) == list(range(1, 122))


def test_a_node_that_refuses_every_width_is_asked_for_wide_ranges_again(chain: evm.EvmChain, node: evm.Evm) -> None:
    async def question(asked: EvmNode) -> None:
        first = await asked.block(0)
        node.range_max = 0
        with pytest.raises(RailDown, match=r"refuses eth_getLogs: .*exceeds max block range"):
            await asked.look([PAYEE], Span(first))
        node.range_max = 10_000
        node.asked.clear()
        await asked.look([PAYEE], Span(first))
        assert [method for method, _ in node.asked].count("eth_getLogs") == 1

    ask(node, question)


def test_many_addresses_are_asked_for_in_parts(chain: evm.EvmChain, node: evm.Evm) -> None:
    payees = [f"0x{number:040x}" for number in range(1, 1_202)]
    chain.pay((payees[0], BILLION), (payees[-1], BILLION))
    chain.mine()
    assert [each.address for each in look(node, *payees).outputs] == [payees[0], payees[-1]]


def test_a_block_that_is_replaced_during_the_look_is_looked_at_again(chain: evm.EvmChain, node: evm.Evm) -> None:
    paid = chain.pay((PAYEE, BILLION))
    chain.mine(2)
    answer = node.answer
    undone: list[Paid] = []

    def answers(method: str, params: list[Any]) -> Any:
        found = answer(method, params)
        if method == "eth_getLogs" and not undone:
            undone.append(paid)
            chain.reorganise(2, forgetting=[paid])
        return found

    node.answer = answers  # type: ignore[method-assign]
    assert undone == [] and look(node, PAYEE).outputs == [] and undone == [paid]


def test_the_last_block_before_a_time(node: evm.Evm, chain: evm.EvmChain) -> None:
    for number, block in enumerate(chain.blocks):
        block.at_ms = number * 1_000
    for at_ms, number in ((0, 0), (1, 0), (50_000, 49), (50_001, 50), (10**9, 90)):
        assert ask(node, partial(EvmNode.before, at_ms=at_ms, buried=11)).number == number


WRONG = [
    ("chain_id", 1, "serves chain 1, not 31337"),
    ("decimals", 18, "has 18 decimals, not 6"),
    ("spoil", (502, b"<html>Bad Gateway</html>"), "answered 502"),
    ("spoil", (429, {"error": {"code": -32_005, "message": "slow down"}}), "answered 429"),
    ("spoil", (200, b"<html>"), "something else than JSON"),
    ("spoil", (200, {"jsonrpc": "2.0", "id": 1}), "does not answer eth_chainId"),
    ("spoil", (200, {"error": {"code": -32_601, "message": "no such method"}}), "refuses eth_chainId"),
    ("spoil", (200, {"result": "31337"}), "not as it should be"),
    ("spoil", (200, {"result": None}), "not as it should be"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_what_is_not_this_token_on_this_chain_is_not_believed(node: evm.Evm, name: str, value: Any, why: str) -> None:
    setattr(node, name, value)
    with pytest.raises(RailDown, match=why) as caught:
        ask(node, lambda asked: asked.look((), NOWHERE))
    assert "SECRET" not in str(caught.value) and "local by 127.0.0.1" in str(caught.value)


def test_a_contract_that_is_none(node: evm.Evm) -> None:
    with pytest.raises(RailDown, match="has no token at 0x11"):
        ask(node, lambda asked: asked.look((), NOWHERE), Token("local", evm.CHAIN_ID, "0x" + "11" * 20, 6))


def test_what_was_final_must_still_be(node: evm.Evm, chain: evm.EvmChain) -> None:
    other = Span(Block(5, "0x" + "00" * 32, 0))
    with pytest.raises(RailDown, match="has another block 5 than the one that was final"):
        ask(node, lambda asked: asked.look((), other))
    with pytest.raises(RailDown, match="has fallen behind: it has no block 999"):
        ask(node, lambda asked: asked.look((), Span(Block(999, "0x", 0))))


def test_a_payment_that_cannot_be(node: evm.Evm, chain: evm.EvmChain) -> None:
    chain.pay((PAYEE, 2 * 10**17))
    chain.mine()
    with pytest.raises(RailDown, match="a payment that cannot be"):
        look(node, PAYEE)
