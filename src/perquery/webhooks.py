"""The operator's webhooks: sends what the journal of deliveries holds, an invoice's in order, signed, until it is
taken.

Every webhook has a loop and a lease of its own, so a receiver that is dead holds up no other. Nothing is remembered
here: whoever comes next, in this process or another, goes on from what is written down, so a delivery may come twice
and never not at all. This module must never follow a redirect, nor write a secret or a URL anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from perquery.config import Settings, WebhookSetting
from perquery.outbound import Client, OutboundError, Response
from perquery.store import webhooks
from perquery.store.database import Database
from perquery.store.leases import Turn
from perquery.store.webhooks import DeliveryRow

ANSWER_S: Final = 10.0
ANSWER_CHARACTERS: Final = 200  # of an answer that says no; more is never kept
RETRIES_S: Final = (10, 60, 600, 600, 600, 600, 600, 600)  # after the first attempt, the second, …
_AGAIN: Final = frozenset({408, 429})
_LOOK_S: Final = 1.0
_LEASE_MS: Final = 20_000  # above an attempt and the age that a lease may have when one begins
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. status: None where there was no answer; text: its beginning, or what went wrong."""

    status: int | None
    text: str

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def worth_again(self) -> bool:
        """Whether the receiver may yet take it: it did not answer, is in trouble, or asked to be spared for now."""
        return self.status is None or self.status >= 500 or self.status in _AGAIN


def signature(secret: str, at_s: int, body: bytes) -> str:
    """The header by which the receiver knows that the body is ours, and from when it is."""
    signed = hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256)
    return f"t={at_s},v1={signed.hexdigest()}"


async def send(
    client: Client,
    webhook: WebhookSetting,
    delivery_id: str,
    body: bytes,
    at_s: int,
    within_s: float = ANSWER_S,
    *,
    guard: bool = False,
) -> Answer:
    """One attempt. guard: the address is a caller's."""
    headers = {
        "content-type": "application/json",
        "perquery-delivery": delivery_id,
        "perquery-signature": signature(webhook.secret, at_s, body),
    }
    try:
        async with await client.request(
            "POST",
            webhook.url,
            headers=headers,
            body=body,
            timeout_s=within_s,
            idle_timeout_s=within_s,
            guard=guard,
            keep=False,
        ) as response:
            return Answer(response.status, await _beginning(response))
    except OutboundError as error:
        return Answer(None, error.message)


async def _beginning(response: Response) -> str:
    """The answer's first words; that they break off changes nothing, the status has been said."""
    raw = b""
    with contextlib.suppress(OutboundError):
        async for chunk in response:
            raw += chunk[: 4 * ANSWER_CHARACTERS]
            if len(raw) >= 4 * ANSWER_CHARACTERS:
                break
    text = raw.decode("utf-8", "replace")[:ANSWER_CHARACTERS]
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def after(row: DeliveryRow, answer: Answer, now_ms: int) -> DeliveryRow:
    """The delivery after an attempt: delivered, due again, or given up."""
    tried = row.attempts + 1
    row = replace(row, attempts=tried, attempted_at=now_ms, answer_status=answer.status, answer=answer.text)
    if answer.taken:
        return replace(row, state="delivered")
    if answer.worth_again and tried <= len(RETRIES_S):
        return replace(row, due_at=now_ms + RETRIES_S[tried - 1] * 1000)
    return replace(row, state="failed")


class Webhooks:
    """One event loop's. clock: milliseconds; answer_s: how long a receiver may take. Several may run on one
    database, in one process or many.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        clock: Callable[[], int],
        answer_s: float = ANSWER_S,
    ) -> None:
        self._senders = [_Sender(database, client, webhook, clock, answer_s) for webhook in settings.active_webhooks]

    def wake(self) -> None:
        """Something has changed here: look now."""
        for sender in self._senders:
            sender.news.set()

    async def round(self) -> int:
        """Send the one that is due next of every webhook; how many were sent."""
        return sum(await asyncio.gather(*(sender.round() for sender in self._senders)))

    async def run(self) -> None:
        """The background loops, until cancelled."""
        await asyncio.gather(*(sender.run() for sender in self._senders))

    async def close(self) -> None:
        """Give the leases up; `run` must have been cancelled."""
        for sender in self._senders:
            await sender.close()


class _Sender:
    """One webhook's."""

    def __init__(
        self, database: Database, client: Client, webhook: WebhookSetting, clock: Callable[[], int], answer_s: float
    ) -> None:
        self.news = asyncio.Event()
        self._database = database
        self._client = client
        self._webhook = webhook
        self._clock = clock
        self._answer_s = answer_s
        self._turn = Turn(database, f"webhook:{webhook.label}", _LEASE_MS, clock)

    async def run(self) -> None:
        while True:
            self.news.clear()  # before the look: what happens during it is looked for again
            sent = False
            try:
                sent = await self.round()
            except Exception:
                _log.exception("webhook %s: a round failed; trying again", self._webhook.label)
            if not sent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self.news.wait()

    async def round(self) -> bool:
        """Send the next that is due, where the lease is ours; whether one was sent."""
        if not await self._turn.held():
            return False
        row = await asyncio.to_thread(webhooks.next_due, self._database, self._webhook.label, self._clock())
        if row is None:
            return False
        answer = await send(self._client, self._webhook, row.id, row.sent, self._clock() // 1000, self._answer_s)
        row = after(row, answer, self._clock())
        await asyncio.to_thread(webhooks.put, self._database, row)
        if row.state == "failed":
            told = (self._webhook.label, row.id, row.type, row.attempts, answer.status or "no answer")
            _log.error("webhook %s: delivery %s (%s) given up after %d attempts: %s", *told)
        return True

    async def close(self) -> None:
        await self._turn.drop()
