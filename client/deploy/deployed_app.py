"""The ClientApp that a deployed node runs: rounds, releases and receipts, from its own folder."""

from __future__ import annotations

import json
import logging

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.app import make_client_app, refusal
from client.deploy.folder import NodeFolder
from client.deploy.install import install
from client.deploy.source import DeployedShop, open_ledger
from shared import messages
from shared.deploy import records
from shared.deploy.json_log import JsonFormatter
from shared.errors import FedprofileError, PrivacyError
from shared.privacy.ledger.receipts import Receipt

LOG = logging.getLogger("fedprofile.client")


def make_deployed_app(folder: NodeFolder, *, log: JsonFormatter | None = None) -> ClientApp:
    """Builds the app of a node; reads nothing yet, so that every error is answered by a code.

    Args:
        folder: The node's folder.
        log: Learns run and round of each request.
    """
    app = make_client_app(DeployedShop(folder), mods=[_with_ledger(folder, log)])

    @app.query(records.INSTALL_QUERY)
    def install_release(message: Message, context: Context) -> Message:  # noqa: ARG001
        return Message(_install(folder, message), reply_to=message)

    return app


def _install(folder: NodeFolder, message: Message) -> RecordDict:
    shop = "unknown"
    try:
        shop = folder.settings().shop
        sent = message.content.config_records[records.RELEASE]
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
            records.INSTALLED: ConfigRecord({"number": number}),
            messages.STATUS: ConfigRecord({"shop": shop}),
        }
    )


def _with_ledger(folder: NodeFolder, log: JsonFormatter | None) -> Mod:
    """Returns a wrapper that takes receipts before a request and gives the new head after it."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if log is not None:
            log.context |= _said(folder, message)
        try:
            _keep_receipts(folder, message)
        except Exception as error:
            LOG.error("receipts not kept: %s", error)
        reply = call_next(message, context)
        try:
            entry, head = open_ledger(folder).head
            reply.content[records.LEDGER] = ConfigRecord({"entry": entry, "head": head})
        except Exception as error:
            LOG.error("ledger head not sent: %s", error)
        return reply

    return mod


def _said(folder: NodeFolder, message: Message) -> dict[str, object]:
    """Returns what the log says of a request: shop, Flower's run and, if it has one, the round."""
    found: dict[str, object] = {"run": str(message.metadata.run_id)}
    if message.metadata.group_id.isdecimal():
        found["round"] = int(message.metadata.group_id)
    try:
        found["shop"] = folder.settings().shop
    except FedprofileError:
        LOG.warning("node.toml cannot be used; the log does not name the shop")
    return found


def _keep_receipts(folder: NodeFolder, message: Message) -> None:
    record = message.content.config_records.get(records.RECEIPTS)
    if record is None:
        return
    key = folder.invitation().signing_key
    for line in str(record["lines"]).splitlines():
        receipt = Receipt.model_validate(json.loads(line))
        if receipt.server_key != key:
            raise PrivacyError(
                f"server_key={receipt.server_key[:16]}… of a receipt must be {key[:16]}…"
            )
        open_ledger(folder).countersign(receipt)
