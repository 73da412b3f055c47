"""One request in a process of its own: the installed app answers, whatever bundle came with it.

The app answers rounds, installs releases and keeps receipts, from the node's own folder. What is
slow to import is imported once, in the process that this one is forked from.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import opacus  # noqa: F401  (imported before the fork)
import peft  # noqa: F401
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.deploy.folder import NodeFolder
from client.deploy.incoming_releases import install
from client.deploy.metrics import measured
from client.deploy.node_ledger import open_ledger
from client.deploy.roster import answer_roster
from client.deploy.shop_source import DeployedShop
from client.federation.client_app import make_client_app, refusal
from client.federation.node_interface import shop_name
from shared.errors import FedprofileError, PrivacyError
from shared.flower.node.executor import run_task
from shared.keys.private_keys import PASSPHRASE
from shared.keys.signing import canonical
from shared.privacy.ledger.log.receipts import Receipt
from shared.protocol import messages
from shared.runtime.json_log import JsonFormatter, log_to

LOG = logging.getLogger("fedprofile.client")
RELEASE_NOTHING = tuple(f"query.{q}" for q in (messages.INSTALL_QUERY, messages.ROSTER_QUERY))
"""Types of the requests that ask for no release."""


def make_deployed_app(folder: NodeFolder, *, log: JsonFormatter | None = None) -> ClientApp:
    """Builds the app of a node; reads nothing yet, so that every error is answered by a code.

    Args:
        folder: The node's folder.
        log: Learns run and round of each request.
    """
    shop = DeployedShop(folder)
    app = make_client_app(shop, mods=[_ledger_mod(folder, log)], sums=shop)

    @app.query(messages.INSTALL_QUERY)
    def install_release(message: Message, context: Context) -> Message:  # noqa: ARG001
        return Message(_install(folder, message), reply_to=message)

    @app.query(messages.ROSTER_QUERY)
    def tell_roster(message: Message, context: Context) -> Message:  # noqa: ARG001
        return Message(_tell_roster(folder, message), reply_to=message)

    return app


def _install(folder: NodeFolder, message: Message) -> RecordDict:
    shop = "unknown"
    try:
        shop = folder.settings().shop
        sent = message.content.config_records[messages.RELEASE]
        content, signature, file = sent["manifest"], sent["signature"], sent["file"]
        if not (isinstance(content, bytes) and isinstance(file, bytes)):
            raise TypeError("release")
        number = install(folder, content=content, signature=str(signature), file=file)
    except Exception as error:
        surprising = not isinstance(error, FedprofileError)
        LOG.error("shop=%s refuses a release: %s", shop, error, exc_info=surprising)
        return refusal(shop, error)
    return RecordDict(
        {
            messages.INSTALLED: ConfigRecord({"number": number}),
            messages.STATUS: ConfigRecord({"shop": shop}),
        }
    )


def _tell_roster(folder: NodeFolder, message: Message) -> RecordDict:
    """Keeps what is offered and tells key and signature; needs no data and spends nothing."""
    shop = "unknown"
    try:
        shop = folder.settings().shop
        sent = message.content.config_records[messages.ROSTER]
        content, signed = sent.get("content"), sent.get("signed")
        if not (isinstance(content, bytes | None) and isinstance(signed, bytes | None)):
            raise TypeError("roster")
        answer = answer_roster(folder, content=content, signed=signed)
    except Exception as error:
        surprising = not isinstance(error, FedprofileError)
        LOG.error("shop=%s refuses a roster: %s", shop, error, exc_info=surprising)
        return refusal(shop, error)
    return RecordDict(
        {messages.ROSTER: answer.record(), messages.STATUS: ConfigRecord({"shop": shop})}
    )


def _ledger_mod(folder: NodeFolder, log: JsonFormatter | None) -> Mod:
    """Returns a wrapper: receipts come before a request, the ledger's hash follows it.

    Where a receipt cannot be taken, nothing is asked of the shop: a release that the ledger has
    lost would be made again.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if log is not None:
            log.context |= _log_context(folder, message)
        try:
            _take_receipts(folder, message)
        except PrivacyError as error:
            LOG.error("receipts not taken: %s", error)
            if message.metadata.message_type not in RELEASE_NOTHING:
                reply = Message(refusal(shop_name(context.node_config), error), reply_to=message)
            else:
                reply = call_next(message, context)
        else:
            reply = call_next(message, context)
        try:
            ledger = open_ledger(folder)
            entry, head = ledger.last_line
            account = canonical(ledger.chain.account().model_dump(mode="json")).decode()
            record = ConfigRecord({"entry": entry, "head": head, "account": account})
            reply.content[messages.LEDGER] = record
        except Exception as error:
            LOG.error("ledger head not sent: %s", error)
        return reply

    return mod


def _log_context(folder: NodeFolder, message: Message) -> dict[str, object]:
    """Returns what the log says of a request: shop, Flower's run and, if it has one, the round."""
    fields: dict[str, object] = {"run": str(message.metadata.run_id)}
    if message.metadata.group_id.isdecimal():
        fields["round"] = int(message.metadata.group_id)
    try:
        fields["shop"] = folder.settings().shop
    except FedprofileError:
        LOG.warning("node.toml cannot be used; the log does not name the shop")
    return fields


def _take_receipts(folder: NodeFolder, message: Message) -> None:
    """Takes the receipts that came with a request.

    Raises:
        PrivacyError: One is of a line that the ledger has lost, or the ledger cannot be used.
    """
    for receipt in _receipts_in(folder, message):
        open_ledger(folder).take_receipt(receipt)


def _receipts_in(folder: NodeFolder, message: Message) -> Iterator[Receipt]:
    """Yields the receipts that count: of this shop, signed by the key of its invitation."""
    record = message.content.config_records.get(messages.RECEIPTS)
    if record is None:
        return
    key, shop = folder.invitation().signing_key, folder.settings().shop
    for line in str(record.get("lines", "")).splitlines():
        try:
            receipt = Receipt.model_validate(json.loads(line))
        except ValueError:
            LOG.error("what came as a receipt is none")
            continue
        if receipt.counts_for(shop, key):
            yield receipt
        else:
            LOG.error(
                "a receipt of shop=%s by the key %s… counts for nothing: it must be of %s and "
                "signed by %s…, the invitation's",
                *(receipt.shop, receipt.server_key[:16], shop, key[:16]),
            )


def never_raising(app: ClientAppCallable) -> ClientAppCallable:
    """Returns an app that never raises: Flower would send an exception's text to the server."""

    def run(message: Message, context: Context) -> Message:
        try:
            return app(message, context)
        except Exception as error:
            LOG.exception("request failed")
            return Message(refusal(shop_name(context.node_config), error), reply_to=message)

    return run


def node_app(folder: NodeFolder, *, log: JsonFormatter | None = None) -> ClientAppCallable:
    """Returns the app of a node as requests reach it: it never raises, and counts each of them.

    Args:
        folder: The node's folder.
        log: Learns run and round of each request.
    """
    return measured(never_raising(make_deployed_app(folder, log=log)), folder)


def answer_request(
    address: str, token: str, folder: Path, parent: int, passphrase: bytes | None = None
) -> None:
    """Answers one request and ends the process.

    Args:
        address: Of the node's own runtime interface, loopback.
        token: For this one task; reaches this process through a pipe, never a command line.
        folder: The node's folder.
        parent: Process that this one ends with.
        passphrase: Of the node's keys; comes through the same pipe.
    """
    os.umask(0o077)
    PASSPHRASE.set(passphrase)
    node = NodeFolder(folder)
    app = node_app(node, log=log_to(node.log))
    run_task(app, address=address, token=token, parent=parent)
