"""Settings: everything has a default, unknown fields are refused with the nearest name, secrets by reference."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from perquery import config


def load(tmp_path: Path, text: str, **environment: str) -> config.Settings:
    file = tmp_path / "perquery.toml"
    file.write_text(text, "utf-8")
    return config.load(file=file, data=tmp_path, environment=environment)


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = config.load(data=tmp_path, environment={})
    assert settings.markup == Decimal("1.05")
    assert settings.database == f"sqlite:///{tmp_path}/perquery.db"
    assert not settings.sandbox


def test_the_documented_file_is_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        public_url = "https://ai.example.org"
        trusted_proxies = ["127.0.0.1"]
        markup = "1.10"
        [[providers]]
        name = "scripted"
        dialect = "openai-chat"
        base_url = "http://127.0.0.1:18080/v1"
        api_keys = ["env:SCRIPTED_KEY"]
        [[models]]
        id = "stub-model"
        routes = [{ provider = "scripted", model = "stub-model" }]
        price_usd_per_million = { input = "1.00", output = "2.00" }
        context_tokens = 128000
        output_tokens_max = 8192
        [rails.btc-lightning]
        backend = "sandbox"
        """,
        SCRIPTED_KEY="secret-1",
    )
    assert settings.providers[0].api_keys == ("secret-1",)
    assert settings.models[0].price_usd_per_million is not None
    assert settings.models[0].price_usd_per_million.output == Decimal("2.00")
    assert settings.rails["btc-lightning"].backend == "sandbox"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('makrup = "1"', 'makrup: unknown field; did you mean "markup"?'),
        ('[[providers]]\nname = "a"\nbase_ulr = "x"', 'providers.0.base_ulr: unknown field; did you mean "base_url"?'),
        ("markup = 1.05", "write amounts as strings"),
        ("mode = 'sandbox'", "mode: not a setting"),
        ("[[providers]]\nname='a'\n[[providers]]\nname='a'", "'a' stands twice"),
        ("[[models]]\nid='a'\n[[models]]\nid='a'", "a (chat)' stands twice"),
        ("[limits]\nin_flight_max = 0", "greater than 0"),
        ("= broken", "perquery.toml"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(config.ConfigError) as raised:
        load(tmp_path, text)
    assert message in str(raised.value)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"providers\.api_keys: the environment has no NOPE"):
        load(tmp_path, '[[providers]]\nname = "a"\napi_keys = ["env:NOPE"]')


def test_file_and_folder_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('markup = "2"', "utf-8")
    settings = config.load(environment={"PERQUERY_CONFIG": str(file), "PERQUERY_DATA": str(tmp_path / "d")})
    assert (settings.markup, settings.data) == (Decimal(2), tmp_path / "d")


def test_keys_of_the_environment_are_kept_and_never_shown(tmp_path: Path) -> None:
    settings = config.load(data=tmp_path, environment={"OPENAI_API_KEY": "sk-verysecret", "HOME": "/root"})
    assert settings.environment_keys == {"OPENAI_API_KEY": "sk-verysecret"}
    assert "verysecret" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", False),
        ("http://10.0.0.1", False),
        ("https://127.0.0.1.example.org", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_a_literal(url: str, loopback: bool) -> None:
    assert config.is_loopback(url) is loopback


def test_webhooks_are_told_apart_without_their_secrets(tmp_path: Path) -> None:
    hook = '[[webhooks]]\nurl = "https://me:pass@shop.example/hook?token=quiet"\nsecret = "env:HOOK"\n'
    (webhook,) = load(tmp_path, hook, HOOK="signs").webhooks
    assert (webhook.label, webhook.secret, len(webhook.events)) == ("https://shop.example/hook", "signs", 7)
    with pytest.raises(config.ConfigError, match=r"https://shop\.example/hook' stands twice"):
        load(tmp_path, hook + hook, HOOK="signs")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "ftp://shop.example"\nsecret = "s"', "write an http or https URL"),
        ('url = "http://shop.example"', "secret"),
        ('url = "http://shop.example"\nsecret = "s"\nevents = ["invoice.paid"]', "events"),
    ],
)
def test_a_wrong_webhook_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(config.ConfigError, match=said):
        load(tmp_path, f"[[webhooks]]\n{line}\n")
