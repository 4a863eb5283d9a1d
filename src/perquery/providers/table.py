"""Which upstreams are active: keys in the environment, rows of the configuration, and the sandbox's rule.

In the sandbox only loopback literals are upstreams: a host that the environment would activate is ignored and
noted; one that the file names and that is not loopback is an error. Sandbox credit never buys real work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from perquery.calls import Ask, Dialect, Draft, Kind, Reply
from perquery.catalog.models import Model
from perquery.config import ConfigError, Provider, Settings, is_loopback
from perquery.dialects import anthropic_ask, attribution, caching, customs, gemini_ask, responses_ask
from perquery.dialects.search import options
from perquery.outbound import Client
from perquery.providers.anthropic import Anthropic
from perquery.providers.conversation import Conversation
from perquery.providers.gemini import Gemini
from perquery.providers.hosts import ANY, HOSTS, Host
from perquery.providers.keys import Keys
from perquery.providers.line import Line
from perquery.providers.openai_chat import OpenAIChat
from perquery.providers.openai_responses import OpenAIResponses
from perquery.providers.request import prepare
from perquery.providers.studio import Studio
from perquery.providers.studios import STUDIOS
from perquery.providers.trades import TRADES

_SPEAKERS: Final[Mapping[Dialect, type[Conversation]]] = {
    "openai-chat": OpenAIChat,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "openai-responses": OpenAIResponses,
}


@dataclass(frozen=True, slots=True)
class ActiveHost:
    """A host and its keys; none where it wants none."""

    host: Host
    keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Active:
    """The active hosts by name, and lines to print for the operator."""

    hosts: Mapping[str, ActiveHost]
    notes: tuple[str, ...]


def activate(settings: Settings) -> Active:
    """Raises ConfigError for a row that cannot be served."""
    hosts: dict[str, ActiveHost] = {}
    ignored: list[str] = []
    notes: list[str] = []
    written = {row.name: row for row in settings.providers}
    for name, host in HOSTS.items():
        keys = _environment_keys(settings, host)
        if not keys or name in written:
            continue
        if settings.sandbox and not is_loopback(host.base_url):
            ignored.append(name)
        else:
            hosts[name] = ActiveHost(host, keys)
    for row in settings.providers:
        if not row.enabled:
            continue
        active = _configured(settings, row)
        if active.keys or not active.host.env or active.host.base_url != HOSTS[row.name].base_url:
            hosts[row.name] = active
        else:  # a row that only sets a markup, say
            notes.append(f"{row.name} is not active: it has no key (api_keys or {active.host.env[0]})")
    if ignored:
        notes.append(f"the sandbox ignores the keys of {', '.join(ignored)}")
    return Active(hosts, tuple(notes))


def check_routes(settings: Settings, models: Iterable[Model], hosts: Mapping[str, ActiveHost]) -> None:
    """Raises ConfigError for a model of the file that is routed to a host that does no such work."""
    written = {(way.provider, way.model) for model in settings.models for way in model.routes}
    for model in models:
        for route in model.routes:
            if (route.provider, route.model) in written and not _does(hosts[route.provider].host, model.kind):
                raise ConfigError(
                    f'models: "{model.id}" is of kind {model.kind}, which {route.provider} does not do here;'
                    " choose another provider in its routes, or say its kind"
                )


def _does(host: Host, kind: Kind) -> bool:
    match kind:
        case "chat":
            return host.chats
        case "video":
            return bool(host.studio)
    return kind in host.trades


def _environment_keys(settings: Settings, host: Host) -> tuple[str, ...]:
    """The keys of the first variable that is set, each once."""
    for name in host.env:
        found = f"{settings.environment_keys.get(name, '')},{settings.environment_keys.get(name + 'S', '')}"
        if keys := tuple(dict.fromkeys(key.strip() for key in found.split(",") if key.strip())):
            return keys
    return ()


def _configured(settings: Settings, row: Provider) -> ActiveHost:
    """A row of the file: one of the table with changes, or a host of its own."""
    where = f"providers.{row.name}"
    known = HOSTS.get(row.name)
    base_url = row.base_url or (known.base_url if known else "")
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"{where}.base_url: must be given, beginning with http:// or https://")
    if settings.sandbox and not is_loopback(base_url):
        raise ConfigError(
            f"{where}.base_url: the sandbox reaches only loopback addresses such as http://127.0.0.1:8080/v1"
        )
    # A host that nobody vouches for is taken to bill on after a disconnect; a loopback one is the operator's own, and
    # most likely of those that close behind a stream without a word (llama.cpp, whatever it serves).
    stops = is_loopback(base_url)
    host = known or Host(
        row.name,
        base_url,
        cancel_stops_billing=stops,
        closes_after_stream=stops,
        takes=None,
        level="scripted",
        trades=ANY,
        customs=row.dialect not in ("anthropic", "gemini"),
    )
    host = replace(host, base_url=base_url.rstrip("/").removesuffix("/chat/completions").removesuffix("/responses"))
    if row.dialect is not None:
        host = replace(host, dialect=row.dialect, also=())
    if row.cancel_stops_billing is not None:
        host = replace(host, cancel_stops_billing=row.cancel_stops_billing)
    if row.keeps_nothing is not None:
        host = replace(host, keeps_nothing=row.keeps_nothing)
    keys = tuple(key.strip() for key in row.api_keys if key.strip())
    return ActiveHost(host, keys or _environment_keys(settings, host))


def prepared(
    host: Host, draft: Draft, refused: frozenset[str], output_tokens_max: int
) -> tuple[dict[str, Any], list[str]]:
    """A body as the host wants it, and the parameters that were dropped. refused: by the model.

    Every body leaves through here; a native one as it is, but for what is ours to say.
    """
    made = attribution.anonymous(draft.body)
    dropped: list[str] = []
    if not draft.native:
        if not host.customs:
            made = customs.as_functions(made)
        ready = prepare(host, draft.dialect, made, refused)
        made, dropped = _translated(draft.dialect, *ready, output_tokens_max)
    if draft.dialect == "openai-responses" and (agent := host.agents.get(made["model"])):
        made = {name: value for name, value in made.items() if name != "model"} | dict(agent)
    if draft.safety_id:
        made = _attributed(host, draft.dialect, made, draft.safety_id)
    if draft.caching:
        made = _cached(host, draft.dialect, made, draft.text_bytes)
    return made, dropped


def _attributed(host: Host, dialect: Dialect, body: dict[str, Any], safety_id: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return attribution.in_messages(body, safety_id)
    return body | {host.safety: safety_id} if dialect != "gemini" and host.safety else body


def _translated(
    dialect: Dialect, body: dict[str, Any], dropped: list[str], output_tokens_max: int
) -> tuple[dict[str, Any], list[str]]:
    """From chat form to the dialect; what that cannot say is dropped too."""
    match dialect:
        case "anthropic":
            made, others = anthropic_ask.ask(body, output_tokens_max=output_tokens_max)
        case "gemini":
            made, others = gemini_ask.ask(body)
        case "openai-responses":
            made, others = responses_ask.ask(body)
        case _:
            if wish := body.pop("web_search", None):
                body["web_search_options"] = options(wish)
            return body, dropped
    return made, dropped + others


def _cached(host: Host, dialect: Dialect, body: dict[str, Any], text_bytes: int) -> dict[str, Any]:
    if dialect == "anthropic":
        return caching.in_messages(body, text_bytes)
    if dialect == "openai-chat" and host.caches and str(body["model"]).startswith(host.caches):
        return caching.in_chat(body, text_bytes)
    return body


class Speaker:
    """A `calls.Upstream`: one host in every dialect that it speaks and every trade that it has, with the same keys."""

    def __init__(self, active: ActiveHost, client: Client, now: Callable[[], float]) -> None:
        host, keys = active.host, Keys(active.keys, now)
        self.name = host.name
        self.dialects = (host.dialect, *host.also) if host.chats else ()
        self.kinds = frozenset(host.trades)
        self.cancel_stops_billing = host.cancel_stops_billing
        self.keeps_nothing = host.keeps_nothing
        self._conversations = {each: _SPEAKERS[each](host, keys, client) for each in self.dialects}
        self.studio: Studio | None = STUDIOS[host.studio](host, Line(keys, client)) if host.studio else None
        self._trades = {kind: TRADES[name](host, Line(keys, client)) for kind, name in host.trades.items()}

    def conversation(self, dialect: Dialect) -> Conversation:
        return self._conversations[dialect]

    def send(self, ask: Ask) -> Awaitable[Reply]:
        if ask.work is not None:
            return self._trades[ask.work.kind].do(ask, ask.work)
        return self._conversations[ask.dialect].send(ask)


def connect(hosts: Mapping[str, ActiveHost], client: Client, now: Callable[[], float]) -> dict[str, Speaker]:
    """The upstreams, ready to be asked. now: a monotonic clock in seconds."""
    return {name: Speaker(active, client, now) for name, active in hosts.items()}
