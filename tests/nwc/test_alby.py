"""Our client and a wallet by another hand, Alby's service from npm, over a whole relay."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nostr_sdk import Keys

from perquery.nwc import Connection, NwcClient, WalletError
from perquery.outbound import Client
from tests.nwc.conftest import AT, HANG_S
from tests.nwc.wallet import local_relay

WALLET = Path(__file__).with_name("alby_wallet.mjs")
NPM = Path(__file__).parents[2] / ".agents" / "npm"  # make test-slow fills it
NODE = shutil.which("node")


@asynccontextmanager
async def alby(relay: str, folder: Path) -> AsyncIterator[Connection]:
    """The wallet, once it listens; what reaches it."""
    assert NODE is not None
    assert (NPM / "node_modules/@getalby/sdk").exists(), "it is not installed: make test-slow does that"
    (folder / "node_modules").symlink_to(NPM / "node_modules")  # it finds its packages beside itself
    script = shutil.copy(WALLET, folder)
    wallet, caller = Keys.generate(), Keys.generate()
    words = [relay, wallet.secret_key().to_hex(), caller.public_key().to_hex()]
    process = await asyncio.create_subprocess_exec(NODE, script, *words, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(HANG_S):
            while await process.stdout.readline() != b"ready\n":
                assert not process.stdout.at_eof()
        yield Connection(wallet.public_key().to_hex(), (relay,), caller.secret_key().to_hex())
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="there is no Node: on Debian, apt-get install nodejs npm")
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
