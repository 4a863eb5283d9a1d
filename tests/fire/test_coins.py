"""Coins on their chains as a caller has them: a live gateway, an address for each invoice, paid and credited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perquery.config import load
from perquery.rails.evm_addresses import EvmAddresses
from perquery.rails.spending import could_spend
from perquery.store.drivers import wall_ms
from tests.rails import chains, evm, liquid, monero
from tests.serving import Gateway, run_command, serving

XPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"


@dataclass
class Scene:
    chains: dict[str, chains.ScriptedChain]
    gateway: Gateway
    key: str

    def create(self, rail: str, amount: Any, currency: str = "USD") -> tuple[int, dict[str, Any]]:
        body = {"amount": amount, "currency": currency}
        answer = self.gateway.call("POST", f"/topup/create/{rail}", body, key=self.key)
        return answer.status, answer.json()


def written(folder: Path, url: str, esplora: str, wallet: str, node: evm.Evm) -> Path:
    """Both coins on one scripted chain, each by a branch of its own: they would have the same scripts."""
    rails = "".join(
        f'[rails.{rail}]\nbackend = "electrum-servers"\nurls = ["{url}"]\nnetwork = "bcrt"\n'
        f'xpub = "wpkh({XPUB}/{place}/*)"\n'
        for place, rail in enumerate(("btc", "ltc"))
    )
    file = folder / "perquery.toml"
    lbtc = f'[rails.lbtc]\nbackend = "esplora"\nurls = ["{esplora}"]\nnetwork = "bcrt"\nxpub = "{liquid.DESCRIPTOR}"\n'
    xmr = f'[rails.xmr]\nbackend = "monero-wallet-rpc"\nurl = "{wallet}"\nkey = "u:p"\n'
    tokens = "".join(
        f'[rails.{rail}]\nbackend = "evm"\nxpub = "{evm.account(place)}"\n[rails.{rail}.chains.local]\n'
        f'urls = ["{node.url}"]\nchain_id = {node.chain_id}\ncontract = "{evm.CONTRACT}"\ndecimals = 6\nfinal = 10\n'
        for place, rail in enumerate(("usdc", "usdt"))
    )
    rates = 'rates.fixed = { BTC = "50000", LTC = "100", XMR = "200", USDC = "1", USDT = "0.5" }\n'
    file.write_text(f"{rates}{rails}{lbtc}{xmr}{tokens}")
    return file


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("coins")
    chain = chains.ScriptedChain(wall_ms)
    private, blinded, world = monero.MoneroChain(wall_ms), liquid.LiquidChain(wall_ms), evm.EvmChain(wall_ms)
    with (
        evm.running(world) as node,
        chains.electrum(chain) as server,
        monero.running(private) as wallet,
        liquid.running(blinded) as esplora,
        serving(folder / "data", written(folder, server.url, esplora.url, wallet.url, node), sandbox=False) as gateway,
    ):
        chained = {"btc": chain, "ltc": chain, "lbtc": blinded, "xmr": private, "usdc": world, "usdt": world}
        yield Scene(chained, gateway, gateway.account()[1])


TOKEN = "ethereum:0x5FbDB2315678afecb367f032d93F642f64180aa3@31337/transfer?"
PAID = [
    ("btc", 10_000, "USD", "bcrt1q", 20_000_000, "bitcoin:{}?amount=0.2"),
    ("ltc", 100, "LTC", "rltc1q", 10**10, "litecoin:{}?amount=100"),
    ("lbtc", 0.1, "LBTC", "el1q", 10_000_000, "liquidnetwork:{}?amount=0.1&assetid="),
    ("xmr", 50, "XMR", "8", 50 * 10**12, "monero:{}?tx_amount=50"),
    ("usdc", 20, "USDC", "0x", 20 * 10**9, f"{TOKEN}address={{}}&uint256=20000000"),
    ("usdt", 20, "USD", "0x", 40 * 10**9, f"{TOKEN}address={{}}&uint256=40000000"),
]
USD = {"btc": 10_000, "ltc": 10_000, "lbtc": 5_000, "xmr": 10_000, "usdc": 20, "usdt": 20}


@pytest.mark.parametrize(("rail", "amount", "currency", "begins", "due", "uri"), PAID, ids=[each[0] for each in PAID])
def test_an_invoice_has_an_address_of_its_own_and_is_credited_when_it_is_confirmed(
    scene: Scene, rail: str, amount: float, currency: str, begins: str, due: int, uri: str
) -> None:
    _, scene.key = scene.gateway.account()
    status, made = scene.create(rail, amount, currency)
    assert status == 201 and made["address"].startswith(begins)
    assert made["payment_uri"].startswith(uri.format(made["address"]))
    assert made["expires_at"] - made["created_at"] == 3_600
    assert scene.create(rail, 20)[1]["address"] != made["address"]
    scene.chains[rail].pay((made["address"], due))
    if "networks" in made:  # where a payment shows once it is in a block
        scene.chains[rail].mine()
    path = f"/topup/status/{made['invoice_id']}"
    assert scene.gateway.call("GET", path, key=scene.key).json()["state"] == "seen"
    scene.chains[rail].mine(10)
    assert scene.gateway.call("GET", path, key=scene.key).json()["status"] == "Settled"
    assert scene.gateway.balance(scene.key) == USD[rail]


@pytest.mark.parametrize(
    ("rail", "currency", "least", "most", "under", "over"),
    [
        ("btc", "USD", 10, 10_000, 9.99, 10_000.01),
        ("btc", "BTC", 0.0001, 0.01, 0.00009999, 0.01000001),
        ("ltc", "USD", 2, 1_000, 1.99, 1_000.01),
        ("ltc", "LTC", 0.03, 100, 0.02999999, 100.00000001),
        ("lbtc", "USD", 2, 10_000, 1.99, 10_000.01),
        ("lbtc", "LBTC", 0.00005, 0.1, 0.00004999, 0.10000001),
        ("xmr", "USD", 5, 10_000, 4.99, 10_000.01),
        ("xmr", "XMR", 0.01, 50, 0.009999999, 50.000000001),
        ("usdc", "USD", 5, 10_000, 4.99, 10_000.01),
        ("usdc", "USDC", 5, 10_000, 4.999999, 10_000.000001),
        ("usdt", "USDT", 5, 10_000, 4.999999, 10_000.000001),
    ],
)
def test_its_limits(
    scene: Scene, rail: str, currency: str, least: float, most: float, under: float, over: float
) -> None:
    _, scene.key = scene.gateway.account()
    assert [scene.create(rail, amount, currency)[0] for amount in (least, most, under, over)] == [201, 201, 400, 400]
    listed = scene.gateway.call("GET", "/topup/payment-methods").json()["supported_methods"]
    (shown,) = (method for method in listed if method["method"] == rail)
    assert shown["limits"][currency] == {"min": least, "max": most}
    rates = {"btc": 50_000, "ltc": 100, "lbtc": 50_000, "xmr": 200, "usdc": 1, "usdt": 0.5}
    assert shown["usd_per_coin"] == rates[rail]


def test_the_wallet_is_proven_by_its_first_address(scene: Scene) -> None:
    gateway = scene.gateway
    shown = run_command("wallet", "check", "btc", data=gateway.data, config=gateway.config).stdout
    assert "ElectrumX 1.16.0" in shown and "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8zeqchgx" in shown.replace("\n", "")


def test_what_came_is_listed_by_address_for_moving_it_away(scene: Scene) -> None:
    """Beside the running gateway, without a key; what is there by now is what the nodes say."""
    gateway, (_, scene.key) = scene.gateway, scene.gateway.account()
    made = scene.create("usdc", 5)[1]
    scene.chains["usdc"].pay((made["address"], 6 * 10**9))
    scene.chains["usdc"].mine(10)
    assert gateway.call("GET", f"/topup/status/{made['invoice_id']}", key=scene.key).json()["status"] == "Settled"
    listed = gateway.command("wallet", "holdings", "usdc", "--check")
    (found,) = (each for each in listed if each["invoices"] == [made["invoice_id"]])
    number = found["number"]
    assert found == {
        "rail": "usdc",
        "network": "local",
        "chain_id": evm.CHAIN_ID,
        "contract": evm.CONTRACT,
        "number": number,
        "path": f"m/44'/60'/0'/0/{number}",
        "address": EvmAddresses(evm.XPUB).at(number),
        "invoices": [made["invoice_id"]],
        "received": 6,
        "balance": 6,
    }
    assert found["address"] == made["address"]
    refused = run_command("wallet", "holdings", "xmr", data=gateway.data, config=gateway.config, check=False)
    assert refused.returncode == 1 and "one of btc, ltc, lbtc, usdc, usdt" in refused.stderr


def test_a_tokens_networks_are_told_with_the_address_and_before(scene: Scene) -> None:
    made = scene.create("usdc", 20)[1]
    network = {
        "network": "local",
        "chain_id": evm.CHAIN_ID,
        "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "confirmations": 10,
    }
    assert made["networks"] == [network | {"payment_uri": made["payment_uri"]}]
    listed = scene.gateway.call("GET", "/topup/payment-methods").json()["supported_methods"]
    assert [method["networks"] for method in listed if "networks" in method] == [[network]] * 2


def test_nothing_that_the_running_gateway_was_given_can_spend(scene: Scene) -> None:
    """Its settings as it has read them, its environment, and all that it has written down."""
    gateway = scene.gateway
    texts = [str(load(file=gateway.config, data=gateway.data).model_dump())]
    texts.append(Path(f"/proc/{gateway.process.pid}/environ").read_text("utf-8", "replace"))
    texts += [file.read_bytes().decode("latin-1") for file in gateway.data.rglob("*") if file.is_file()]
    assert evm.XPUB in texts[0] and len(texts) > 3
    assert not [place for place, text in enumerate(texts) if could_spend(text)]


def test_a_gateway_that_could_spend_does_not_start(scene: Scene, tmp_path: Path) -> None:
    assert scene.gateway.config is not None
    file, key = tmp_path / "perquery.toml", evm.account(0, private=True)
    file.write_text(scene.gateway.config.read_text("utf-8").replace(evm.XPUB, key))
    result = run_command("serve", "--port", "0", data=tmp_path / "data", config=file, check=False)
    assert result.returncode
    assert "rails.usdc.xpub: it holds a private key, which could spend: give the public one" in result.stderr
    assert key not in result.stderr
