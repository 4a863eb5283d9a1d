"""Coins that are paid on a chain of transactions with outputs, as data: how their addresses look, when a payment of
theirs counts, when it can no longer vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

# From this many whole coins on (all that was paid to one address together), so many confirmations.
Ladder: TypeAlias = tuple[tuple[Decimal, int], ...]


@dataclass(frozen=True, slots=True)
class Network:
    """hrp: of segwit addresses; p2pkh, p2sh: first bytes of the older ones; genesis: hash of the first block, where
    it is worth checking.
    """

    hrp: str
    p2pkh: bytes
    p2sh: bytes
    genesis: str | None = None


@dataclass(frozen=True, slots=True)
class Coin:
    """networks: by the names that the setting `network` has; buried: confirmations after which no more is asked."""

    name: str
    networks: Mapping[str, Network]
    ladder: Ladder
    buried: int


# Bitcoin Core 28, src/kernel/chainparams.cpp.
BITCOIN: Final = Coin(
    name="BTC",
    networks={
        "bc": Network("bc", b"\x00", b"\x05", "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
        "tb": Network("tb", b"\x6f", b"\xc4"),
        "tbs": Network("tb", b"\x6f", b"\xc4"),
        "bcrt": Network("bcrt", b"\x6f", b"\xc4"),
    },
    ladder=((Decimal(0), 1), (Decimal("0.005"), 2), (Decimal("0.02"), 3), (Decimal("0.1"), 6)),
    buried=100,
)
# Monero's wallets do not spend younger outputs; one that pays much may be asked for more by the operator.
MONERO_LADDER: Final[Ladder] = ((Decimal(0), 10),)
MONERO_BURIED: Final = 60
# Two blocks of Liquid cannot be undone (its federation signs them). The asset: docs.liquid.net, "Asset ID of L-BTC".
LIQUID_LADDER: Final[Ladder] = ((Decimal(0), 2),)
LIQUID_BURIED: Final = 10
LIQUID_BITCOIN: Final = "6f0279e9ed041c3d710a9f57d0c02928416460c4b722ae3457a11eec381c526d"
# Litecoin Core 0.21, src/chainparams.cpp. Its blocks come four times as fast, and cost far less to undo.
LITECOIN: Final = Coin(
    name="LTC",
    networks={
        "bc": Network("ltc", b"\x30", b"\x32", "12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2"),
        "tb": Network("tltc", b"\x6f", b"\x3a"),
        "bcrt": Network("rltc", b"\x6f", b"\x3a"),
    },
    ladder=((Decimal(0), 2), (Decimal(5), 4), (Decimal(20), 6)),
    buried=400,
)
