"""`fedprofile server roster make`: asks for keys, offers the roster, collects the signatures."""

from __future__ import annotations

import logging
from threading import Event

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import read_shops
from server.coordinator.roster import RosterFiles
from server.federation.exchange import Traffic, connected_nodes, exchange
from shared.errors import PrivacyError
from shared.keys.signing import canonical
from shared.protocol import messages
from shared.protocol.roster_messages import RosterAnswer
from shared.secure_aggregation.roster import SignedRoster

LOG = logging.getLogger("fedprofile.server")
WAIT = 60.0
"""Seconds to wait for all invited nodes; who is not there by then is asked another time."""


def collect_signatures(grid: Grid, folder: ServerFolder) -> None:
    """Makes the roster of the invited shops and brings it as far as their owners let it go.

    Each step notes what it got, so that a repetition goes on from there.

    Args:
        grid: Narrowed to the invited shops, under their true names.
        folder: The coordinator's folder.

    Raises:
        ConfigError: A shop has not told its key yet, or a file is damaged.
        PrivacyError: There are too few shops for the numbers that were chosen.
    """
    files = RosterFiles(folder)
    invited = len(read_shops(folder))
    connected_nodes(grid, wanted=invited, minimum=0, timeout=WAIT, stop=Event())
    _ask(grid, folder, {})
    roster = files.propose()
    _ask(grid, folder, {"content": roster.content()})
    signatures = files.signatures(roster)
    if len(signatures) < roster.size:
        LOG.info("%d of %d shops accepted the roster", len(signatures), roster.size)
        return
    send_signed(grid, folder, SignedRoster(roster=roster, signatures=signatures))


def send_signed(grid: Grid, folder: ServerFolder, signed: SignedRoster) -> None:
    """Brings a roster with all signatures to the connected nodes; who holds it keeps it."""
    _ask(grid, folder, {"signed": canonical(signed.model_dump(mode="json"))})


def _ask(grid: Grid, folder: ServerFolder, question: dict[str, bytes]) -> None:
    """Asks all connected nodes and notes what they answer."""
    timeout = folder.settings().federation.round_timeout
    requests = [
        Message(
            RecordDict({messages.ROSTER: ConfigRecord(dict(question))}),
            dst_node_id=node,
            message_type=f"{MessageType.QUERY}.{messages.ROSTER_QUERY}",
            group_id="roster",
            ttl=timeout,
        )
        for node in sorted(grid.get_node_ids())
    ]
    for reply in exchange(grid, requests, timeout=timeout, stop=Event(), traffic=Traffic()):
        _note(folder, reply)


def _note(folder: ServerFolder, reply: Message) -> None:
    names = {entry.node_id: shop for shop, entry in read_shops(folder).items()}
    shop = names.get(reply.metadata.src_node_id)
    if shop is None:
        return
    if not reply.has_content():
        LOG.warning("shop=%s does not answer about the roster", shop, extra={"shop": shop})
        return
    records = reply.content.config_records
    status = records.get(messages.STATUS)
    if status is not None and "code" in status:
        LOG.warning(
            "shop=%s refuses to answer about the roster; see its log", shop, extra={"shop": shop}
        )
        return
    try:
        RosterFiles(folder).note(shop, RosterAnswer.of(records.get(messages.ROSTER)))
    except PrivacyError as error:
        LOG.warning("shop=%s: %s", shop, error, extra={"shop": shop})
