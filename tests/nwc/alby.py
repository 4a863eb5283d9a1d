"""A wallet by another hand, Alby's service for NIP-47 from npm, as a process of its own."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nostr_sdk import Keys

from perquery.nwc import Connection

START_S = 30.0
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node: on Debian, apt-get install nodejs npm")
_WALLET = Path(__file__).with_name("alby_wallet.mjs")
_NPM = Path(__file__).parents[2] / ".agents" / "npm"  # make test-slow fills it


@asynccontextmanager
async def alby(relay: str, folder: Path, *pays_at: str) -> AsyncIterator[Connection]:
    """The wallet, once it listens; what reaches it. pays_at: an LNbits, and its wallet's key, where it truly pays."""
    assert NODE is not None
    assert (_NPM / "node_modules/@getalby/sdk").exists(), "it is not installed: make test-slow does that"
    (folder / "node_modules").symlink_to(_NPM / "node_modules")  # it finds its packages beside itself
    script = shutil.copy(_WALLET, folder)
    wallet, caller = Keys.generate(), Keys.generate()
    words = [relay, wallet.secret_key().to_hex(), caller.public_key().to_hex(), *pays_at]
    process = await asyncio.create_subprocess_exec(NODE, script, *words, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while await process.stdout.readline() != b"ready\n":
                assert not process.stdout.at_eof()
        yield Connection(wallet.public_key().to_hex(), (relay,), caller.secret_key().to_hex())
    finally:
        process.kill()
        await process.wait()
