"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, run by somebody who is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class Server:
    """A cluster that can be stopped and started again, at the same address."""

    def __init__(self, folder: Path, programs: Path):
        self.folder, self.programs = folder, programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "--username=lab", "--auth=trust", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """As a crash would: connections are cut off."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=lab dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://lab@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *words: str) -> None:
        """PostgreSQL's programs refuse to be run by root."""
        command = [str(self.programs / program), f"--pgdata={self.folder / 'data'}", *words]
        user = {}
        if os.getuid() == 0:
            user = {"user": _somebody(), "group": pwd.getpwnam(_somebody()).pw_gid, "extra_groups": []}
        with (self.folder / "programs.log").open("a") as log:  # not a pipe: the server would hold it open
            subprocess.run(command, check=True, cwd=self.folder, stdout=log, stderr=log, **user)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        if os.environ.get("LAB_POSTGRESQL") == "required":
            pytest.fail("there is no PostgreSQL: as root, apt-get install postgresql")
        pytest.skip("there is no PostgreSQL here; `make test-postgresql` installs it")
    pytest.importorskip("psycopg", reason="the extra `postgresql`")
    folder = Path(tempfile.mkdtemp(prefix="lab-postgresql-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, _somebody())
        server = Server(folder, programs)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Where `initdb` is: Debian keeps it out of the search path."""
    found = shutil.which("initdb")
    known = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(known) if (folder / "initdb").exists()), None)


def _somebody() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
