"""Dollar tokens on a real chain: anvil, with ERC-20 contracts compiled by Solidity's own compiler; a live gateway that
knows public keys alone. Whatever becomes of a payment, the ledger agrees with the chain afterwards.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from perquery.rails.evm_addresses import EvmAddresses
from tests.answering import Asked, answering
from tests.networks.anvil import Anvil, anvil, missing
from tests.networks.channel import ask, until
from tests.rails.evm import account
from tests.serving import Gateway, run_command, start

CONFIRMATIONS = 3
DUE = 20 * 10**6  # twenty dollars
OTHER_CHAIN = 8_453
ACCOUNTS = itertools.count()  # so that no two gateways hand out the same addresses


@dataclass
class Net:
    """Two chains. ours, foreign: tokens on the first one; thick: one with 18 decimals on the second, which keeps a
    tenth of each payment.
    """

    main: Anvil
    side: Anvil
    ours: str
    foreign: str
    thick: str


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("anvil")
    with anvil(folder / "main") as main, anvil(folder / "side", OTHER_CHAIN) as side:
        yield Net(main, side, main.deploy(6), main.deploy(6), side.deploy(18, fee_percent=10))


@dataclass
class Relay:
    """A node in front of the first chain. skips: it leaves out all logs; range_max: blocks that it looks through."""

    url: str
    skips: bool = False
    range_max: int = 50


@pytest.fixture(scope="module")
def relay(net: Net) -> Iterator[Relay]:
    made = Relay("")

    def answer(asked: Asked) -> tuple[int, bytes]:
        body = json.loads(asked.body)
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        if body["method"] == "eth_getLogs":
            first, last = (int(body["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first >= made.range_max:
                return 400, json.dumps(said | {"error": {"code": -32_602, "message": "range too wide"}}).encode()
            if made.skips:
                return 200, json.dumps(said | {"result": []}).encode()
        return 200, json.dumps(said | {"result": ask(net.main.port, body["method"], body["params"])}).encode()

    with answering(answer) as made.url:
        yield made


@dataclass
class Caller:
    """An account of a live gateway. first: its rail's first address."""

    net: Net
    gateway: Gateway
    key: str
    first: str

    def created(self) -> dict[str, Any]:
        answer = self.gateway.call("POST", "/topup/create/usdc", {"amount": 20, "currency": "USDC"}, key=self.key)
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json()
        return found

    def becomes(self, invoice: dict[str, Any], state: str, credited: float = 0) -> None:
        def shown() -> tuple[str, float]:
            path = f"/topup/status/{invoice['invoice_id']}"
            found = self.gateway.call("GET", path, key=self.key).json()
            return found["state"], found["credited_usd"]

        until(lambda: shown() == (state, credited), f"{state} with {credited} credited, after {shown()}")

    def check(self) -> str:
        """The books are right; what the comparison with the chain said beside its figures."""
        assert self.gateway.command("ledger", "verify")["ok"]
        gateway = self.gateway
        result = run_command("ledger", "reconcile", "--json", data=gateway.data, config=gateway.config)
        (compared,) = json.loads(result.stdout)
        assert compared["ok"] and not compared["difference"], compared
        return result.stderr

    def again(self) -> None:
        self.gateway = start(self.gateway.data, self.gateway.config, sandbox=False)


@pytest.fixture(scope="module", params=[CONFIRMATIONS, "finalized"])
def running(
    request: pytest.FixtureRequest, net: Net, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    """A gateway for each way to be final, whose account nobody uses."""
    final, xpub, folder = json.dumps(request.param), account(next(ACCOUNTS)), tmp_path_factory.mktemp("gateway")
    file = folder / "perquery.toml"
    file.write_text(
        f'rates.fixed = {{ USDC = "1" }}\n[rails.usdc]\nbackend = "evm"\nxpub = "{xpub}"\n'
        f'[rails.usdc.chains.main]\nurls = ["{net.main.url}", "{relay.url}"]\nchain_id = 31337\n'
        f'contract = "{net.ours}"\ndecimals = 6\nfinal = {final}\n'
        f'[rails.usdc.chains.side]\nurls = ["{net.side.url}"]\nchain_id = {OTHER_CHAIN}\n'
        f'contract = "{net.thick}"\ndecimals = 18\nfinal = {final}\n'
    )
    made = Caller(net, start(folder / "data", file, sandbox=False), "", EvmAddresses(xpub).at(0))
    try:
        yield made
    finally:
        if made.gateway.process.poll() is None:
            made.gateway.stop()


@pytest.fixture
def caller(running: Caller) -> Caller:
    running.key = running.gateway.account()[1]
    return running


UNDOABLE = pytest.mark.parametrize("running", [CONFIRMATIONS], indirect=True)


@pytest.mark.slow
def test_two_logs_of_one_transaction_and_what_is_no_payment(caller: Caller) -> None:
    invoice, net = caller.created(), caller.net
    assert [each["network"] for each in invoice["networks"]] == ["main", "side"]
    address = invoice["address"]
    net.main.pay(net.foreign, (address, DUE))
    net.main.pay(net.ours, (address, DUE // 4), (net.main.dealer, DUE), (address, 3 * DUE // 4))
    caller.becomes(invoice, "new")
    net.main.mine()
    caller.becomes(invoice, "seen")
    net.main.mine(CONFIRMATIONS - 1)
    caller.becomes(invoice, "settled", 20)
    told = caller.check()
    assert "of another token, credited to nobody" in told and net.foreign.lower() in told


@pytest.mark.slow
def test_eighteen_decimals_and_a_fee_on_another_chain(caller: Caller) -> None:
    invoice, side = caller.created(), caller.net.side
    side.pay(caller.net.thick, (invoice["address"], 10 * 10**18))
    side.mine(CONFIRMATIONS)
    caller.becomes(invoice, "seen", 9)
    side.pay(caller.net.thick, (invoice["address"], 20 * 10**18))
    side.mine(CONFIRMATIONS)
    caller.becomes(invoice, "settled", 27)
    caller.check()
    listed = caller.gateway.command("wallet", "holdings", "usdc", "--check")
    (found,) = (each for each in listed if each["address"] == invoice["address"])
    assert (found["network"], found["received"], found["balance"]) == ("side", 27, 27)


@pytest.mark.slow
@UNDOABLE
def test_a_reorganisation_takes_it_back(caller: Caller) -> None:
    """Once with the payment in the new blocks again, once without it."""
    main, ours = caller.net.main, caller.net.ours
    kept, lost = caller.created(), caller.created()
    first = main.pay(ours, (kept["address"], DUE))
    main.mine()
    main.pay(ours, (lost["address"], DUE))
    main.mine(CONFIRMATIONS)
    for invoice in (kept, lost):
        caller.becomes(invoice, "settled", 20)
    main.reorganise(CONFIRMATIONS + 1, main.raw(first))
    caller.becomes(lost, "new")
    caller.becomes(kept, "settled", 20)
    assert caller.gateway.balance(caller.key) == 20
    caller.check()
    main.reorganise(CONFIRMATIONS + 1)
    caller.becomes(kept, "new")
    assert caller.gateway.balance(caller.key) == 0
    main.pay(ours, (kept["address"], DUE))
    main.mine(CONFIRMATIONS)
    caller.becomes(kept, "settled", 20)
    caller.check()


@pytest.mark.slow
def test_a_gap_is_read_again(caller: Caller, relay: Relay) -> None:
    """Paid while the gateway was killed, many blocks ago; and one of its two nodes leaves it out at first."""
    main = caller.net.main
    invoice = caller.created()
    caller.becomes(invoice, "new")
    caller.gateway.kill()
    main.pay(caller.net.ours, (invoice["address"], DUE))
    main.mine(200)
    relay.skips = True
    caller.again()
    caller.becomes(invoice, "seen")
    assert caller.gateway.balance(caller.key) == 0
    relay.skips = False
    caller.becomes(invoice, "settled", 20)
    caller.check()


@pytest.mark.slow
def test_the_wallet_is_proven(caller: Caller) -> None:
    shown = run_command("wallet", "check", data=caller.gateway.data, config=caller.gateway.config).stdout
    assert caller.first in shown.replace("\n", "") and "anvil/v1" in shown
    listed = caller.gateway.call("GET", "/topup/payment-methods").json()["supported_methods"]
    assert [method["method"] for method in listed] == ["usdc"]
