"""`perquery serve`: bind the port, start the local model (sandbox), then one worker or several."""

from __future__ import annotations

import gc
import json
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from perquery import config
from perquery.app import create_app
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, say, settings
from perquery.logs import configure
from perquery.providers import table
from perquery.providers.local import LocalModel, LocalModelError, die_with_parent
from perquery.store.database import open_database

GC_THRESHOLD = 10_000
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
    model = LocalModel()
    try:
        chosen = _with_local_model(chosen, model) if sandbox else chosen
        for note in table.activate(chosen).notes:
            say(f"Note: {note}")
        greet = partial(_announce, base_url, ready_file, play_money=chosen.data if sandbox else None, as_json=as_json)
        _run(chosen, listening, workers, greet)
    finally:
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


def _with_local_model(chosen: config.Settings, model: LocalModel) -> config.Settings:
    """The settings with the local model's host in them; without it the sandbox has only what the file names."""
    try:
        running = model.start()
    except LocalModelError as error:
        say(f"Note: {error}")
        return chosen
    local = config.Provider(name="local", base_url=running.base_url, api_keys=(running.key,))
    others = tuple(row for row in chosen.providers if row.name != "local")
    return chosen.model_copy(update={"providers": (*others, local)})


def _run(chosen: config.Settings, listening: socket.socket, workers: int, greet: Callable[[int], None]) -> None:
    metrics = _shared_metrics(chosen.data) if workers > 1 else None
    options = uvicorn.Config(
        partial(_application, chosen, partial(greet, os.getpid()), metrics),
        factory=True,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(chosen.trusted_proxies),
        forwarded_allow_ips=list(chosen.trusted_proxies) or None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(chosen.timeouts.shutdown_s)),
        backlog=2048,
    )
    if workers > 1:
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


def _application(chosen: config.Settings, greet: Callable[[], None], metrics: Path | None) -> Any:
    """The application in the process that serves it, the only one or a worker's."""
    if metrics is not None:
        configure(chosen.log_level)
        die_with_parent()
    return create_app(chosen, partial(_ready, greet), metrics)


def _ready(greet: Callable[[], None]) -> None:
    """What lives now lives on: the collector need not look at it again, nor so often at what comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
    greet()


def _announce(base_url: str, ready_file: Path | None, pid: int, *, play_money: Path | None, as_json: bool) -> None:
    """Say where the gateway is. With several workers each says the same; the file is replaced whole.

    play_money: the folder of the sandbox's wallet; None where money is real.
    """
    ready: dict[str, Any] = {"base_url": base_url, "pid": pid}
    if ready_file is not None:
        partial_file = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        partial_file.write_text(json.dumps(ready), "utf-8")
        partial_file.replace(ready_file)
    if as_json:
        put_json(ready)
    elif os.getpid() == pid:
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
