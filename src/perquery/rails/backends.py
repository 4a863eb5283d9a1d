"""Which wallet stands behind which rail: opens the rails that the settings name.

A sandbox gateway has the sandbox wallet and nothing else; a live one never has it: sandbox credit must not
become real.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from perquery import money
from perquery.config import ConfigError, RailSetting, Settings
from perquery.later import Later
from perquery.nwc import Connection
from perquery.outbound import Client
from perquery.rails.btcpay import BtcpayWallet
from perquery.rails.btcpay_invoices import BtcpayInvoices
from perquery.rails.chain import Chain, ChainRail, Steps
from perquery.rails.cln import ClnWallet
from perquery.rails.coins import (
    BITCOIN,
    LIQUID_BURIED,
    LIQUID_LADDER,
    LITECOIN,
    MONERO_BURIED,
    MONERO_LADDER,
    Coin,
    Ladder,
    Network,
)
from perquery.rails.core_node import CoreNode
from perquery.rails.descriptors import Addresses
from perquery.rails.electrum import ElectrumWallet
from perquery.rails.electrum_server import ElectrumServer
from perquery.rails.esplora import Esplora
from perquery.rails.evm import EvmChain, EvmRail
from perquery.rails.evm_addresses import EvmAddresses
from perquery.rails.evm_node import EvmNode
from perquery.rails.lnbits import LnbitsWallet
from perquery.rails.lnd import LndWallet
from perquery.rails.monero_wallet import MoneroWallet
from perquery.rails.nwc import NwcReceiver
from perquery.rails.phoenixd import PhoenixdWallet
from perquery.rails.rail import Rail
from perquery.rails.sandbox import SandboxWallet
from perquery.rails.sources import Sources
from perquery.rails.spending import ADVICE, could_spend
from perquery.rails.tokens import tokens_of

if TYPE_CHECKING:
    from perquery.rails import liquid, stripe
else:  # each brings a library of several megabytes
    liquid = Later("perquery.rails.liquid")
    stripe = Later("perquery.rails.stripe")

LIGHTNING: Final = "btc-lightning"
_SANDBOX: Final = "sandbox"
_COMMON: Final = frozenset({"backend", "enabled", "bonus", "expiry_s", "limits"})


@dataclass(frozen=True, slots=True)
class Means:
    """What rails are opened with. clock: milliseconds; news: to be set when a payment was pushed."""

    client: Client
    clock: Callable[[], int]
    news: asyncio.Event


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of wallet. needs, takes: the settings without which it cannot be opened, and those it may have.

    open raises ValueError, "FIELD: what is wrong with it".
    """

    open: Callable[[RailSetting, Means], Rail]
    needs: frozenset[str]
    takes: frozenset[str] = frozenset()


def _electrum(rail: RailSetting, means: Means) -> Rail:
    return ElectrumWallet(means.client, rail.url or "", rail.key or "", rail.network)


def _lnbits(rail: RailSetting, means: Means) -> Rail:
    return LnbitsWallet(means.client, rail.url or "", rail.key or "", rail.network)


def _lnd(rail: RailSetting, means: Means) -> Rail:
    return LndWallet(means.client, rail.url or "", rail.key or "", rail.network, trust=_trust(rail))


def _cln(rail: RailSetting, means: Means) -> Rail:
    return ClnWallet(means.client, rail.url or "", rail.key or "", rail.network, trust=_trust(rail))


def _btcpay(rail: RailSetting, means: Means) -> Rail:
    return BtcpayWallet(means.client, rail.url or "", rail.key or "", rail.store or "", rail.network)


def _btcpay_invoices(rail: RailSetting, means: Means) -> Rail:
    if not rail.coins:
        raise ValueError("coins: name at least one payment method of the store, as BTCPay calls it (ZEC-CHAIN)")
    secrets = (rail.url or "", rail.key or "", rail.store or "")
    return BtcpayInvoices(means.client, *secrets, rail.coins, means.clock)


def _phoenixd(rail: RailSetting, means: Means) -> Rail:
    return PhoenixdWallet(means.client, rail.url or "", rail.key or "", rail.network)


def _nwc(rail: RailSetting, means: Means) -> Rail:
    try:
        connection = Connection.parse(rail.key or "")
    except ValueError as error:
        raise ValueError(f"key: {error}") from error
    return NwcReceiver(means.client, connection, rail.network, means.clock, means.news)


def _on_chain(coin: Coin, source: Callable[[RailSetting, Means, Network], Chain], pace_s: float) -> Backend:
    """A coin's addresses, watched by such a source."""

    def opened(rail: RailSetting, means: Means) -> Rail:
        network = coin.networks.get(rail.network)
        if network is None:
            raise ValueError(f"network: {coin.name} has {', '.join(coin.networks)}")
        try:
            addresses = Addresses(rail.xpub or "", network)
        except ValueError as error:
            raise ValueError(f"xpub: {error}") from error
        chain = source(rail, means, network)

        async def address(number: int) -> str:
            made = addresses.at(number)
            if isinstance(chain, CoreNode):
                await chain.watch(made, new=True)
            return made

        return ChainRail(chain, address, _steps(rail, coin.ladder, 8), coin.buried, means.clock, pace_s, network.hrp)

    return Backend(
        opened, needs=frozenset({"xpub"}), takes=frozenset({"url", "urls", "key", "network", "confirmations"})
    )


def _liquid(rail: RailSetting, means: Means) -> Rail:
    if rail.network not in liquid.NETWORKS:
        raise ValueError(f"network: Liquid has {', '.join(liquid.NETWORKS)}")
    if not rail.urls:
        raise ValueError("urls: name at least two Esploras of Liquid (https://host/api), or one that is your own")
    try:
        account = liquid.LiquidAccount(rail.xpub or "", rail.network)
    except ValueError as error:
        raise ValueError(f"xpub: {error}") from error
    chain = Sources([liquid.LiquidEsplora(means.client, url, account) for url in rail.urls])

    async def address(number: int) -> str:
        return account.at(number)

    steps = _steps(rail, LIQUID_LADDER, 8)
    return ChainRail(chain, address, steps, LIQUID_BURIED, means.clock, 20, rail.network)


def _monero(rail: RailSetting, means: Means) -> Rail:
    wallet = MoneroWallet(means.client, rail.url or "", rail.key or "", means.clock, rail.network)
    steps = _steps(rail, MONERO_LADDER, 12)
    return ChainRail(wallet, wallet.address, steps, MONERO_BURIED, means.clock, 10, rail.network, numbered=False)


def _tokens(name: str) -> Mapping[str, Backend]:
    """A dollar token on the chains that the settings name."""

    def opened(rail: RailSetting, means: Means) -> Rail:
        try:
            addresses = EvmAddresses(rail.xpub or "")
        except ValueError as error:
            raise ValueError(f"xpub: {error}") from error
        chains = []
        for token in tokens_of(name, rail):
            urls = rail.chains[token.chain].urls
            if not urls:
                raise ValueError(f"chains.{token.chain}.urls: name at least two RPCs, or one that is your own node's")
            chains.append(EvmChain(token, [EvmNode(means.client, url, token) for url in urls], means.clock))
        if not chains:
            raise ValueError(f"chains: write [rails.{name}.chains.ethereum] with its urls")
        return EvmRail(addresses, chains)

    return {"evm": Backend(opened, needs=frozenset({"xpub", "chains"}))}


def _stripe(rail: RailSetting, means: Means) -> Rail:
    secrets = (rail.key or "", rail.webhook_secret or "", rail.success_url or "", rail.cancel_url or "")
    return stripe.StripeCheckout(means.client, *secrets, means.clock, means.news, rail.url)


def _steps(rail: RailSetting, usual: Ladder, digits: int) -> Steps:
    """The ladder in smallest units. Raises ValueError where it does not begin at 0 and rise."""
    try:
        steps = [(money.scaled(least, digits), count) for least, count in rail.confirmations or usual]
    except ValueError as error:
        raise ValueError(f"confirmations: {error}") from error
    rises = steps == sorted(set(steps)) and all(count >= 1 for _, count in steps)
    if not rises or steps[0][0] != 0:
        raise ValueError(
            'confirmations: write [["0", 1], ["0.02", 3]]: from so many coins on, so many; the first is "0"'
        )
    return steps


def _electrum_servers(rail: RailSetting, means: Means, network: Network) -> Chain:
    if not rail.urls:
        raise ValueError("urls: name at least two servers (ssl://host:port), or one that is your own")
    return Sources([ElectrumServer(means.client, url, network) for url in rail.urls])


def _esplora(rail: RailSetting, means: Means, _network: Network) -> Chain:
    if not rail.urls:
        raise ValueError("urls: name at least two servers (https://host/api), or one that is your own")
    return Sources([Esplora(means.client, url) for url in rail.urls])


def _core(rail: RailSetting, means: Means, network: Network) -> Chain:
    if not rail.url or not rail.key:
        raise ValueError('url: the node\'s RPC needs it, and key ("user:password")')
    return CoreNode(means.client, rail.url, rail.key, network, means.clock)


def _coin(coin: Coin) -> Mapping[str, Backend]:
    return {
        "electrum-servers": _on_chain(coin, _electrum_servers, pace_s=10),
        "esplora": _on_chain(coin, _esplora, pace_s=30),
        "core": _on_chain(coin, _core, pace_s=5),
    }


BACKENDS: Final[Mapping[str, Mapping[str, Backend]]] = {
    "btc": _coin(BITCOIN),
    "card": {
        "stripe": Backend(
            _stripe,
            needs=frozenset({"key", "webhook_secret", "success_url", "cancel_url"}),
            takes=frozenset({"url", "first_week_usd"}),
        ),
    },
    "ltc": _coin(LITECOIN),
    "lbtc": {
        "esplora": Backend(_liquid, needs=frozenset({"xpub", "urls"}), takes=frozenset({"network", "confirmations"})),
    },
    "xmr": {
        "monero-wallet-rpc": Backend(
            _monero, needs=frozenset({"url"}), takes=frozenset({"key", "network", "confirmations"})
        ),
    },
    "usdc": _tokens("usdc"),
    "usdt": _tokens("usdt"),
    LIGHTNING: {
        "electrum": Backend(_electrum, needs=frozenset({"url", "key"}), takes=frozenset({"network"})),
        "lnbits": Backend(_lnbits, needs=frozenset({"url", "key"}), takes=frozenset({"network"})),
        "cln": Backend(_cln, needs=frozenset({"url", "key"}), takes=frozenset({"network", "tls_cert"})),
        "lnd": Backend(_lnd, needs=frozenset({"url", "key"}), takes=frozenset({"network", "tls_cert"})),
        "btcpay": Backend(_btcpay, needs=frozenset({"url", "key", "store"}), takes=frozenset({"network"})),
        "phoenixd": Backend(_phoenixd, needs=frozenset({"url", "key"}), takes=frozenset({"network"})),
        "nwc": Backend(_nwc, needs=frozenset({"key"}), takes=frozenset({"network"})),
    },
    "other": {"btcpay": Backend(_btcpay_invoices, needs=frozenset({"url", "key", "store", "coins"}))},
}


def numbered(name: str, rail: RailSetting) -> Callable[[int], str] | None:
    """The address of each number, of a rail whose settings alone say it; nobody is asked. None for any other."""
    if name in ("usdc", "usdt"):
        return EvmAddresses(rail.xpub or "").at
    if name == "lbtc":
        return liquid.LiquidAccount(rail.xpub or "", rail.network).at
    coin = {"btc": BITCOIN, "ltc": LITECOIN}.get(name)
    return Addresses(rail.xpub or "", coin.networks[rail.network]).at if coin else None


def open_rails(settings: Settings, means: Means) -> dict[str, Rail]:
    """The rails by name. Raises ConfigError, naming the field."""
    rails = {name: rail for name, rail in settings.rails.items() if rail.enabled}
    for name in settings.rails:
        if name not in BACKENDS:
            known = ", ".join(f'"{rail}"' for rail in BACKENDS)
            raise ConfigError(f"rails.{name}: not a rail; known is {known}")
    if settings.sandbox:
        return _sandbox(settings, means)
    opened = {name: _opened(name, rail, means) for name, rail in rails.items()}
    _have_accounts_of_their_own(opened)
    return opened


def _have_accounts_of_their_own(rails: Mapping[str, Rail]) -> None:
    """Raises ConfigError where an address would belong to two callers."""
    firsts: dict[str, str] = {}
    for name, rail in rails.items():
        if isinstance(rail, EvmRail) and (other := firsts.setdefault(rail.first, name)) != name:
            raise ConfigError(f"rails.{name}.xpub: is that of rails.{other}; give each an account of its own")


def _sandbox(settings: Settings, means: Means) -> dict[str, Rail]:
    for name, rail in settings.rails.items():
        if rail.backend != _SANDBOX:
            raise ConfigError(f'rails.{name}.backend: a sandbox has only "{_SANDBOX}", which moves no real coins')
    lightning = settings.rails.get(LIGHTNING)
    if lightning is not None and not lightning.enabled:
        return {}
    return {LIGHTNING: SandboxWallet(settings.data, means.clock)}


def _opened(name: str, rail: RailSetting, means: Means) -> Rail:
    if rail.backend == _SANDBOX:
        raise ConfigError(f"rails.{name}.backend: the sandbox wallet serves only `serve --sandbox`")
    backend = BACKENDS[name].get(rail.backend)
    if backend is None:
        known = ", ".join(f'"{kind}"' for kind in BACKENDS[name])
        raise ConfigError(f'rails.{name}.backend: "{rail.backend}" is not known; known are {known}')
    given = rail.model_fields_set
    for field, value in rail.model_dump().items():
        if could_spend(str(value)):
            raise ConfigError(f"rails.{name}.{field}: {ADVICE}")
    if missing := backend.needs - given:
        raise ConfigError(f"rails.{name}.{min(missing)}: {rail.backend} needs it")
    if foreign := given - _COMMON - backend.needs - backend.takes:
        raise ConfigError(f"rails.{name}.{min(foreign)}: {rail.backend} has no such setting")
    try:
        return backend.open(rail, means)
    except ValueError as error:
        raise ConfigError(f"rails.{name}.{error}") from error


def _trust(rail: RailSetting) -> ssl.SSLContext | None:
    """Trust in the file that `tls_cert` names, be it the node's own certificate or that of who signed it."""
    if rail.tls_cert is None:
        return None
    try:
        trust = ssl.create_default_context(cafile=str(rail.tls_cert))
    except OSError as error:
        raise ValueError(f"tls_cert: not a readable PEM file of certificates: {error.strerror}") from error
    # Nodes sign for themselves, often without the extensions that RFC 5280 asks for.
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trust
