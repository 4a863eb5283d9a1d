"""One frozen settings object from a TOML file and the environment; nobody else reads either.

Unknown fields are refused with the nearest known name. Secrets may be written "env:NAME". Every setting has a
default and is documented in docs/configuration.md. This module must never open a database or a socket.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from perquery import money

Dialect = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class ConfigError(Exception):
    """The configuration is wrong; the message names the field and what would be right."""


def _amount(value: Any) -> Decimal:
    if isinstance(value, float):
        raise ValueError('write amounts as strings ("1.05"), so that they stay exact')
    return money.decimal(value)


Amount = Annotated[Decimal, BeforeValidator(_amount)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Provider(Section):
    """An upstream beyond the built-in table, or overriding a row of it (fields left out keep the row's)."""

    name: Name
    dialect: Dialect | None = None
    base_url: str | None = None
    api_keys: tuple[str, ...] = ()
    markup: Amount | None = None
    cancel_stops_billing: bool | None = None
    keeps_nothing: bool | None = None
    enabled: bool = True


class RouteSetting(Section):
    provider: Name
    model: str


class PriceSetting(Section):
    """USD per million of each; a token that is left out is billed as `input` or `output`."""

    input: Amount | None = None
    output: Amount | None = None
    cache_read: Amount | None = None
    cache_write_5m: Amount | None = None
    cache_write_1h: Amount | None = None
    reasoning: Amount | None = None
    audio_input: Amount | None = None
    audio_output: Amount | None = None
    image_input: Amount | None = None
    image_output: Amount | None = None
    search: Amount | None = None
    request: Amount | None = None
    second: Amount | None = None
    character: Amount | None = None
    image: Amount | None = None
    megapixel: Amount | None = None


Kind = Literal["chat", "embedding", "rerank", "moderation", "stt", "tts", "image", "video"]


class ModelSetting(Section):
    """A model beyond the catalogue, or one whose routes or price replace the catalogue's."""

    id: str = Field(min_length=1, max_length=200)
    kind: Kind = "chat"
    name: str | None = None
    routes: tuple[RouteSetting, ...] = ()
    price_usd_per_million: PriceSetting | None = None
    context_tokens: int = Field(default=128_000, gt=0)
    output_tokens_max: int = Field(default=8_192, gt=0)
    markup: Amount | None = None
    hides_output: bool = False
    aliases: tuple[str, ...] = ()


class ChainSetting(Section):
    """A chain of Ethereum's kind on which a rail's token is taken. What is left out is known by the chain's name."""

    urls: tuple[str, ...] = Field(default=(), repr=False)
    chain_id: int | None = Field(default=None, gt=0)
    contract: str | None = None
    decimals: int | None = Field(default=None, ge=0, le=36)
    final: Literal["finalized"] | Annotated[int, Field(ge=1)] = "finalized"


class RailSetting(Section):
    """A way to be paid. Limits are PPQ's unless set; amounts in the named currency."""

    backend: str
    url: str | None = None
    key: str | None = Field(default=None, repr=False)
    urls: tuple[str, ...] = ()
    store: str | None = None
    coins: tuple[str, ...] = ()  # payment methods of BTCPay's store, as it calls them
    xpub: str | None = Field(default=None, repr=False)
    confirmations: tuple[tuple[Amount, int], ...] = ()  # from so many whole coins on, so many
    chains: Mapping[Name, ChainSetting] = Field(default_factory=dict)
    webhook_secret: str | None = Field(default=None, repr=False)
    success_url: str | None = None
    cancel_url: str | None = None
    first_week_usd: Amount | None = None  # the most that a new account may pay in its first seven days
    tls_cert: Path | None = None  # a PEM file: what the node's certificate is checked with, in place of the system's
    network: Literal["bc", "tb", "tbs", "bcrt"] = "bc"
    enabled: bool = True
    bonus: Amount | None = None
    expiry_s: int | None = Field(default=None, gt=0)
    limits: Mapping[str, tuple[Amount, Amount]] = Field(default_factory=dict)


class SearchSetting(Section):
    """Web search for models whose vendor has none: Exa, active where it has a key (or EXA_API_KEY is set)."""

    api_key: str | None = Field(default=None, repr=False)
    base_url: str = "https://api.exa.ai"
    price_usd: Amount = Decimal("0.02")  # a request; PPQ's


class RatesSetting(Section):
    """Exchange rates of the market. spread: how far apart the sources may be, as a part of the median. fixed: USD for
    a whole coin, for which nobody is asked.
    """

    fixed: Mapping[str, Amount] = Field(default_factory=dict)
    sources: tuple[str, ...] = ("coinbase", "kraken", "bitstamp", "binance", "coingecko", "mempool")
    urls: Mapping[str, str] = Field(default_factory=dict)  # a source's base URL in place of the public one
    btcpay_store: str | None = None
    btcpay_key: str | None = Field(default=None, repr=False)
    refresh_s: int = Field(default=30, ge=1)
    max_age_s: int = Field(default=300, ge=1)
    spread: Amount = Decimal("0.02")
    least_sources: int = Field(default=2, ge=2)


WebhookEvent = Literal[
    "invoice.created",
    "invoice.seen",
    "invoice.settled",
    "invoice.expired",
    "invoice.invalid",
    "payment.credited",
    "payment.reversed",
]


class WebhookSetting(Section):
    """Where the operator's own service is told of invoices. Without `events`, it is told of all."""

    url: str = Field(repr=False)
    secret: str = Field(min_length=1, repr=False)
    name: Name | None = None
    events: tuple[WebhookEvent, ...] = get_args(WebhookEvent)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write an http or https URL")
        return url

    @property
    def label(self) -> str:
        """What its deliveries are kept under: its name, else its URL without what may be a secret."""
        parts = urlsplit(self.url)
        return self.name or parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class SiteSetting(Section):
    """Whose site the web pages are. logo: an SVG or PNG file; accent: "#rrggbb"; contact: e-mail address or URL."""

    name: str = Field(default="PerQuery", min_length=1, max_length=40)
    logo: Path | None = None
    accent: str | None = Field(default=None, pattern=r"^#[0-9a-fA-F]{6}$")
    contact: str | None = Field(default=None, pattern=r"^(https://\S+|[^@\s]+@[^@\s]+)$")
    terms: str | None = Field(default=None, pattern=r"^https://\S+$")
    privacy: str | None = Field(default=None, pattern=r"^https://\S+$")


class RefundSetting(Section):
    """Unspent deposits given back over Lightning, out of a wallet of its own."""

    backend: Literal["lnbits", "sandbox"]
    url: str | None = None
    key: str | None = Field(default=None, repr=False)  # of a wallet that can spend, and that no rail uses
    network: Literal["bc", "tb", "tbs", "bcrt"] = "bc"
    daily_usd: Amount = Decimal(100)  # the most that all accounts together get back within 24 hours
    least_usd: Amount = Decimal(1)
    enabled: bool = True


class Limits(Section):
    """Bounds that keep one caller from harming the others."""

    body_bytes_max: int = Field(default=64 * 2**20, gt=0)
    in_flight_max: int = Field(default=512, gt=0)
    accounts_per_address_hour: int = Field(default=600, gt=0)
    open_invoices_per_account: int = Field(default=20, gt=0)


class VideoSetting(Section):
    """How long and how much of what finished videos hold is kept in the data folder."""

    keep_s: int = Field(default=86_400, gt=0)
    file_bytes_max: int = Field(default=512 * 2**20, gt=0)
    disk_bytes_max: int = Field(default=20 * 2**30, gt=0)


class Timeouts(Section):
    total_s: float = Field(default=1_800, gt=0)
    idle_s: float = Field(default=300, gt=0)
    drain_s: float = Field(default=300, gt=0)
    shutdown_s: float = Field(default=30, gt=0)


class Settings(Section):
    """All settings. `mode` is not in the file: `serve --sandbox` decides it, and the database is stamped with it."""

    mode: Literal["sandbox", "live"] = "live"
    data: Path = Path("data")
    database_url: str = "sqlite:///perquery.db"
    public_url: str | None = None
    api_url: str | None = None
    secret_key: str | None = Field(default=None, min_length=32, repr=False)
    operator_key: str | None = Field(default=None, min_length=32, repr=False)
    private_relays: bool = False
    trusted_proxies: tuple[str, ...] = ()
    markup: Amount = Decimal("1.05")
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    rates: RatesSetting = Field(default_factory=RatesSetting)
    providers: tuple[Provider, ...] = ()
    models: tuple[ModelSetting, ...] = ()
    rails: Mapping[str, RailSetting] = Field(default_factory=dict)
    refunds: RefundSetting | None = None
    search: SearchSetting = SearchSetting()
    site: SiteSetting = SiteSetting()
    webhooks: tuple[WebhookSetting, ...] = ()
    videos: VideoSetting = VideoSetting()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    environment_keys: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @model_validator(mode="after")
    def _unique_names(self) -> Settings:
        for what, names in (
            ("providers", [p.name for p in self.providers]),
            ("models", [f"{m.id} ({m.kind})" for m in self.models]),
            ("webhooks", [w.label for w in self.webhooks]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what}: {sorted(twice)[0]!r} stands twice")
        return self

    @property
    def sandbox(self) -> bool:
        return self.mode == "sandbox"

    @property
    def topup_url(self) -> str:
        """The page where a person tops up; without `public_url` its path."""
        return f"{(self.public_url or '').rstrip('/')}/top-up"

    @property
    def active_webhooks(self) -> tuple[WebhookSetting, ...]:
        """Those that are told of anything: in the sandbox, which has no network, only loopback literals."""
        return tuple(webhook for webhook in self.webhooks if not self.sandbox or is_loopback(webhook.url))

    @property
    def database(self) -> str:
        """The database URL with SQLite paths made absolute under `data`."""
        prefix = "sqlite:///"
        if self.database_url.startswith(prefix):
            return prefix + str((self.data / self.database_url.removeprefix(prefix)).resolve())
        return self.database_url


def is_loopback(url: str) -> bool:
    """Whether the URL's host is a loopback literal (127.0.0.0/8 or ::1); a name, even localhost, is not."""
    try:
        return ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def _nearest(field: str, names: list[str]) -> str:
    near = difflib.get_close_matches(field, names, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(sorted(names))}"


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    """The field names of the section in which an unknown field stands."""
    section: type[Section] = Settings
    for part in path[:-1]:
        section = _SECTIONS.get(str(part), section)
    return [name for name in section.model_fields if name not in ("mode", "environment_keys")]


_SECTIONS: dict[str, type[Section]] = {
    "providers": Provider,
    "models": ModelSetting,
    "routes": RouteSetting,
    "price_usd_per_million": PriceSetting,
    "rails": RailSetting,
    "chains": ChainSetting,
    "refunds": RefundSetting,
    "search": SearchSetting,
    "site": SiteSetting,
    "webhooks": WebhookSetting,
    "videos": VideoSetting,
    "limits": Limits,
    "timeouts": Timeouts,
}


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "configuration"
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown field" + _nearest(str(item["loc"][-1]), _fields_at(item["loc"])))
        else:
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def _secrets(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """The value with every "env:NAME" replaced; an unset name is an error that says so."""
    if isinstance(value, dict):
        return {key: _secrets(item, environment, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list):
        return [_secrets(item, environment, where) for item in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in environment:
            raise ConfigError(f"{where}: the environment has no {name}")
        return environment[name]
    return value


def load(
    *,
    file: Path | None = None,
    data: Path | None = None,
    sandbox: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from `file` (or PERQUERY_CONFIG), `data` (or PERQUERY_DATA) and the environment's API keys.

    Raises ConfigError with the field's name.
    """
    environment = os.environ if environment is None else environment
    file = file or (Path(environment["PERQUERY_CONFIG"]) if environment.get("PERQUERY_CONFIG") else None)
    data = data or (Path(environment["PERQUERY_DATA"]) if environment.get("PERQUERY_DATA") else None)
    try:
        written = tomllib.loads(file.read_text("utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    for reserved in ("mode", "data", "environment_keys"):
        if reserved in written:
            raise ConfigError(f"{reserved}: not a setting of the file")
    written = _secrets(written, environment, "")
    keys = {
        name: value
        for name, value in environment.items()
        if name.endswith(("_API_KEY", "_API_KEYS", "FAL_KEY")) and value
    }
    given = {"mode": "sandbox" if sandbox else "live", "environment_keys": keys}
    try:
        return Settings.model_validate(written | given | ({"data": data} if data else {}))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
