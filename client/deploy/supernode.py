"""`fedprofile node start`: Flower's SuperNode with the owner's gate in front of it."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from client.deploy.clock_check import REFUSALS
from client.deploy.folder import NodeFolder, NodeSettings
from shared.deploy.bundle import package_hash
from shared.deploy.flower_quiet import QUIET
from shared.deploy.json_log import log_to
from shared.deploy.key_files import open_key_file
from shared.deploy.owner_files import make_folder
from shared.deploy.settings_file import write_settings
from shared.errors import ConfigError, RunError
from shared.privacy.ledger.keys import SigningKey

LOG = logging.getLogger("fedprofile.client")
FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
"""For the processes of requests: glibc else keeps freed tensors, 200 MB of them after a catalogue
was encoded. Read when a process starts, so it holds from the fork server on."""


def start_node(
    folder: NodeFolder, *, accept_package: bool = False, metrics_port: int | None = None
) -> None:
    """Serves the federation until the process is stopped.

    Args:
        folder: The node's folder.
        accept_package: Take the installed code as the owner's choice from here on.
        metrics_port: Where metrics and health are answered on loopback; None for nowhere.

    Raises:
        ConfigError: The folder is not complete, the installed code is not the owner's, or the port
            is taken.
        RunError: The node runs already, or the server refuses it.
    """
    folder = NodeFolder(folder.root.resolve())
    settings = check_package(folder.require(), accept=accept_package)
    offer = folder.invitation()
    key = _open_keys(folder)
    lock = _only_one(folder)
    os.umask(0o077)
    log_to(folder.log, shop=settings.shop)
    if metrics_port is not None:
        from client.deploy.metrics import observe_node

        observe_node(folder, metrics_port)
    os.environ |= {**FREE_AT_ONCE, **os.environ, **QUIET, "FLWR_HOME": str(folder.flower_home)}
    os.environ["FEDPROFILE_CACHE"] = str(folder.cache)
    os.chdir(make_folder(folder.empty))
    logging.getLogger("flwr").setLevel(logging.INFO)
    _look_at_device(settings)
    cause: BaseException | None = None
    try:
        _serve(folder, settings, address=offer.address, authority=offer.authority.encode(), key=key)
    except (SystemExit, KeyboardInterrupt) as stop:
        cause = stop
        # Flower interrupts a node whose heartbeat is refused; that can arrive as a plain Ctrl-C.
        if isinstance(stop, KeyboardInterrupt) and not REFUSALS.seen:
            raise
    finally:
        lock.close()
    stopped = isinstance(cause, SystemExit) and cause.code in (0, None)  # else it lost the server
    if REFUSALS.seen or not stopped:
        raise RunError(
            REFUSALS.reason()
            or f"server={offer.address} refused the connection or cannot be trusted; see the log "
            "above: is the shop invited, is the clock right, is it the invitation's server?"
        ) from cause


def check_package(folder: NodeFolder, *, accept: bool) -> NodeSettings:
    """Compares the installed code with what the owner accepted.

    Raises:
        ConfigError: It is another one.
    """
    settings, found = folder.settings(), package_hash()
    if settings.package == found:
        return settings
    if not accept:
        raise ConfigError(
            f"package={found[:16]}… is not the code that was accepted, {settings.package[:16]}…; "
            "if you updated fedprofile yourself, start once with --accept-package"
        )
    settings = settings.model_copy(update={"package": found})
    write_settings(folder.config, settings)
    return settings


def _open_keys(folder: NodeFolder) -> EllipticCurvePrivateKey:
    """Opens the node's key, and the ledger's to see that it opens: before anything is asked.

    Flower is given the key itself: no plain file is needed.

    Raises:
        ConfigError: A key is missing, damaged, or the passphrase is not right.
    """
    key = open_key_file(folder.key)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"key={folder.key} must be an ECDSA key; restore it from its backup")
    for path in folder.private_keys()[1:]:
        SigningKey.load(path)
    return key


def _serve(
    folder: NodeFolder,
    settings: NodeSettings,
    *,
    address: str,
    authority: bytes,
    key: EllipticCurvePrivateKey,
) -> None:
    """Starts runtime interface and executor, then polls the server in this thread."""
    from flwr.common.constant import ISOLATION_MODE_PROCESS
    from flwr.supercore.exit import add_exit_handler
    from flwr.supercore.object_store import ObjectStoreFactory
    from flwr.supernode import start_client_internal as flower
    from flwr.supernode.nodestate import NodeStateFactory

    from client.deploy.activation import be_patient
    from client.deploy.bundle_gate import close_gate
    from client.deploy.executor import Executor
    from client.deploy.runtime_api import start_runtime_api

    secret, local = secrets.token_bytes(32), f"127.0.0.1:{_free_port()}"
    state = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
    start_runtime_api(state, local, secret)
    executor = Executor(local, secret, folder.root)
    executor.start()
    add_exit_handler(executor.end)  # the last one added is called first: before the interface ends
    be_patient()
    flower.start_client_internal(
        state_factory=state,
        server_address=address,
        node_config={"shop": settings.shop},
        root_certificates=authority,
        insecure=False,
        authentication_keys=(key, key.public_key()),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_api_address=local,
        trusted_entities=close_gate(settings.bundles),
        superexec_auth_secret=secret,
        runtime_dependency_install=False,
    )


def _look_at_device(settings: NodeSettings) -> None:
    from shared.device import describe_device, resolve_device

    LOG.info("device=%s", describe_device(resolve_device(settings.device)))


def _only_one(folder: NodeFolder) -> IO[bytes]:
    """Holds a lock while the process lives.

    Raises:
        RunError: Another process holds it.
    """
    path = Path(folder.root / "node.lock")
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RunError(f"node={folder.root} runs already; stop the other process first") from error
    return file


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
