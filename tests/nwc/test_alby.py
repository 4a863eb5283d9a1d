"""Our client and a wallet by another hand, Alby's service from npm, over a whole relay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perquery.nwc import NwcClient, WalletError
from perquery.outbound import Client
from tests.nwc.alby import alby, needs_node
from tests.nwc.conftest import AT, HANG_S
from tests.nwc.wallet import local_relay


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("encryption", ["nip44_v2", "nip04"])
def test_asked_and_answered(tmp_path: Path, encryption: str) -> None:
    async def main() -> None:
        outbound = Client()
        async with (
            local_relay() as relay,
            alby(relay, tmp_path) as connection,
            NwcClient(connection, outbound, allow_private=True) as nwc,
        ):
            info = await nwc.info(HANG_S)
            assert (info.encryption, "pay_invoice" in info.methods) == ("nip44_v2", True)

            def asked(method: str, **params: str) -> str:
                return nwc.sign(method, params, encryption, None, AT)

            assert await nwc.send(asked("get_balance"), HANG_S) == {"balance": 42_000}
            paid = await nwc.send(asked("pay_invoice", invoice="lnbcrt1fair"), HANG_S)
            assert paid == {"preimage": "ab" * 32, "fees_paid": 7}
            for refused, code in (("pay_invoice", "QUOTA_EXCEEDED"), ("list_transactions", "NOT_IMPLEMENTED")):
                with pytest.raises(WalletError) as caught:
                    await nwc.send(asked(refused, invoice="lnbcrt1dear"), HANG_S)
                assert caught.value.code == code
        await outbound.close()

    asyncio.run(main())
