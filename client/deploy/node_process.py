"""The node's process: `fedprofile node start`, one process a folder, and `node status`."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from client.deploy.folder import NodeFolder, NodeSettings
from client.deploy.installed_releases import InstalledReleases
from client.deploy.node_ledger import ledger_files, lost_line, open_ledger
from client.deploy.roster import roster_state
from client.deploy.shop_data import read_report
from shared.errors import ConfigError, FedprofileError, RunError
from shared.flower.bundle import package_hash
from shared.flower.node.link import SIGNATURE_REFUSALS
from shared.flower.patches import QUIET_ENVIRONMENT
from shared.keys.private_keys import open_key_file
from shared.keys.signing import SigningKey
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.runtime.environment import resolve_device
from shared.runtime.file_store import make_folder
from shared.runtime.json_log import log_to
from shared.runtime.process_lock import lock_holder, take_lock
from shared.settings.service_file import write_settings

LOG = logging.getLogger("fedprofile.client")
ALLOCATOR_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
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
    invitation = folder.invitation()
    key = _open_keys(folder)
    open_ledger(folder)  # missing, damaged or restored files end it before anything is asked
    lock = take_lock(folder.lock, what="node", remedy="stop the other process first")
    os.umask(0o077)
    log_to(folder.log, shop=settings.shop)
    if metrics_port is not None:
        from client.deploy.metrics import observe_node

        observe_node(folder, metrics_port)
    os.environ |= {
        **ALLOCATOR_ENVIRONMENT,
        **os.environ,
        **QUIET_ENVIRONMENT,
        "FLWR_HOME": str(folder.flower_home),
    }
    os.environ["FEDPROFILE_CACHE"] = str(folder.cache)
    os.chdir(make_folder(folder.empty))
    logging.getLogger("flwr").setLevel(logging.INFO)
    if settings.device == "cuda":
        resolve_device(settings.device)  # a device that is missing ends it before anything is asked
    # Flower reads the environment when it is imported: not before it is set.
    from shared.flower.node.supernode import serve_supernode

    cause: BaseException | None = None
    try:
        serve_supernode(
            root=folder.root,
            shop=settings.shop,
            bundles=settings.bundles,
            address=invitation.address,
            authority=invitation.authority.encode(),
            key=key,
            answer=answer,
            preload="client.deploy.request_process",
        )
    except (SystemExit, KeyboardInterrupt) as stop:
        cause = stop
        # Flower interrupts a node whose heartbeat is refused; that can arrive as a plain Ctrl-C.
        if isinstance(stop, KeyboardInterrupt) and not SIGNATURE_REFUSALS.seen:
            raise
    finally:
        lock.close()
    stopped = isinstance(cause, SystemExit) and cause.code in (0, None)  # else it lost the server
    if SIGNATURE_REFUSALS.seen or not stopped:
        raise _connection_error(invitation.address) from cause


def answer(*request: Any) -> None:
    """Answers one request as `request_process.answer_request` does, in the process of that request.

    The module is imported there: torch and all that trains take 300 MB, and this process waits.
    """
    from client.deploy.request_process import answer_request

    answer_request(*request)


def _connection_error(address: str) -> RunError:
    """Says why the server refused the node, as far as the node can know."""
    clock = SIGNATURE_REFUSALS.reason()
    if clock is not None:
        return RunError(clock, remedy="set the clock of the machine that is wrong (NTP)")
    return RunError(
        "refused the connection or cannot be trusted",
        name="server",
        value=address,
        remedy="see the log above: is the shop invited, is the clock right, is it the "
        "invitation's server?",
    )


def check_package(folder: NodeFolder, *, accept: bool) -> NodeSettings:
    """Compares the installed code with what the owner accepted.

    Raises:
        ConfigError: It is another one.
    """
    settings, installed_package = folder.settings(), package_hash()
    if settings.package == installed_package:
        return settings
    if not accept:
        raise ConfigError(
            f"is not the code that was accepted, {settings.package[:16]}…",
            name="package",
            value=f"{installed_package[:16]}…",
            remedy="if you updated fedprofile yourself, start once with --accept-package",
        )
    settings = settings.model_copy(update={"package": installed_package})
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
        raise ConfigError(
            "must be an ECDSA key",
            name="key",
            value=folder.key,
            remedy="restore it from its backup",
        )
    for path in folder.private_keys()[1:]:
        SigningKey.load(path)
    return key


def node_status(folder: NodeFolder) -> dict[str, Any]:
    """Returns plain values; they stay on this machine.

    Raises:
        PrivacyError: The ledger does not verify.
    """
    settings, invitation = folder.settings(), folder.invitation()
    chain, torn = read_ledger(ledger_files(folder).ledger)
    budget = budget_status(chain, now=datetime.now(UTC), torn=torn)
    return {
        "shop": settings.shop,
        "server": invitation.address,
        "process": "stopped" if lock_holder(folder.lock) is None else "running",
        "budget": budget.to_json(),
        "max_users": chain.limits.max_users,
        "data": read_report(folder),
        "countersigned": chain.agreed.get(invitation.signing_key),
        "lost": lost_line(folder, chain),
        "roster": roster_state(folder),
        "current": InstalledReleases(folder).pointer().current,
    }


def installed(folder: NodeFolder) -> list[dict[str, Any]]:
    """Lists the installed releases, each verified again."""
    adapters, entries = InstalledReleases(folder), []
    current = adapters.pointer().current
    for number in adapters.numbers():
        entry: dict[str, Any] = {"number": number, "current": number in current.values()}
        try:
            manifest, _ = adapters.read(number)
            fields = manifest.model_dump(mode="json", include={"kind", "run", "round", "created"})
            entry |= {**fields, "state": "verified"}
        except FedprofileError as error:
            entry |= {"kind": "?", "run": 0, "round": 0, "state": f"damaged: {error}"}
        entries.append(entry)
    return entries
