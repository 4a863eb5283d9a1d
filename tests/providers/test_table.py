"""Which upstreams are active: by the environment, by the file, and never more than the sandbox allows."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from perquery.calls import Dialect, Draft, Kind
from perquery.catalog.build import build
from perquery.config import ConfigError, ModelSetting, PriceSetting, Provider, RouteSetting, Settings
from perquery.outbound import Client
from perquery.providers.hosts import HOSTS, Host
from perquery.providers.table import Active, activate, check_routes, connect, prepared

LOOPBACK = "http://127.0.0.1:8000/v1"


def active(*rows: dict[str, Any], sandbox: bool = False, **environment: str) -> Active:
    providers = tuple(Provider(**row) for row in rows)
    mode: Any = "sandbox" if sandbox else "live"
    return activate(Settings(mode=mode, providers=providers, environment_keys=environment))


def refused(*rows: dict[str, Any], sandbox: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        active(*rows, sandbox=sandbox)
    return str(caught.value)


def test_nothing_is_active_by_itself() -> None:
    assert active().hosts == {}


@pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if host.env])
def test_each_variable_activates_its_host(name: str) -> None:
    found = [activate(Settings(environment_keys={variable: "secret"})).hosts for variable in HOSTS[name].env]
    assert [(list(hosts), hosts[name].keys) for hosts in found] == [([name], ("secret",))] * len(found)


def test_several_keys() -> None:
    assert active(OPENAI_API_KEYS="a, b,,c").hosts["openai"].keys == ("a", "b", "c")


def test_a_key_that_stands_in_both_variables_is_one() -> None:
    assert active(OPENAI_API_KEY="a", OPENAI_API_KEYS="a,b").hosts["openai"].keys == ("a", "b")


def test_the_first_variable_wins() -> None:
    assert active(GOOGLE_API_KEY="maps", GEMINI_API_KEY="gemini").hosts["google"].keys == ("gemini",)


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(active(OPENAI_API_KEY="secret"))


def test_a_row_of_the_file_keeps_the_table_s_quirks() -> None:
    host = active({"name": "deepseek", "base_url": LOOPBACK}).hosts["deepseek"].host
    assert (host.base_url, host.needs_replay) == (LOOPBACK, True)


def test_a_row_of_the_file_takes_its_key_from_the_environment() -> None:
    found = active({"name": "openai", "cancel_stops_billing": False}, OPENAI_API_KEY="secret").hosts["openai"]
    assert (found.keys, found.host.cancel_stops_billing) == (("secret",), False)


def test_whether_a_host_keeps_nothing_is_the_operators_word() -> None:
    hosts = active({"name": "openai", "keeps_nothing": True}, OPENAI_API_KEY="secret", XAI_API_KEY="secret").hosts
    assert (hosts["openai"].host.keeps_nothing, hosts["xai"].host.keeps_nothing) == (True, False)


def test_a_row_of_the_file_brings_its_own_keys() -> None:
    assert active({"name": "openai", "api_keys": ["b"]}, OPENAI_API_KEY="a").hosts["openai"].keys == ("b",)


def test_a_markup_alone_activates_nothing() -> None:
    found = active({"name": "anthropic", "markup": "1.10"})
    assert (found.hosts, found.notes) == (
        {},
        ("anthropic is not active: it has no key (api_keys or ANTHROPIC_API_KEY)",),
    )


def test_a_host_at_an_address_of_its_own_needs_no_key() -> None:
    assert list(active({"name": "openai", "base_url": "https://proxy.example.org/v1"}).hosts) == ["openai"]


def test_a_row_that_is_off_takes_the_environment_s_out() -> None:
    assert active({"name": "openai", "enabled": False}, OPENAI_API_KEY="a").hosts == {}


def test_a_host_of_its_own() -> None:
    host = active({"name": "mine", "base_url": "https://llm.example.org/v1"}).hosts["mine"].host
    assert (host.name, host.base_url, host.level) == ("mine", "https://llm.example.org/v1", "scripted")


@pytest.mark.parametrize(("url", "stops"), [(LOOPBACK, True), ("https://llm.example.org/v1", False)])
def test_who_vouches_for_a_cancel(url: str, stops: bool) -> None:
    host = active({"name": "mine", "base_url": url}).hosts["mine"].host
    assert (host.cancel_stops_billing, host.closes_after_stream) == (stops, stops)


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/responses"])
def test_the_path_is_ours(end: str) -> None:
    assert active({"name": "mine", "base_url": LOOPBACK + end}).hosts["mine"].host.base_url == LOOPBACK


@pytest.mark.parametrize("row", [{"name": "mine"}, {"name": "vllm"}, {"name": "mine", "base_url": "ftp://x"}])
def test_no_address(row: dict[str, str]) -> None:
    assert refused(row).startswith(f"providers.{row['name']}.base_url:")


def test_the_sandbox_ignores_the_environment_and_says_so() -> None:
    found = active(sandbox=True, OPENAI_API_KEY="a", XAI_API_KEY="b")
    assert (found.hosts, found.notes) == ({}, ("the sandbox ignores the keys of openai, xai",))


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://localhost:8000/v1", "http://10.0.0.5/v1"])
def test_the_sandbox_refuses_what_the_file_names(url: str) -> None:
    assert "loopback" in refused({"name": "mine", "base_url": url}, sandbox=True)


def test_the_sandbox_refuses_a_row_of_the_table() -> None:
    assert "loopback" in refused({"name": "openai", "api_keys": ["a"]}, sandbox=True)


@pytest.mark.parametrize("url", [LOOPBACK, "http://[::1]:8000/v1"])
def test_the_sandbox_takes_loopback(url: str) -> None:
    assert list(active({"name": "mine", "base_url": url}, sandbox=True).hosts) == ["mine"]


def test_connect() -> None:
    async def connected() -> list[tuple[str, bool]]:
        client = Client()
        hosts = active(DEEPSEEK_API_KEY="a", GROQ_API_KEY="b").hosts
        upstreams = connect(hosts, client, lambda: 0.0)
        await client.close()
        return [(upstream.name, upstream.cancel_stops_billing) for upstream in upstreams.values()]

    assert asyncio.run(connected()) == [("deepseek", True), ("groq", False)]


def left(
    host: Host, body: dict[str, Any], *, native: bool = False, caching: bool = False, dialect: Dialect | None = None
) -> tuple[dict[str, Any], list[str]]:
    """What leaves the house, and what was dropped."""
    return prepared(host, Draft(body, dialect or host.dialect, native, caching, 10_000, "ours"), frozenset(), 100)


@pytest.mark.parametrize(
    ("name", "model", "marked"),
    [
        ("anthropic", "claude-sonnet-4-5", True),
        ("openrouter", "anthropic/claude-sonnet-4.5", True),
        ("openrouter", "openai/gpt-5", False),
        ("dashscope", "qwen3.7-max", True),
        ("dashscope-cn", "qwen3.7-max", True),
        ("dashscope", "deepseek-v3", False),
        ("openai", "gpt-5", False),
        ("vllm", "qwen3.7-max", False),
    ],
)
def test_whose_prompts_are_marked_for_the_cache(name: str, model: str, marked: bool) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "word " * 2_000}]}
    made, _ = left(HOSTS[name], body, caching=True)
    assert ("cache_control" in str(made)) is marked
    made, _ = left(HOSTS[name], body)
    assert "cache_control" not in str(made)


THEIRS: dict[str, Any] = {"user": "them", "safety_identifier": "them", "metadata": {"user_id": "them"}}


@pytest.mark.parametrize("name", HOSTS)
def test_whose_request_it_is(name: str) -> None:
    host = HOSTS[name]
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | THEIRS
    made, dropped = left(host, body)
    assert ("them" in str(made), dropped) == (False, [])
    if host.dialect == "anthropic":
        assert made["metadata"] == {"user_id": "ours"}
    else:
        assert [field for field, value in made.items() if value == "ours"] == ([host.safety] if host.safety else [])


def test_whose_request_it_is_in_its_own_dialect() -> None:
    made, _ = left(HOSTS["anthropic"], {"model": "m", **THEIRS}, native=True)
    assert made == {"model": "m", "metadata": {"user_id": "ours"}}
    made, _ = left(HOSTS["openai"], {"model": "m", "input": "Hi", **THEIRS}, native=True, dialect="openai-responses")
    assert made == {"model": "m", "input": "Hi", "safety_identifier": "ours"}


def test_gemini_is_told_nothing() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | THEIRS
    made, _ = left(HOSTS["google"], body)
    assert "them" not in str(made)
    assert "ours" not in str(made)


def test_perplexity_s_agents_stand_for_its_models() -> None:
    body = {"model": "sonar-pro", "messages": [{"role": "user", "content": "Hi"}]}
    made, _ = left(HOSTS["perplexity"], body, dialect="openai-responses")
    assert made["preset"] == "fast" and "model" not in made
    made, _ = left(HOSTS["perplexity"], {"model": "sonar", "input": "Hi"}, native=True, dialect="openai-responses")
    assert made == {"model": "perplexity/sonar", "input": "Hi"}
    assert left(HOSTS["perplexity"], body)[0]["model"] == "sonar-pro"


def routed(kind: Kind, provider: str) -> None:
    """Check the routes of one model of the file; what is refused is raised."""
    way = RouteSetting(provider=provider, model="m")
    price = PriceSetting(input=Decimal(1), output=Decimal(1))
    model = ModelSetting(id="mine", kind=kind, routes=(way,), price_usd_per_million=price)
    rows = (Provider(name=provider, base_url=LOOPBACK, api_keys=("k",)),)
    settings = Settings(providers=rows, models=(model,))
    hosts = activate(settings).hosts
    check_routes(settings, build(settings, hosts, today=date(2026, 11, 29)).models.values(), hosts)


def test_a_model_of_the_file_is_made_by_a_host_that_does_such_work() -> None:
    routed("chat", "mine")
    routed("embedding", "voyage")
    routed("video", "fal")


@pytest.mark.parametrize(("kind", "provider"), [("chat", "voyage"), ("tts", "anthropic"), ("video", "openai")])
def test_a_model_of_the_file_at_a_host_that_does_no_such_work_is_refused(kind: Kind, provider: str) -> None:
    with pytest.raises(ConfigError, match=f'"mine" is of kind {kind}, which {provider} does not do'):
        routed(kind, provider)
