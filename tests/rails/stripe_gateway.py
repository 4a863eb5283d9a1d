"""What a service and a ledger make of the card rail: a gateway that asks in rounds, and a till that is strict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perquery.outbound import Client
from perquery.rails.rail import PayableRequest, Receipt, Watched
from perquery.rails.stripe import StripeCheckout
from perquery.rails.stripe_events import SETTLED_S
from tests.rails.stripe import KEY, WEBHOOK_SECRET, ScriptedStripe

ASKED = PayableRequest(2_500, "PerQuery top-up 7Xk", 1_800)
DAY_MS = 86_400_000
SETTLED_MS = (SETTLED_S + 1) * 1_000
THANKS, BACK = "https://gate.example/topup?paid", "https://gate.example/topup"


class Till:
    """What a ledger makes of receipts, as strict as it can be: a name has one amount, and what is gone stays gone."""

    def __init__(self) -> None:
        self.known: dict[str, Receipt] = {}

    def hear(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            before = self.known.get(receipt.id)
            if receipt.state == "confirmed" and before is not None:
                assert before == receipt, "a receipt changed, or came back from the dead"
            self.known[receipt.id] = receipt

    @property
    def cents(self) -> int:
        return sum(receipt.amount for receipt in self.known.values() if receipt.state == "confirmed")


class Gateway:
    """A rail with what a service remembers for it; `restart` forgets the rest."""

    def __init__(self, stripe: ScriptedStripe, now: list[int], client: Client, key: str = KEY) -> None:
        self._stripe, self._now, self._client, self._key = stripe, now, client, key
        self.cursor = ""
        self.watched: list[Watched] = []
        self.till = Till()
        self.news = asyncio.Event()
        self.restart()

    def restart(self) -> None:
        clock = lambda: self._now[0]  # noqa: E731
        self.rail = StripeCheckout(
            self._client, self._key, WEBHOOK_SECRET, THANKS, BACK, clock, self.news, self._stripe.url
        )

    async def make(self, request: PayableRequest = ASKED) -> str:
        made = await self.rail.make(request)
        self.watched.append(Watched(made.rail_ref, self._now[0] + request.expiry_s * 1_000))
        return made.rail_ref

    async def paid(self) -> str:
        """A page made, paid and heard of; the payment."""
        payment = self._stripe.pay(await self.make())
        await self.hear()
        assert self.till.cents == ASKED.amount
        return payment

    async def hear(self) -> list[Receipt]:
        """One round, as the service does it, at a time when the rail is willing to ask."""
        self._now[0] += 601_000
        return await self.hear_now()

    async def hear_now(self) -> list[Receipt]:
        found: list[Receipt] = []
        while True:
            receipts, after = await self.rail.receipts(self.cursor, self.watched)
            self.till.hear(receipts)
            found += receipts
            if after == self.cursor:
                return found
            self.cursor = after


Story = Callable[[Gateway], Awaitable[Any]]
Tell = Callable[..., Any]


def telling(stripe: ScriptedStripe, now: list[int], story: Story, key: str = KEY) -> Any:
    """What the story gives, told of a gateway of its own. now: milliseconds, which the story moves."""

    async def run() -> Any:
        client = Client()
        try:
            return await story(Gateway(stripe, now, client, key))
        finally:
            await client.close()

    return asyncio.run(run())
