"""A token on several chains by several nodes: gaps that are read again, nodes that skip, lie or are away."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from perquery.config import RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import Means, open_rails
from perquery.rails.rail import PayableRequest, Rail, RailDown, Receipt, Watched, Whole
from tests.rails import evm
from tests.rails.chains import Block

NOW_MS = 1_800_000_000_000
BLOCK_MS = 12_000
DOLLAR = 10**9


class Scene:
    """A rail on chains by two nodes each, and how far it was heard."""

    def __init__(self, stack: ExitStack, finals: Sequence[int | str]) -> None:
        self.now_ms = NOW_MS
        self.chains = [evm.EvmChain(lambda: self.now_ms) for _ in finals]
        self.nodes = [[stack.enter_context(evm.running(chain)) for _ in range(2)] for chain in self.chains]
        for place, nodes in enumerate(self.nodes):
            for node in nodes:
                node.chain_id += place
        rows = {f"c{at}": evm.chain_setting(self.nodes[at], final) for at, final in enumerate(finals)}
        self.setting = RailSetting.model_validate({"backend": "evm", "xpub": evm.XPUB, "chains": rows})
        self.cursor = ""
        self.watched: list[Watched] = []

    def open(self, client: Client) -> Rail:
        means = Means(client, lambda: self.now_ms, asyncio.Event())
        return open_rails(Settings(rails={"usdc": self.setting}), means)["usdc"]

    async def address(self, rail: Rail) -> str:
        """A new invoice's."""
        made = await rail.make(PayableRequest(DOLLAR, "", 3_600, len(self.watched)))
        assert made.rail_ref == made.text.lower()
        self.watched.append(Watched(made.rail_ref, self.now_ms + 3_600_000, self.now_ms))
        return made.text

    async def hear(self, rail: Rail, *, whole: bool = True) -> list[Receipt]:
        """One page."""
        found, self.cursor = await rail.receipts(self.cursor, Whole(self.watched) if whole else self.watched)
        return list(found)

    @property
    def line(self) -> int:
        """The first chain's block up to which nothing is read again."""
        return int(json.loads(self.cursor)[str(evm.CHAIN_ID)]["line"][0])

    def mine(self, blocks: int) -> None:
        """On the first chain, with time between them."""
        self.chains[0].mine()
        self.chains[0].blocks += [Block(self.now_ms) for _ in range(blocks - 1)]
        self.now_ms += blocks * BLOCK_MS

    def read(self) -> list[tuple[int, int]]:
        """The ranges of the token's logs that the first node has been asked for since the last time."""
        asked = self.nodes[0][0].asked
        logs = [params[0] for method, params in asked if method == "eth_getLogs" and "address" in params[0]]
        asked.clear()
        return [(int(each["fromBlock"], 16), int(each["toBlock"], 16)) for each in logs]


def play(body: Callable[[Scene, Rail], Awaitable[None]], *finals: int | str) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            scene, client = Scene(stack, finals or (2,)), Client()
            rail = scene.open(client)
            try:
                await body(scene, rail)
            finally:
                await rail.close()
                await client.close()

    asyncio.run(main())


def states(found: Sequence[Receipt]) -> list[tuple[str, str]]:
    return [(each.id.rpartition(":")[2], each.state) for each in found]


def test_a_receipt_is_named_by_chain_transaction_and_log() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        assert await scene.hear(rail) == []
        paid = scene.chains[0].pay((address, 5 * DOLLAR), (address, 2 * DOLLAR))
        scene.mine(1)
        assert [each.state for each in await scene.hear(rail)] == ["pending", "pending"]
        scene.mine(1)
        found = await scene.hear(rail)
        assert [each.id for each in found] == [f"{evm.CHAIN_ID}:{paid.id}:{index}" for index in (0, 1)]
        assert [(each.state, each.amount, each.rail_ref) for each in found] == [
            ("confirmed", 5 * DOLLAR, address.lower()),
            ("confirmed", 2 * DOLLAR, address.lower()),
        ]
        assert await scene.hear(rail) == []

    play(body)


def test_one_address_is_good_on_every_chain() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        for chain in scene.chains:
            chain.pay((address, DOLLAR))
            chain.mine(2)
        assert sorted(each.id.partition(":")[0] for each in await scene.hear(rail)) == ["31337", "31338"]

    play(body, 2, 2)


def test_it_is_read_from_when_its_first_address_was_given_out() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        for number, block in enumerate(scene.chains[0].blocks):
            block.at_ms = NOW_MS - (100 - number) * 60_000
        await scene.address(rail)
        await scene.hear(rail)
        assert scene.read()[0] == (40, 100)  # an hour before, as clocks may differ

    play(body, "finalized")


def test_only_a_look_at_all_addresses_moves_on_and_only_over_what_is_settled() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        await scene.address(rail)
        await scene.hear(rail)
        assert scene.line == 0
        scene.mine(500)
        await scene.hear(rail, whole=False)
        assert scene.line == 0
        await scene.hear(rail)
        assert scene.line == 590 - 256
        scene.read()
        await scene.hear(rail, whole=False)
        assert scene.read() == [(335, 600)]

    play(body, "finalized")


def test_a_gap_is_read_in_pages_that_are_written_down() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        await scene.hear(rail)
        scene.read()
        scene.mine(24_000)
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(500)
        for node in scene.nodes[0]:
            node.range_max = 2_000
        found, lines = [], []
        for _ in range(3):
            client = Client()
            again = scene.open(client)  # which died in between
            found += await scene.hear(again)
            lines.append(scene.line)
            await client.close()
        assert (states(found), lines) == ([("0", "confirmed")], [10_000, 20_000, scene.chains[0].height - 266])
        read = scene.read()
        assert (read[0][0], read[-1][1]) == (1, scene.chains[0].height)
        assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(read))

    play(body, "finalized")


def test_what_one_node_skips_waits_and_is_asked_for_by_its_block() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        await scene.hear(rail)
        scene.nodes[0][1].skips = True
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(15_000)
        assert states(await scene.hear(rail)) == [("0", "pending")]
        for _ in range(3):
            assert await scene.hear(rail) == []
        assert scene.line > 101
        scene.nodes[0][1].skips = False
        assert states(await scene.hear(rail)) == [("0", "confirmed")]
        scene.read()
        await scene.hear(rail)
        assert all(first > 101 for first, _ in scene.read())

    play(body, "finalized")


def test_what_one_node_invents_never_counts() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        liar = scene.nodes[0][0]
        liar.strays = [liar.log(50, "0x" + "ab" * 32, 0, evm.CONTRACT, address, 5_000_000)]
        assert states(await scene.hear(rail)) == [("0", "pending")]
        scene.mine(500)
        assert await scene.hear(rail) == []
        liar.strays = []
        assert states(await scene.hear(rail)) == [("0", "gone")]

    play(body)


def test_what_the_nodes_say_differently_waits() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        for units, node in enumerate(scene.nodes[0], start=1):
            node.strays = [node.log(50, "0x" + "ab" * 32, 0, evm.CONTRACT, address, units)]
        with pytest.raises(RailDown, match="sources disagree on what 31337:0xab"):
            await scene.hear(rail)

    play(body)


def test_a_reorganisation_takes_it_back_and_its_return_has_a_name_of_its_own() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(3)
        assert states(await scene.hear(rail)) == [("0", "confirmed")]
        scene.chains[0].reorganise(3)
        assert states(await scene.hear(rail)) == [("0", "gone")]
        scene.mine(2)
        assert states(await scene.hear(rail)) == [("0~1", "confirmed")]

    play(body)


def test_nodes_that_have_fallen_behind_take_nothing_back() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(2)
        await scene.hear(rail)
        for node in scene.nodes[0]:
            node.behind = 2
        assert await scene.hear(rail) == []

    play(body)


def test_what_is_paid_while_it_is_looked_for_is_found_by_the_next_look() -> None:
    """On a chain whose blocks are final at once, to an address that was not yet among those looked at."""

    async def body(scene: Scene, rail: Rail) -> None:
        for node in scene.nodes[0]:
            node.final_depth = 0
        await scene.address(rail)
        scene.mine(400)
        before = Whole(scene.watched)
        scene.chains[0].pay((await scene.address(rail), DOLLAR))
        scene.mine(1)
        _, scene.cursor = await rail.receipts(scene.cursor, before)
        assert states(await scene.hear(rail)) == [("0", "confirmed")]

    play(body, "finalized")


def test_another_chain_in_place_of_what_was_final_is_not_believed() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(300)
        assert states(await scene.hear(rail)) == [("0", "confirmed")]
        assert scene.line == 134
        scene.chains[0].reorganise(290)
        with pytest.raises(RailDown, match="another block 134 than the one that was final"):
            await scene.hear(rail)

    play(body, "finalized")


def test_a_chain_that_is_down_holds_up_no_other() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        await scene.hear(rail)
        for node in scene.nodes[1]:
            node.spoil = (502, b"")
        scene.chains[0].pay((address, DOLLAR))
        scene.mine(2)
        assert states(await scene.hear(rail)) == [("0", "confirmed")]
        with pytest.raises(RailDown, match="c1 by"):  # so that nothing expires, and nobody is given an address
            await scene.hear(rail)
        with pytest.raises(RailDown, match="c1 by"):
            await scene.address(rail)

    play(body, 2, 2)


def test_with_two_nodes_both_must_answer() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        scene.nodes[0][1].spoil = (502, b"")
        with pytest.raises(RailDown, match="answered 502"):
            await scene.address(rail)

    play(body)


def test_where_nobody_may_pay_no_node_is_asked() -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        assert await scene.hear(rail) == []
        assert scene.nodes[0][0].asked == []

    play(body)


def test_the_operator_is_told_of_other_tokens(caplog: pytest.LogCaptureFixture) -> None:
    async def body(scene: Scene, rail: Rail) -> None:
        address = await scene.address(rail)
        scene.mine(1)
        node = scene.nodes[0][0]
        node.strays = [node.log(101, "0x" + "ab" * 32, 0, "0x" + "77" * 20, address, 5)]
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert await scene.hear(rail) == []
        told = [record.getMessage() for record in caplog.records]
        assert told == [
            f"c0: {address.lower()} got 5 units of another token, credited to nobody: contract 0x{'77' * 20},"
            f" log 0x{'ab' * 32}:0"
        ]

    play(body)


def test_it_says_what_it_is() -> None:
    async def body(scene: Scene, rail: Any) -> None:
        found = await rail.inspect()
        assert (found.network, found.may_spend) == ("c0, c1", False)
        assert found.node == "c0: Geth/v1.16.4/linux-amd64, block 100; c1: Geth/v1.16.4/linux-amd64, block 90"
        assert "0x9858EfFD232B4033E47d90003D41EC34EcaEda94" in found.advice[0]

    play(body, 2, "finalized")
