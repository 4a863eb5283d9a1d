"""A wallet of Electrum's daemon as a Lightning rail, over its JSON-RPC.

A receipt is a payment that the wallet's Lightning history holds, named by its payment hash. What reaches a
request's address on the chain is never a receipt: an invoice that names such an address is not handed out. This
module must never call a command that pays.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perquery.outbound import Client
from perquery.rails import lightning
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.node import Node, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

_NAME: Final = "Electrum"
_SAT_PER_BTC: Final = 10**8
_MSAT_PER_SAT: Final = 1_000
_PAID: Final = 3  # the status of a request
_RECEIVED: Final = 1  # the direction of a payment
_HISTORY_BYTES_MAX: Final = 128 * 2**20  # some 300,000 payments: Electrum answers with all of them
_NETWORKS: Final = {"mainnet": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
_FALLBACK: Final = "bolt11_fallback"
_ADVICE: Final = (
    "Electrum's RPC password opens all commands, paying among them: use a wallet of its own for PerQuery, and move"
    " what it holds elsewhere often.",
    "Let the RPC listen on 127.0.0.1 only, and set `rpcuser` and a long `rpcpassword`.",
)
_NO_FALLBACK: Final = (
    "Its invoices name an address of the chain, where a payment would not be seen, so none is handed out: run"
    " `electrum setconfig bolt11_fallback false`."
)


class ElectrumWallet:
    """The rail. url: the daemon's RPC; credential: "user:password"; network: the prefix that its invoices have."""

    pace_s = 1.0

    def __init__(self, client: Client, url: str, credential: str, network: str) -> None:
        headers = {"authorization": "Basic " + b64encode(credential.encode()).decode()}
        self._node = Node(_NAME, url, headers, client, answer_bytes_max=_HISTORY_BYTES_MAX)
        self._network = network
        self._lookups = Lookups()
        self.receivable: int | None = None

    async def make(self, request: PayableRequest) -> Payable:
        # `force`: also where more requests are open than the wallet likes to have unused addresses.
        asked = {
            "amount": _btc(request.amount),
            "memo": request.description,
            "expiration": request.expiry_s,
            "force": True,
        }
        made = await self._call("add_request", **asked)
        if not isinstance(made, dict) or not isinstance(made.get("lightning_invoice"), str):
            raise RailDown(f"{_NAME} made no Lightning invoice; its wallet has no Lightning")
        if made.get("can_receive") is False:
            raise RailDown(f"{_NAME} cannot receive {_btc(request.amount)} BTC now; its channels hold too little")
        return lightning.payable(_NAME, made["lightning_invoice"], str(made.get("rhash")), request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor stays as it is: Electrum has no order that could be gone on from, so what is watched is asked
        for one by one, and the whole history only once one of them is paid.
        """
        self.receivable = _receivable(await self._call("list_channels"))
        paid: dict[str, int] = {}

        async def look(payment_hash: str) -> Seen:
            found = await self._call("get_request", request_id=payment_hash)
            if field(_NAME, found, "status", int) == _PAID:
                paid[payment_hash] = _int(found, "amount_msat")
            return "open"

        try:
            await self._lookups.receipts(watched, look)
        except RailDown as error:
            raise RailDown(str(error), await self._received(paid)) from error
        return await self._received(paid), cursor

    async def _received(self, paid: Mapping[str, int]) -> list[Receipt]:
        """Of these payments those that the wallet's Lightning history has. It has the parts of one that are settled:
        before all are, it says too little.
        """
        if not paid:
            return []
        history = await self._call("lightning_history")
        if not isinstance(history, list):
            raise RailDown(f"{_NAME} answered without a history")
        ours = [item for item in history if isinstance(item, dict) and item.get("payment_hash") in paid]
        received = [
            lightning.receipt(_NAME, item["payment_hash"], _int(item, "amount_msat"), _int(item, "timestamp"))
            for item in ours
            if item.get("type") == "payment" and item.get("direction") == _RECEIVED
        ]
        return [receipt for receipt in received if receipt.amount >= paid[receipt.id]]

    async def close(self) -> None:
        """Nothing is held open here; the client is its owner's."""

    async def inspect(self) -> Inspection:
        about = await self._call("getinfo")
        fallback = await self._call("getconfig", key=_FALLBACK)
        return Inspection(
            node=f"{_NAME} {about['version']}",
            network=_NETWORKS.get(about["network"], about["network"]),
            may_spend=True,
            advice=_ADVICE if fallback is False else (*_ADVICE, _NO_FALLBACK),
        )

    async def _call(self, method: str, **params: Any) -> Any:
        answer = await self._node.post("", {"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        if not isinstance(answer, dict) or "result" not in answer:
            said = answer.get("error") if isinstance(answer, dict) else answer
            raise RailDown(f"{_NAME} refuses {method}: {said!r}"[:200])
        return answer["result"]


def _int(found: Any, name: str) -> int:
    """A whole number, which some versions write as text."""
    number = found.get(name) if isinstance(found, dict) else None
    if type(number) is not int and not (isinstance(number, str) and number.isascii() and number.isdigit()):
        raise RailDown(f"{_NAME} answered without {name} as a whole number")
    return int(number)


def _btc(amount_msat: int) -> str:
    """Whole satoshis as BTC; what is finer is cut off, and the invoice then refused as being for another amount."""
    whole, rest = divmod(amount_msat // _MSAT_PER_SAT, _SAT_PER_BTC)
    return f"{whole}.{rest:08d}"


def _receivable(channels: Sequence[dict[str, Any]]) -> int:
    """Millisatoshi that can be received in one payment: over one channel, or by half of all, as a payer does not
    know how to spread it. Only channels whose peer is there count.
    """
    free = [
        max(0, int(channel["remote_balance"]) - int(channel["remote_reserve"]) - int(channel["remote_unsettled_sent"]))
        for channel in channels
        if channel["state"] == "OPEN" and channel.get("peer_state") == "GOOD"
    ]
    return max(*free, sum(free) // 2, 0) * _MSAT_PER_SAT if free else 0
