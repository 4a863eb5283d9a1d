"""`perquery serve`: bind the port, open the local models (sandbox), then one worker or several."""

from __future__ import annotations

import gc
import json
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from perquery import config
from perquery.app import create_app
from perquery.cli.heads import Bounded
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, say, settings
from perquery.logs import configure
from perquery.providers import table
from perquery.providers.child import Child, LocalModelError, die_with_parent
from perquery.providers.local import LocalModel
from perquery.providers.local_espeak import LocalEspeak
from perquery.providers.local_minilm import LocalMiniLM
from perquery.providers.local_whisper import LocalWhisper
from perquery.store.opening import open_database

GC_THRESHOLD = 10_000
WORKER_S = 60  # a worker that is silent for longer is replaced; on a busy machine its imports alone take a while
Sandbox = Annotated[bool, typer.Option("--sandbox", help="No keys, no network: a local model and play money.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", help="The port; 0 takes a free one.", min=0, max=65535)]
Workers = Annotated[int, typer.Option("--workers", help="How many processes serve.", min=1, max=64)]
ReadyFile = Annotated[
    Path | None, typer.Option("--ready-file", help='Gets {"base_url", "pid"} once requests are taken.')
]


def serve(
    sandbox: Sandbox = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    ready_file: ReadyFile = None,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Start the gateway."""
    chosen = settings(config_file, data, sandbox=sandbox)
    configure(chosen.log_level)
    chosen.data.mkdir(parents=True, exist_ok=True)
    open_database(chosen.database, mode=chosen.mode).close()
    listening = _listen(host, port)
    base_url = f"http://{_shown(host)}:{listening.getsockname()[1]}"
    models: dict[str, Child] = {
        "local": LocalModel(),
        "local-minilm": LocalMiniLM(),
        "local-whisper": LocalWhisper(),
        "local-espeak": LocalEspeak(),
    }
    try:
        chosen = _with_local_models(chosen, models) if sandbox else chosen
        for note in table.activate(chosen).notes:
            say(f"Note: {note}")
        hello = partial(_hello, base_url, chosen.data if sandbox else None, as_json=as_json)
        ready = partial(_write_ready, base_url, os.getpid(), ready_file) if ready_file else None
        _run(chosen, listening, workers, hello, ready)
    finally:
        for model in models.values():
            model.stop()
        listening.close()


def _shown(host: str) -> str:
    """The address that a client on this machine would use."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise config.ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    listening.set_inheritable(True)
    return listening


def _with_local_models(chosen: config.Settings, models: Mapping[str, Child]) -> config.Settings:
    """The settings with the local models' hosts in them, by name; without one the sandbox has what the file names."""
    rows: list[config.Provider] = []
    for name, model in models.items():
        try:
            address = model.open()
            rows.append(config.Provider(name=name, base_url=address.base_url, api_keys=(address.key,)))
        except LocalModelError as error:
            say(f"Note: {error}")
    names = {row.name for row in rows}
    others = tuple(row for row in chosen.providers if row.name not in names)
    return chosen.model_copy(update={"providers": (*others, *rows)})


def _run(
    chosen: config.Settings,
    listening: socket.socket,
    workers: int,
    hello: Callable[[], None],
    ready: Callable[[], None] | None,
) -> None:
    """Serve until a signal ends it. One process says hello once it takes requests.

    Several would each say it, so there it is said before: what comes until they are ready waits at the port.
    """
    several = workers > 1
    metrics = _shared_metrics(chosen.data) if several else None
    greetings = tuple(greet for greet in (ready, None if several else hello) if greet is not None)
    options = uvicorn.Config(
        partial(_application, chosen, greetings, metrics),
        factory=True,
        interface="asgi3",
        workers=workers,
        loop="uvloop",
        http=Bounded,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(chosen.trusted_proxies),
        forwarded_allow_ips=list(chosen.trusted_proxies) or None,
        timeout_keep_alive=75,
        timeout_worker_healthcheck=WORKER_S,
        timeout_graceful_shutdown=max(1, round(chosen.timeouts.shutdown_s)),
        backlog=2048,
    )
    if several:
        hello()
        Multiprocess(options, sockets=[listening]).run()
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)  # uvicorn raises it again once it has stopped in good order
    uvicorn.Server(options).run(sockets=[listening])


def _ended(_number: int, _frame: object) -> None:
    """The stop that was asked for has happened."""


def _shared_metrics(data: Path) -> Path:
    """A folder in which the workers' metrics are summed; prometheus_client looks for its name in the environment."""
    folder = data / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return folder


def _application(chosen: config.Settings, greetings: Iterable[Callable[[], None]], metrics: Path | None) -> Any:
    """The application in the process that serves it, the only one or a worker's."""
    if metrics is not None:
        configure(chosen.log_level)
        die_with_parent()
    return create_app(chosen, partial(_ready, greetings), metrics)


def _ready(greetings: Iterable[Callable[[], None]]) -> None:
    """What lives now lives on: the collector need not look at it again, nor so often at what comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
    for greet in greetings:
        greet()


def _write_ready(base_url: str, pid: int, ready_file: Path) -> None:
    """Tell another program where the gateway is. Several workers write the same; the file is replaced whole."""
    part = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
    part.write_text(json.dumps({"base_url": base_url, "pid": pid}), "utf-8")
    part.replace(ready_file)


def _hello(base_url: str, play_money: Path | None, *, as_json: bool) -> None:
    """Tell a person. play_money: the folder of the sandbox's wallet; None where money is real."""
    if as_json:
        put_json({"base_url": base_url, "pid": os.getpid()})
    else:
        say(_welcome(base_url, play_money) if play_money else f"PerQuery serves at {base_url}")


def _welcome(base_url: str, data: Path) -> str:
    """First steps that can be pasted as they stand, into a shell in the same folder."""
    program = [sys.executable, "-m", "perquery"] if sys.argv[0].endswith(".py") else [sys.argv[0]]
    pay = shlex.join([*program, "sandbox", "pay", "--data", str(data)])
    return f"""PerQuery (sandbox) serves at {base_url}

  curl -s -X POST {base_url}/accounts/create
  export KEY=sk-...            # the api_key it printed
  curl -s {base_url}/topup/create/btc-lightning -H "authorization: Bearer $KEY" \\
    -H 'content-type: application/json' -d '{{"amount": 1, "currency": "USD"}}'
  {pay} lnbcrt...   # the lightning_invoice it printed
  curl -s {base_url}/v1/chat/completions -H "authorization: Bearer $KEY" \\
    -H 'content-type: application/json' \\
    -d '{{"model": "local/smollm2-135m-instruct", "messages": [{{"role": "user", "content": "Say hello."}}]}}'

OpenAI-compatible tools: base URL {base_url}/v1, the key as API key. Stop with Ctrl-C."""
