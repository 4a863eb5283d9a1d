"""Which upstreams are active: keys in the environment, rows of the configuration, and the sandbox's rule.

In the sandbox only loopback literals are upstreams: a host that the environment would activate is ignored and
noted; one that the file names and that is not loopback is an error. Sandbox credit never buys real work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from perquery.calls import Upstream
from perquery.config import ConfigError, Provider, Settings, is_loopback
from perquery.outbound import Client
from perquery.providers.hosts import HOSTS, Host
from perquery.providers.openai_chat import OpenAIChat


@dataclass(frozen=True, slots=True)
class ActiveHost:
    host: Host
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Active:
    """The active hosts by name, and lines to print for the operator."""

    hosts: Mapping[str, ActiveHost]
    notes: tuple[str, ...]


def activate(settings: Settings) -> Active:
    """Raises ConfigError for a row that cannot be served."""
    hosts: dict[str, ActiveHost] = {}
    ignored: list[str] = []
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
        if row.enabled:
            hosts[row.name] = _configured(settings, row)
    notes = (f"the sandbox ignores the keys of {', '.join(ignored)}",) if ignored else ()
    return Active(hosts, notes)


def _environment_keys(settings: Settings, host: Host) -> tuple[str, ...]:
    if host.env is None:
        return ()
    found = f"{settings.environment_keys.get(host.env, '')},{settings.environment_keys.get(host.env + 'S', '')}"
    return tuple(key.strip() for key in found.split(",") if key.strip())


def _configured(settings: Settings, row: Provider) -> ActiveHost:
    """A row of the file: one of the table with changes, or a host of its own."""
    if row.dialect not in (None, "openai-chat"):
        raise ConfigError(f"providers.{row.name}.dialect: {row.dialect} is not served yet; openai-chat is")
    known = HOSTS.get(row.name)
    base_url = row.base_url or (known.base_url if known else "")
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"providers.{row.name}.base_url: must begin with http:// or https://")
    if settings.sandbox and not is_loopback(base_url):
        raise ConfigError(
            f"providers.{row.name}.base_url: the sandbox reaches only loopback addresses such as http://127.0.0.1:8080/v1"
        )
    # A host that nobody vouches for is taken to bill on after a disconnect; a loopback one is the operator's own.
    host = known or Host(row.name, base_url, cancel_stops_billing=is_loopback(base_url), level="scripted")
    host = replace(host, base_url=base_url)
    if row.cancel_stops_billing is not None:
        host = replace(host, cancel_stops_billing=row.cancel_stops_billing)
    return ActiveHost(host, row.api_keys or _environment_keys(settings, host))


def connect(hosts: Mapping[str, ActiveHost], client: Client, now: Callable[[], float]) -> dict[str, Upstream]:
    """The upstreams, ready to be asked."""
    return {name: OpenAIChat(active.host, active.keys, client, now) for name, active in hosts.items()}
