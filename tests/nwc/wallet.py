"""A NIP-47 wallet with faults, on relays as its users' wallets are: what our client and all that pays or is paid
over it is tested with. It pays through a function that it is given, counts what it paid for each invoice, knows a
request by its event's id and, like Alby Hub, says nothing when one comes again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any, Protocol

from nostr_sdk import EventBuilder, Keys, Kind, LocalRelayBuilder, PublicKey, Tag, Timestamp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from perquery.nwc.uri import Connection

PAYING = ("pay_invoice", "get_balance", "get_info")
RECEIVING = ("make_invoice", "lookup_invoice", "list_transactions", "get_info")
Pay = Callable[[str], Awaitable[str | None]]  # the preimage, which some wallets keep to themselves


class Refusal(Exception):
    """What the wallet answers as an error."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class Fault(Enum):
    """What happens to one request. Those that forge an answer (an error) do so before the true one."""

    NORMAL = auto()
    SILENT = auto()  # acted on, never answered
    DEAF = auto()  # never acted on, never answered
    SLOW = auto()  # acted on and answered once `release` is set
    TWICE = auto()  # answered twice
    ERROR_FIRST = auto()  # says INTERNAL, then acts and says so
    WRONG_AUTHOR = auto()
    BAD_SIGNATURE = auto()  # on a relay that does not look
    UNKNOWN_REQUEST = auto()
    GARBAGE = auto()
    DROP = auto()  # the callers' connections are cut, and the answer follows once the request came again


class Receiving(Protocol):
    """The book behind make_invoice and its like."""

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]: ...


class NwcWallet:
    """plan: the faults of the next requests, NORMAL after those. encryption: what the info event says, None for no
    tag, which means nip04 alone; answers are encrypted as their requests. drop: cuts the callers' connections. clock:
    milliseconds, of what is published, in place of the time of day. addressed: whether an answer names the caller
    besides the request; those of Alby's SDK do not.
    """

    def __init__(
        self,
        pay: Pay,
        *,
        encryption: str | None = "nip44_v2 nip04",
        methods: Sequence[str] = PAYING,
        book: Receiving | None = None,
        drop: Callable[[], None] | None = None,
        clock: Callable[[], int] | None = None,
        addressed: bool = True,
    ) -> None:
        self.plan: deque[Fault] = deque()
        self.paid: Counter[str] = Counter()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.release = asyncio.Event()
        self.seen: Counter[str] = Counter()
        self.keys, self.app = Keys.generate(), Keys.generate()
        self.methods = tuple(methods)
        self.notifies: tuple[str, ...] = ()
        self._pay = pay
        self.encryption = encryption
        self._book = book
        self._drop = drop
        self._clock = clock
        self._addressed = addressed
        self._again = asyncio.Event()
        self._lines: list[ClientConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def connection(self, *relays: str) -> Connection:
        return Connection(self.keys.public_key().to_hex(), relays, self.app.secret_key().to_hex())

    async def start(self, *relays: str) -> None:
        for url in relays:
            line = await connect(url)
            self._lines.append(line)
            wanted = {"kinds": [23194], "#p": [self.keys.public_key().to_hex()]}
            await line.send(json.dumps(["REQ", "requests", wanted]))
            while json.loads(await line.recv())[0] != "EOSE":
                pass
            self._begin(self._serve(line))
        await self.announce()

    async def announce(self) -> None:
        """Publish the info event anew."""
        tags = [] if self.encryption is None else [["encryption", self.encryption]]
        if self.notifies:
            tags.append(["notifications", " ".join(self.notifies)])
        await self._publish(self._event(self.keys, 13194, " ".join(self.methods), tags))

    async def notify(self, kind: str, body: dict[str, Any]) -> None:
        text = json.dumps({"notification_type": kind, "notification": body})
        sealed = self.keys.nip44_encrypt(self.app.public_key(), text)
        await self._publish(self._event(self.keys, 23197, sealed, [["p", self.app.public_key().to_hex()]]))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines:
            await line.close()

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: ClientConnection) -> None:
        try:
            async for text in line:
                message = json.loads(text)
                if message[0] == "EVENT":
                    self._heard(message[2])
        except ConnectionClosed:
            pass

    def _heard(self, event: dict[str, Any]) -> None:
        self.seen[event["id"]] += 1
        if self.seen[event["id"]] == 1:
            self._begin(self._handle(event, self.plan.popleft() if self.plan else Fault.NORMAL))
        else:
            self._again.set()

    async def _handle(self, event: dict[str, Any], fault: Fault) -> None:
        caller, sealed = PublicKey.parse(event["pubkey"]), event["content"]
        old = "?iv=" in sealed
        if not old and "nip44" not in (self.encryption or ""):
            return  # it cannot read this
        decrypt = self.keys.nip04_decrypt if old else self.keys.nip44_decrypt
        asked = json.loads(decrypt(caller, sealed))
        self.asked.append((asked["method"], asked["params"]))
        if fault is Fault.DEAF:
            return
        if fault in FORGED or fault is Fault.ERROR_FIRST:
            await self._publish(self._forged(event, asked["method"], fault))
        if fault is Fault.SLOW:
            await self.release.wait()
        answer = await self._answer(asked["method"], asked["params"])
        if fault is Fault.SILENT:
            return
        if fault is Fault.DROP and self._drop is not None:
            self._again.clear()
            self._drop()
            await self._again.wait()
        for _ in range(2 if fault is Fault.TWICE else 1):
            await self._publish(self._sealed(self.keys, event, answer))

    async def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await self._acted(method, params)
        except Refusal as refusal:
            return {"result_type": method, "error": {"code": refusal.code, "message": refusal.words}, "result": None}
        return {"result_type": method, "error": None, "result": result}

    async def _acted(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method not in self.methods:
            raise Refusal("RESTRICTED", f"this connection may not {method}")
        if method == "pay_invoice":
            preimage = await self._pay(params["invoice"])
            self.paid[params["invoice"]] += 1
            return {"fees_paid": 0} if preimage is None else {"preimage": preimage, "fees_paid": 0}
        if method == "get_balance":
            return {"balance": 21_000_000}
        if method == "get_info":
            about = {"alias": "scripted", "network": "regtest", "block_height": 1}
            return about | {"methods": list(self.methods), "notifications": list(self.notifies)}
        if self._book is None:
            raise Refusal("NOT_IMPLEMENTED", method)
        return self._book.ask(method, params)

    def _forged(self, event: dict[str, Any], method: str, fault: Fault) -> dict[str, Any]:
        error = {"result_type": method, "error": {"code": "INTERNAL", "message": fault.name}}
        if fault is Fault.GARBAGE:
            return self._event(self.keys, 23195, secrets.token_hex(40), self._for(event))
        if fault is Fault.WRONG_AUTHOR:
            return self._sealed(Keys.generate(), event, error)
        if fault is Fault.BAD_SIGNATURE:
            return self._sealed(self.keys, event, error) | {"sig": "00" * 64}
        if fault is Fault.UNKNOWN_REQUEST:
            return self._sealed(self.keys, event | {"id": secrets.token_hex(32)}, error)
        return self._sealed(self.keys, event, error)

    def _sealed(self, by: Keys, event: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        encrypt = by.nip04_encrypt if "?iv=" in event["content"] else by.nip44_encrypt
        return self._event(by, 23195, encrypt(PublicKey.parse(event["pubkey"]), json.dumps(answer)), self._for(event))

    def _for(self, event: dict[str, Any]) -> list[list[str]]:
        return [["p", event["pubkey"]], ["e", event["id"]]] if self._addressed else [["e", event["id"]]]

    def _event(self, by: Keys, kind: int, content: str, tags: list[list[str]]) -> dict[str, Any]:
        built = EventBuilder(Kind(kind), content).tags([Tag.parse(tag) for tag in tags])
        if self._clock is not None:
            built = built.custom_created_at(Timestamp.from_secs(self._clock() // 1000))
        event: dict[str, Any] = json.loads(built.finalize(by).as_json())
        return event

    async def _publish(self, event: dict[str, Any]) -> None:
        for line in self._lines:
            await line.send(json.dumps(["EVENT", event]))


FORGED = (Fault.WRONG_AUTHOR, Fault.BAD_SIGNATURE, Fault.UNKNOWN_REQUEST, Fault.GARBAGE)


@asynccontextmanager
async def local_relay() -> AsyncIterator[str]:
    """A whole relay on loopback; its URL."""
    relay = LocalRelayBuilder().addr("127.0.0.1").build()
    await relay.run()
    try:
        yield str(await relay.url())
    finally:
        relay.shutdown()
