"""A real Lightning channel on a real chain: litecoind in regtest mode, ElectrumX, and two Electrum daemons.

Electrum `payer` has a channel to Electrum `till`, which is PerQuery's. All listens on loopback alone; a litecoin chain
stands for bitcoin's, whose node is not packaged. Use `network(folder)`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from perquery.rails import bech32

ROOT: Final = Path(__file__).parents[2]
ELECTRUMX: Final = ROOT / ".agents" / "electrumx" / "bin" / "electrumx_server"  # make test-slow fills it
LITECOIND: Final = Path("/usr/lib/litecoin/litecoind")
SYSTEM_PYTHON: Final = "/usr/bin/python3"  # which has Electrum
HANG_S: Final = 120.0
PACE_S: Final = 0.2  # daemons of other people have nothing to wait for but to be asked again
CHANNEL_BTC: Final = "0.009"


def missing() -> str | None:
    """What is not here, so that no network can be."""
    if not LITECOIND.exists() or not Path("/usr/bin/electrum").exists():
        return "litecoind and electrum are not installed: make test-slow does that"
    return None if ELECTRUMX.exists() else "ElectrumX is not installed: make test-slow does that"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(found: Callable[[], Any], what: str) -> Any:
    """What `found` answers, once that is something; it is asked again while it is nothing, or fails to connect."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException, Refused):
            if answer := found():
                return answer
        threading.Event().wait(PACE_S)
    raise AssertionError(f"never came: {what}")


class Refused(Exception):
    """A daemon answered with an error."""


def ask(port: int, method: str, params: Any, path: str = "/") -> Any:
    """JSON-RPC, with the password that all daemons here have."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"authorization": "Basic " + base64.b64encode(b"u:p").decode(), "content-type": "application/json"}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        connection.request("POST", path, body, headers)
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if answer.get("error"):
        raise Refused(f"{method}: {answer['error']}")
    return answer["result"]


@dataclass
class Daemon:
    """A process whose log is a file of its folder."""

    folder: Path
    words: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.words, env=os.environ | self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)


@dataclass
class Chain:
    """litecoind. Addresses come and go as Electrum writes them (bcrt1…)."""

    daemon: Daemon
    port: int

    def call(self, method: str, *params: Any, wallet: bool = False) -> Any:
        return ask(self.port, method, params, "/wallet/payer" if wallet else "/")

    def mine(self, blocks: int) -> None:
        self.call("generatetoaddress", blocks, self.call("getnewaddress", wallet=True))

    def own(self, address: str) -> str:
        """The address as litecoind writes it."""
        _, program = bech32.decode(address)
        return bech32.encode("rltc", program)

    def pay(self, address: str, coins: str) -> str:
        return str(self.call("sendtoaddress", self.own(address), coins, wallet=True))


@dataclass
class Electrum:
    """One daemon with a wallet. `call` asks its JSON-RPC."""

    daemon: Daemon
    rpc_port: int
    listen_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rpc_port}"

    def call(self, method: str, **params: Any) -> Any:
        return ask(self.rpc_port, method, params)

    def start(self) -> None:
        """Until its wallet is loaded and has heard of the chain."""
        self.daemon.start()
        until(lambda: self.call("getinfo"), "an Electrum that answers")
        wallet = str(self.daemon.folder / "regtest" / "wallets" / "default_wallet")
        if not Path(wallet).exists():
            self.call("create", wallet_path=wallet)
        self.call("load_wallet", wallet_path=wallet)
        until(lambda: self.call("getinfo")["connected"] and self.call("is_synchronized"), "an Electrum in step")

    def channel(self) -> dict[str, Any] | None:
        """The one that is open."""
        found = [channel for channel in self.call("list_channels") if channel["state"] == "OPEN"]
        return found[0] if found else None


@dataclass
class Network:
    chain: Chain
    till: Electrum
    payer: Electrum


def _chain(folder: Path) -> Chain:
    port, peers = free_port(), free_port()
    options = [
        "-regtest", f"-datadir={folder}", "-server", f"-rpcport={port}", "-rpcuser=u", "-rpcpassword=p",
        "-rpcallowip=127.0.0.1", "-rpcbind=127.0.0.1", f"-port={peers}", "-bind=127.0.0.1", "-fallbackfee=0.0002",
        "-txindex", "-mempoolreplacement=1", "-dnsseed=0",
    ]  # fmt: skip
    return Chain(Daemon(folder, [str(LITECOIND), *options], {}), port)


def _index(folder: Path, chain: Chain, port: int) -> Daemon:
    environment = {
        "COIN": "Litecoin",
        "NET": "regtest",
        "DAEMON_URL": f"http://u:p@127.0.0.1:{chain.port}/",
        "SERVICES": f"tcp://127.0.0.1:{port},rpc://127.0.0.1:{free_port()}",
        "DB_DIRECTORY": str(folder),
        "DB_ENGINE": "leveldb",
        "PEER_DISCOVERY": "off",
        "PEER_ANNOUNCE": "",
        "ALLOW_ROOT": "1",
        "COST_SOFT_LIMIT": "1000000",
        "COST_HARD_LIMIT": "2000000",
        "DAEMON_POLL_INTERVAL_BLOCKS": "200",
        "DAEMON_POLL_INTERVAL_MEMPOOL": "200",
    }
    return Daemon(folder, [str(ELECTRUMX)], environment)


def _electrum(folder: Path, index_port: int, genesis: str) -> Electrum:
    rpc_port, listen_port = free_port(), free_port()
    settings = {
        "rpcport": rpc_port,
        "rpchost": "127.0.0.1",
        "rpcuser": "u",
        "rpcpassword": "p",
        "server": f"127.0.0.1:{index_port}:t",
        "oneserver": True,
        "auto_connect": False,
        "lightning_listen": f"127.0.0.1:{listen_port}",
        "bolt11_fallback": False,
        "dynamic_fees": False,
        "fee_per_kb": 2_000,
        "use_gossip": True,
        "check_updates": False,
        "config_version": 3,
    }
    (folder / "regtest").mkdir(parents=True)
    (folder / "regtest" / "config").write_text(json.dumps(settings))
    words = [SYSTEM_PYTHON, str(Path(__file__).with_name("electrum_regtest.py")), "--regtest", "-D", str(folder)]
    environment = {"GENESIS": genesis, "PYTHONWARNINGS": "ignore", "PYTHONPATH": ""}
    return Electrum(Daemon(folder, [*words, "daemon", "-v"], environment), rpc_port, listen_port)


@dataclass
class Indexed:
    """A chain with a filled wallet `payer`, and the ElectrumX beside it."""

    chain: Chain
    index: Daemon
    index_port: int


def _tip(port: int) -> int | None:
    """The height of what an ElectrumX has indexed; None while it does not answer."""
    asked: Final = (("server.version", ("tests", "1.4")), ("blockchain.headers.subscribe", ()))
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection, connection.makefile("rw") as lines:
            for id, (method, params) in enumerate(asked):
                lines.write(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}) + "\n")
            lines.flush()
            lines.readline()
            height: int = json.loads(lines.readline())["result"]["height"]
    except (OSError, ValueError, KeyError):
        return None
    return height


@contextmanager
def indexed(folder: Path, blocks: int = 110) -> Iterator[Indexed]:
    """So many blocks are there to begin with."""
    chain, port = _chain(folder / "chain"), free_port()
    index = _index(folder / "index", chain, port)
    try:
        chain.daemon.start()
        until(lambda: chain.call("getblockcount") is not None, "a chain that answers")
        chain.call("createwallet", "payer")
        chain.mine(blocks)
        index.start()
        until(lambda: _tip(port) == chain.call("getblockcount"), "an index of the whole chain")
        yield Indexed(chain, index, port)
    finally:
        for daemon in (index, chain.daemon):
            daemon.stop()


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """The whole network with its channel open, torn down at the end."""
    running: list[Daemon] = []
    with indexed(folder) as on:
        try:
            yield _opened(folder, on, running)
        finally:
            for daemon in reversed(running):
                daemon.stop()


def _opened(folder: Path, on: Indexed, running: list[Daemon]) -> Network:
    """Two Electrums and the channel between them; what is started goes to `running`."""
    chain, index_port = on.chain, on.index_port
    genesis = chain.call("getblockhash", 0)
    till, payer = (_electrum(folder / name, index_port, genesis) for name in ("till", "payer"))
    for each in (till, payer):
        running.append(each.daemon)
        each.start()
    chain.pay(payer.call("createnewaddress"), "1")
    chain.mine(3)
    until(lambda: float(payer.call("getbalance")["confirmed"]) > 0, "the payer's coins")
    node = till.call("nodeid")
    payer.call("open_channel", connection_string=node, amount=CHANNEL_BTC)
    until(lambda: chain.call("getrawmempool"), "the channel's funding")
    chain.mine(6)
    for each in (till, payer):
        until(each.channel, "an open channel")
    return Network(chain, till, payer)
