"""A scripted Esplora of Liquid over a scripted chain whose payments are truly blinded, by another library than ours.

No Liquid chain runs here: the blocks are the script's, the cryptography is Liquid's own.
"""

from __future__ import annotations

import ctypes
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import lwk
import wallycore

from tests.answering import Asked, answering
from tests.rails.chains import SECOND_MS, Paid, ScriptedChain, Server

NETWORK: Final = lwk.Network.regtest_default()
BITCOIN: Final = str(NETWORK.policy_asset())
TETHER: Final = "ce091c998b83c78bb71a632313ba3760f1763d9cfcffae02258ffa9865a37bd2"
SIGNER: Final = lwk.Signer(lwk.Mnemonic("abandon " * 11 + "about"), NETWORK)
DESCRIPTOR: Final = str(SIGNER.wpkh_slip77_descriptor())
_FEE: Final = 100
_ZERO: Final = bytes(32)
# wallycore crashes the interpreter that takes its (SWIG's) table of types down at its end: with one reference more it
# is left alone.
_TYPES: Final = next(each for name, each in sys.modules.items() if name.startswith("swig_runtime"))
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_TYPES.__dict__["type_pointer_capsule"]))


def _blinded(transaction: Any, address: str, amount: int, asset: bytes) -> None:
    """One output, as a wallet makes it: the only blinded one, so that its factor balances those of the inputs."""
    to = wallycore.confidential_addr_segwit_to_ec_public_key(address, "el")
    plain = wallycore.confidential_addr_to_addr_segwit(address, "el", "ert")
    script = wallycore.addr_segwit_to_bytes(plain, "ert", 0)
    asset_factor, ephemeral = secrets.token_bytes(32), secrets.token_bytes(32)
    generator = wallycore.asset_generator_from_bytes(asset, asset_factor)
    value_factor = wallycore.asset_final_vbf([amount, amount], 1, _ZERO + asset_factor, _ZERO)
    commitment = wallycore.asset_value_commitment(amount, value_factor, generator)
    nonce = wallycore.ec_public_key_from_private_key(ephemeral)
    proof = wallycore.asset_rangeproof(
        amount, to, ephemeral, asset, asset_factor, value_factor, commitment, script, generator, 1, 0, 52
    )
    spent = wallycore.asset_generator_from_bytes(asset, _ZERO)
    surjection = wallycore.asset_surjectionproof(
        asset, asset_factor, generator, secrets.token_bytes(32), asset, _ZERO, spent
    )
    wallycore.tx_add_elements_raw_output(transaction, script, generator, commitment, nonce, surjection, proof, 0)


class LiquidChain(ScriptedChain):
    """asset: that the next payments are in."""

    asset = BITCOIN

    def pay(self, *outputs: tuple[str, int]) -> Paid:
        asset = bytes.fromhex(self.asset)[::-1]
        made = wallycore.tx_init(2, 0, 1, len(outputs) + 1)
        nothing = (None,) * 8
        wallycore.tx_add_elements_raw_input(made, secrets.token_bytes(32), 0, 0xFFFFFFFD, None, *nothing, 0)
        for address, amount in outputs:
            _blinded(made, address, amount, asset)
        fee = wallycore.tx_confidential_value_from_satoshi(_FEE)
        wallycore.tx_add_elements_raw_output(made, None, b"\x01" + asset, fee, None, None, None, 0)
        flags = wallycore.WALLY_TX_FLAG_USE_WITNESS | wallycore.WALLY_TX_FLAG_USE_ELEMENTS
        raw = wallycore.tx_to_bytes(made, flags).hex()
        paid = Paid(outputs, raw, str(lwk.Transaction.from_string(raw).txid()))
        self.pool.append(paid)
        return paid


class Esplora(Server):
    """instead: raw transactions in place of the true ones, by id."""

    def __init__(self, chain: LiquidChain) -> None:
        super().__init__(chain)
        self.instead: dict[str, str] = {}

    def answer(self, path: str) -> tuple[int, Any]:
        if self.spoil is not None:
            status, said = self.spoil
            return status, said
        if path == "/blocks/tip/height":
            return 200, self.height
        _, kind, name, *_ = path.split("/")
        if kind == "tx":
            raw = {paid.id: paid.raw for paid, _ in self.chain.all()} | self.instead
            return 200, raw[name].encode()
        return 200, [self._shown(paid, height) for paid, height in self.known() if name in dict(paid.outputs)]

    def _shown(self, paid: Paid, height: int) -> dict[str, Any]:
        at_s = self.chain.blocks[height].at_ms // SECOND_MS
        status = {"confirmed": True, "block_height": height, "block_time": at_s} if height else {"confirmed": False}
        return {"txid": paid.id, "vout": [{"valuecommitment": "09…"} for _ in paid.outputs], "status": status}


@contextmanager
def running(chain: LiquidChain) -> Iterator[Esplora]:
    serves = Esplora(chain)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = serves.answer(asked.path)
        return status, said if isinstance(said, bytes) else json.dumps(said).encode()

    with answering(answer) as serves.url:
        yield serves
