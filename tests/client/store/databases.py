"""Real databases for the tests: a SQLite file, and a PostgreSQL server of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


def postgres_binaries() -> Path | None:
    """Returns the folder of PostgreSQL's server programs, None where there is none."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists()), None)


@contextmanager
def postgres_server(folder: Path, binaries: Path) -> Iterator[str]:
    """Runs a server on a free port of loopback; gives the URL of its first database."""
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = "postgres" if "postgres" in {p.pw_name for p in pwd.getpwall()} else "nobody"
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in folder.parents:
            if (
                parent.owner() == "root"
                and parent != Path("/")
                and parent.name.startswith(("pytest", "popen"))
            ):
                parent.chmod(0o755)
    data = folder / "data"
    options = ["-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(
        [binaries / "initdb", "-D", data, *options],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/")
    try:
        url = f"postgresql://shop@127.0.0.1:{port}/postgres"
        _wait(url)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=120)


def _wait(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for _ in range(3000):
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    raise TimeoutError("PostgreSQL did not start within 300 s")
