"""nginx as a plain reverse proxy before the same upstream: the yardstick.

One worker, no log, connections to the upstream kept, as a careful operator would set it; nothing is tuned
beyond that. Two ports: one as nginx comes (buffering), one for streams with `proxy_buffering off`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import Address
from bench.processes import BenchError, free_ports, start, stop, tail
from bench.subjects import Subject

_READY_S = 10
_CONF = """\
daemon off;
{user}worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream model {{
        server {upstream.host}:{upstream.port};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{plain} backlog=1024;
        location / {{ proxy_pass http://model; }}
    }}
    server {{
        listen 127.0.0.1:{stream} backlog=1024;
        proxy_buffering off;
        location / {{ proxy_pass http://model; }}
    }}
}}
"""


def _await_port(process: subprocess.Popen[str], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"nginx does not answer:\n{tail(log)}")


def version() -> str:
    """nginx's version, or "" where it is not installed."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not binary:
        return ""
    told = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stderr
    return told.strip().rpartition("/")[2]


@contextmanager
def serving(upstream: Address, core: int, folder: Path) -> Iterator[Subject]:
    """nginx on one core, its files in `folder`. Raises BenchError where it is missing or does not start."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not binary:
        raise BenchError("nginx is not installed (Debian: apt-get install nginx-light)")
    folder.mkdir(parents=True)
    plain, stream = free_ports(2)
    conf, log = folder / "nginx.conf", folder / "error.log"
    # As root the worker would otherwise become `nobody`, who may not write into our folder.
    user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
    conf.write_text(_CONF.format(folder=folder.resolve(), upstream=upstream, plain=plain, stream=stream, user=user))
    process = start([binary, "-c", str(conf.resolve()), "-e", str(log.resolve())], core, log=folder / "output.log")
    try:
        _await_port(process, plain, log)
        yield Subject("nginx", process.pid, plain=Address("127.0.0.1", plain), stream=Address("127.0.0.1", stream))
    finally:
        stop(process)
