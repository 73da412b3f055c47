"""What a shop answers: parses a request, calls the shop's node, packs the reply.

A reply that refuses carries a code and a fixed remedy. The exception's own text may hold data, so
it goes to the local log and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from flwr.app import ConfigRecord, Context, RecordDict
from flwr.app import Message as FlowerMessage
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from pydantic import ValidationError

from client.federation.node_interface import Node, NodeConfig, NodeSource, read_plan, shop_name
from client.federation.outgoing_releases import AccountedNode
from client.federation.secure_sums import SecureSums, SecureSumsSource, no_roster
from shared.errors import ConfigError, DataError, FedprofileError, ModelError, PrivacyError
from shared.protocol import messages
from shared.protocol.messages import Plan
from shared.protocol.secure_sums import masked_record, message_in, message_record
from shared.secure_aggregation.messages import (
    ConfirmRequest,
    InputRequest,
    KeyList,
    Message,
    OpenRequest,
)

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
            "has no data here",
            name="shop",
            value=shop_name(node_config),
            remedy="start it with its own data folder",
        )


def make_client_app(
    source: NodeSource, *, mods: Sequence[Mod] = (), sums: SecureSumsSource | None = None
) -> ClientApp:
    """Builds the ClientApp that answers for the shops of a source.

    Args:
        source: Opens the shop of a machine or, in a simulation, of a partition.
        mods: Called around every request, the first one outermost.
        sums: Opens the shop for those requests of secure aggregation that need no data; None
            refuses them.

    Returns:
        An app with `train`, `query.counts`, `query.pairs` and the queries of secure aggregation;
        none ever raises an `Exception`.
    """
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: FlowerMessage, context: Context) -> FlowerMessage:
        def answer(node: Node) -> RecordDict:
            content = message.content
            plan, number = read_plan(
                content.config_records[messages.PLAN], round_key=messages.ROUND
            )
            asked = {
                "adapter": messages.from_record(content.array_records[messages.ADAPTER]),
                "candidates": messages.from_codes(content.array_records[messages.CANDIDATES]),
                "plan": plan,
                "round": number,
            }
            return _leave(node, content, messages.UPDATE, lambda shop: shop.train(**asked))

        return _reply(message, context, source.open, answer)

    @app.query(messages.COUNTS_QUERY)
    def counts(message: FlowerMessage, context: Context) -> FlowerMessage:
        def answer(node: Node) -> RecordDict:
            content = message.content
            plan, _ = read_plan(content.config_records[messages.PLAN], round_key=messages.ROUND)
            return _leave(node, content, messages.COUNTS, lambda shop: shop.item_counts(plan=plan))

        return _reply(message, context, source.open, answer)

    @app.query(messages.PAIRS_QUERY)
    def pairs(message: FlowerMessage, context: Context) -> FlowerMessage:
        def answer(node: Node) -> RecordDict:
            content = message.content
            plan, _ = read_plan(content.config_records[messages.PLAN], round_key=messages.ROUND)
            head = messages.from_codes(content.array_records[messages.HEAD], name=messages.HEAD)
            asked = {"plan": plan, "head": head}
            return _leave(node, content, messages.PAIRS, lambda shop: shop.pair_sums(**asked))

        return _reply(message, context, source.open, answer)

    for name, respond in SUM_ANSWERS.items():
        _register(app, name, respond, sums)
    return app


Respond = Callable[[SecureSums, Plan, RecordDict], Message | None]
SUM_ANSWERS: Mapping[str, Respond] = {
    messages.KEYS_QUERY: lambda sums, plan, _: sums.publish_keys(plan),
    messages.SHARES_QUERY: lambda sums, plan, content: sums.deal_shares(
        plan, message_in(content, KeyList)
    ),
    messages.CONFIRM_QUERY: lambda sums, plan, content: sums.confirm(
        plan, message_in(content, ConfirmRequest)
    ),
    messages.OPEN_QUERY: lambda sums, plan, content: sums.open_shares(
        plan, message_in(content, OpenRequest)
    ),
    messages.END_QUERY: lambda sums, plan, _: sums.end(plan),
}
"""What a shop answers besides the masked input, by name of the query."""


def _register(app: ClientApp, name: str, respond: Respond, sums: SecureSumsSource | None) -> None:
    def open_shop(node_config: NodeConfig) -> SecureSums:
        if sums is None:
            raise no_roster(shop_name(node_config))
        return sums.secure_sums(node_config)

    @app.query(name)
    def query(message: FlowerMessage, context: Context) -> FlowerMessage:
        def answer(shop: SecureSums) -> RecordDict:
            content = message.content
            plan, _ = read_plan(content.config_records[messages.PLAN], round_key=messages.ROUND)
            answered = respond(shop, plan, content)
            if answered is None:
                return RecordDict()
            return RecordDict({messages.AGGREGATION: message_record(answered)})

        return _reply(message, context, open_shop, answer)


def _leave(node: Node, content: RecordDict, record: str, ask: Callable[[Any], Any]) -> RecordDict:
    """Returns a release as it leaves: whole numbers, or masked ones where a secure sum is asked."""
    if messages.AGGREGATION in content.config_records:
        if not isinstance(node, AccountedNode):
            raise no_roster(node.shop_id)
        masked = ask(node.masked(message_in(content, InputRequest)))
        return RecordDict({messages.MASKED: masked_record(masked)})
    numbers = ask(node)
    release = numbers if isinstance(numbers, dict) else {record: numbers}
    return RecordDict({record: messages.release_record(release)})


class _Named(Protocol):
    @property
    def shop_id(self) -> str: ...


Opened = TypeVar("Opened", bound=_Named)


def _reply(
    message: FlowerMessage,
    context: Context,
    open_shop: Callable[[NodeConfig], Opened],
    answer: Callable[[Opened], RecordDict],
) -> FlowerMessage:
    shop = shop_name(context.node_config)
    try:
        opened = open_shop(context.node_config)
        shop = opened.shop_id
        content = answer(opened)
        content[messages.STATUS] = ConfigRecord({"shop": shop})
    except Exception as error:
        # What escapes from here, Flower sends to the server as text, and that may quote data.
        surprising = not isinstance(error, FedprofileError)
        LOG.error("shop=%s refuses: %s", shop, error, exc_info=surprising)
        content = refusal(shop, error)
    return FlowerMessage(content, reply_to=message)


def refusal(shop: str, error: Exception) -> RecordDict:
    """Returns what a refusal tells the server: a code and a fixed remedy."""
    code, remedy = next((c, r) for kind, c, r in REFUSALS if isinstance(error, kind))
    status = ConfigRecord({"shop": shop, "code": code, "remedy": remedy})
    return RecordDict({messages.STATUS: status})
