"""A private PostgreSQL server for tests: on a free loopback port, in a folder of its own, gone afterwards.

Every pytest worker starts its own (about two seconds, once), so that no test can disturb another worker's
server; a test that restarts or crashes the server starts one more with `serving()`. Durability against power
loss is switched off (fsync), durability against a crash of the process is not. This module must never touch a
PostgreSQL that it has not started.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

USER: Final = "perquery"
READY_S: Final = 60.0
POLL_S: Final = 0.05
PORT_TRIES: Final = 5
SETTINGS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=32MB",
    "autovacuum=off",
    "lc_messages=C",
    "log_min_messages=warning",
)


class PostgresUnavailable(Exception):
    """There is no PostgreSQL server to start here; the message says what to install."""


def programs() -> Path:
    """The folder that holds `initdb` and `postgres`: the newest of Debian's, else the one on PATH."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(debian, key=lambda found: float(found.parts[-3]))
    on_path = shutil.which("initdb")
    if newest:
        return newest[-1].parent
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    raise PostgresUnavailable(
        "these tests need PostgreSQL's server programs (initdb, postgres) in /usr/lib/postgresql/*/bin or on "
        "PATH: run scripts/debian-packages as root, or install your system's package `postgresql`"
    )


def unprivileged() -> pwd.struct_passwd | None:
    """The user to run the server as, since PostgreSQL refuses root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    users = {user.pw_name: user for user in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in users:
            return users[name]
    raise PostgresUnavailable("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process and its folder. `start()` first; `stop()` at the end removes all of it."""

    def __init__(self) -> None:
        self.programs = programs()
        self.port = 0
        self._user = unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="perquery-postgres-"))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    @property
    def pid(self) -> int:
        """The postmaster's process id, while the server runs."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Server:
        """Initialise the folder and take requests; on another port where the first was snatched away."""
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._initdb()
        for _ in range(PORT_TRIES):
            self.port = _free_port()
            if self._launch():
                return self
        raise PostgresUnavailable(f"PostgreSQL does not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._end(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Crash: every session is cut at once, nothing is flushed, the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Cut all sessions, end in order where it still runs, and take requests again at the same address."""
        self._end(signal.SIGINT)
        if not self._launch():
            raise PostgresUnavailable(f"PostgreSQL does not start again:\n{self._log.read_text()}")

    def create_database(self, template: str = "template1") -> str:
        """A new database, a copy of `template` (which must have no sessions open); its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database made by `create_database`, cutting what sessions it has."""
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def _as_user(self, program: str) -> list[str]:
        """The command's beginning: as the right user, and ended by the kernel when this process dies."""
        command = [str(self.programs / program)]
        if not sys.platform.startswith("linux"):
            return command
        drop = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"] if self._user else []
        return ["setpriv", "--pdeathsig=INT", *drop, "--", *command]

    def _initdb(self) -> None:
        options = ["--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        command = [
            *self._as_user("initdb"),
            *options,
            f"--username={USER}",
            f"--pgdata={self._folder / 'data'}",
        ]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PostgresUnavailable(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> bool:
        """Start the process and wait until it answers; False where it ended instead."""
        settings = [*SETTINGS, "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}"]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [
            *self._as_user("postgres"),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self.port),
            *options,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return True
            except psycopg.OperationalError:
                if self._ended_within(POLL_S):
                    return False
        self.stop()
        raise PostgresUnavailable(f"PostgreSQL took more than {READY_S:.0f} s to start")

    def _ended_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        self._process = None
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        if not self._ended_within(READY_S):
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def serving() -> Iterator[Server]:
    """A server of the test's own, which it may restart and crash."""
    server = Server()
    try:
        yield server.start()
    finally:
        server.stop()
