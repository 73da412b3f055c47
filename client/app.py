"""Flower's ClientApp: parses a request, calls the shop's node, packs the reply.

A reply that refuses carries a code and a fixed remedy. The exception's own text may hold data, so
it goes to the local log and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from pydantic import ValidationError

from client.node import Node, NodeConfig, NodeSource, read_plan, shop_name
from shared import messages
from shared.errors import ConfigError, DataError, FedprofileError, ModelError, PrivacyError

LOG = logging.getLogger("fedprofile.client")

REFUSALS: tuple[tuple[type[Exception], str, str], ...] = (
    (PrivacyError, "privacy", "the shop's privacy rules do not allow this request"),
    (ValidationError, "plan", "send a plan that this version of the shop's software knows"),
    (DataError, "data", "the shop's owner finds the cause in the shop's own log"),
    (ModelError, "model", "use the encoder and adapter shape that the shop has"),
    (ConfigError, "config", "the shop's owner finds the cause in the shop's own log"),
    (Exception, "internal", "the shop's owner finds the cause in the shop's own log"),
)
"""Exception, code and remedy: all that a refusal tells the server."""


class NoShop:
    """Source of a machine on which no shop was set up: refuses every request."""

    def open(self, node_config: NodeConfig) -> Node:
        """Refuses.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"shop={shop_name(node_config)} has no data here; start it with its own data folder"
        )


def make_client_app(source: NodeSource, *, mods: Sequence[Mod] = ()) -> ClientApp:
    """Builds the ClientApp that answers for the shops of a source.

    Args:
        source: Opens the shop of a machine or, in a simulation, of a partition.
        mods: Called around every request, the first one outermost.

    Returns:
        An app with `train`, `query.counts` and `query.pairs`; none ever raises an `Exception`.
    """
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        def answer(node: Node) -> RecordDict:
            content = message.content
            plan, number = read_plan(
                content.config_records[messages.PLAN], round_key=messages.ROUND
            )
            adapter = messages.from_record(content.array_records[messages.ADAPTER])
            candidates = messages.from_codes(content.array_records[messages.CANDIDATES])
            update = node.train(adapter=adapter, plan=plan, round=number, candidates=candidates)
            return RecordDict({messages.UPDATE: messages.to_record(update)})

        return _reply(message, context, source, answer)

    @app.query(messages.COUNTS_QUERY)
    def counts(message: Message, context: Context) -> Message:
        def answer(node: Node) -> RecordDict:
            plan, _ = read_plan(
                message.content.config_records[messages.PLAN], round_key=messages.ROUND
            )
            noisy = messages.to_record({messages.COUNTS: node.counts(plan=plan)})
            return RecordDict({messages.COUNTS: noisy})

        return _reply(message, context, source, answer)

    @app.query(messages.PAIRS_QUERY)
    def pairs(message: Message, context: Context) -> Message:
        def answer(node: Node) -> RecordDict:
            content = message.content
            plan, _ = read_plan(content.config_records[messages.PLAN], round_key=messages.ROUND)
            head = messages.from_codes(content.array_records[messages.HEAD], name=messages.HEAD)
            noisy = messages.to_record({messages.PAIRS: node.pairs(plan=plan, head=head)})
            return RecordDict({messages.PAIRS: noisy})

        return _reply(message, context, source, answer)

    return app


def _reply(
    message: Message, context: Context, source: NodeSource, answer: Callable[[Node], RecordDict]
) -> Message:
    shop = shop_name(context.node_config)
    try:
        node = source.open(context.node_config)
        shop = node.shop_id
        content = answer(node)
        content[messages.STATUS] = ConfigRecord({"shop": shop})
    except Exception as error:
        surprising = not isinstance(error, FedprofileError)
        LOG.error("shop=%s refuses: %s", shop, error, exc_info=surprising)
        content = refusal(shop, error)
    return Message(content, reply_to=message)


def refusal(shop: str, error: Exception) -> RecordDict:
    """Returns what a refusal tells the server: a code and a fixed remedy."""
    code, remedy = next((c, r) for kind, c, r in REFUSALS if isinstance(error, kind))
    status = ConfigRecord({"shop": shop, "code": code, "remedy": remedy})
    return RecordDict({messages.STATUS: status})


app = make_client_app(NoShop())
