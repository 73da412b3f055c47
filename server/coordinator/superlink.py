"""The coordinator's SuperLink: its command line, its environment, and a connection to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from server.coordinator.folder import ServerFolder, reachable_host
from shared.flower.patches import QUIET_ENVIRONMENT
from shared.keys.private_keys import PASSPHRASE, open_key_file, read_owner_file
from shared.runtime.file_store import make_folder
from shared.runtime.metrics_endpoint import check_free

if TYPE_CHECKING:
    from shared.flower.server.control import SuperLinkControl


@contextmanager
def connect_superlink(folder: ServerFolder) -> Iterator[SuperLinkControl]:
    """Connects to the SuperLink of a folder.

    Raises:
        RunError: Nobody answers.
    """
    from shared.flower.server.control import control_connection  # takes a second to import

    settings = folder.settings()
    with control_connection(
        f"{reachable_host(settings.host)}:{settings.port}",
        authority=folder.authority,
        start_command=f"fedprofile server start --dir {folder.root}",
    ) as link:
        yield link


def superlink_command(
    folder: ServerFolder, *, metrics_port: int | None = None, passphrase_from: int | None = None
) -> list[str]:
    """Returns the SuperLink's command line; it names files, never secrets.

    Args:
        folder: The coordinator's folder.
        metrics_port: Where metrics and health are answered on loopback, in the same process.
        passphrase_from: Open file from which the process reads the TLS key's passphrase.

    Raises:
        ConfigError: A secret is missing or readable by others.
    """
    settings = folder.settings()
    for path in (folder.executor_secret, folder.certificate.with_suffix(".key")):
        read_owner_file(path, remedy="restore it from its backup")
    arguments = f"{str(folder.root.resolve())!r}, {metrics_port}, {passphrase_from}"
    code = f"from server.coordinator.superlink_process import main; main({arguments})"
    options = {
        "--host": settings.host,
        "--port": str(settings.port),
        "--ssl-ca-certfile": str(folder.authority.resolve()),
        "--ssl-certfile": str(folder.certificate.resolve()),
        "--ssl-keyfile": str(folder.certificate.with_suffix(".key").resolve()),
        "--database": str(folder.database.resolve()),
        "--isolation": "process",
        "--superexec-auth-secret-file": str(folder.executor_secret.resolve()),
    }
    switches = ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-P", "-c", code, *words, *switches]


def superlink_environment(folder: ServerFolder, base: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of the SuperLink and of runs."""
    return {**base, **QUIET_ENVIRONMENT, "FLWR_HOME": str(folder.flower_home.resolve())}


def become_superlink(folder: ServerFolder, *, metrics_port: int | None = None) -> None:
    """Replaces this process by the SuperLink, in an empty working directory.

    Args:
        folder: The coordinator's folder.
        metrics_port: Where metrics and health are answered on loopback; None for nowhere.

    Raises:
        FedprofileError: The folder is not complete, the port is taken, or the passphrase is wrong.
    """
    pipe = _hand_over_passphrase(folder)
    command = superlink_command(folder, metrics_port=metrics_port, passphrase_from=pipe)
    if metrics_port is not None:
        check_free(metrics_port)
    environment = superlink_environment(folder, os.environ)
    empty = make_folder(Path(folder.empty))
    sys.stdout.flush()
    os.umask(0o077)
    os.chdir(empty)
    os.execve(command[0], command, environment)  # noqa: S606


def _hand_over_passphrase(folder: ServerFolder) -> int | None:
    """Opens the TLS key to see that it opens; returns a pipe that the next program inherits."""
    path = folder.certificate.with_suffix(".key")
    open_key_file(path)
    if PASSPHRASE.passphrase is None:
        return None
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.passphrase)
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading
