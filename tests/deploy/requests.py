"""A coordinator's requests to a node's real app, with receipts and signed heads, in one process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict

from client.deploy.request_process import node_app
from server.coordinator.ledger_receipts import ReceiptIssuer, receipts_file
from server.runs.invited_grid import InvitedGrid
from shared.flower.simulation.in_process import FIRST_NODE_ID, InProcessGrid
from shared.keys.signing import SigningKey
from shared.protocol import messages
from shared.protocol.messages import Arrays, Plan
from tests.client.federation.test_shop_node import CANDIDATES
from tests.client.federation.test_shop_node import plan as plan_of
from tests.deploy.installing import Pair

SHOP = "north"
NOISE = 8.0


@dataclass
class Requests:
    """A run that asks one shop.

    Attributes:
        pair: Coordinator and node.
        invited_after: Head after which the shop was invited again.
    """

    pair: Pair
    invited_after: dict[str, str | None] = field(default_factory=dict)

    def plan(self, seed: int = 1) -> Plan:
        return plan_of(
            rounds=4,
            seed=seed,
            private=True,
            noise_multiplier=NOISE,
            counts_noise_multiplier=NOISE,
            pairs_release=False,
            base_hash=self.pair.node.invitation().base.base_hash,
        )

    def issuer(self) -> ReceiptIssuer:
        key = SigningKey.load(self.pair.server.signing_key)
        return ReceiptIssuer(self.pair.server.receipts, key, self.invited_after)

    @property
    def receipts(self) -> Path:
        return receipts_file(self.pair.server.receipts, SHOP)

    def ask(self, kind: str, content: RecordDict, round: int = 0) -> Message:  # noqa: A002
        inner = InProcessGrid(node_app(self.pair.node), num_shops=1)  # type: ignore[arg-type]
        grid = InvitedGrid(inner, {FIRST_NODE_ID: SHOP}, self.issuer())
        request = Message(content, FIRST_NODE_ID, kind, group_id=str(round))
        sent = list(grid.push_messages([request]))
        (reply,) = grid.pull_messages(sent)
        return reply

    def counts(self, seed: int = 1) -> Arrays | str:
        """Asks for counts; returns them as sent, or the code of a refusal."""
        record = ConfigRecord(self.plan(seed).to_record())
        content = RecordDict({messages.PLAN: record})
        return self._answer(self.ask(f"query.{messages.COUNTS_QUERY}", content), messages.COUNTS)

    def train(self, number: int, seed: int = 1) -> Arrays | str:
        """Asks for a round; returns the update as sent, or the code of a refusal."""
        record = ConfigRecord({**self.plan(seed).to_record(), messages.ROUND: number})
        content = RecordDict(
            {
                messages.PLAN: record,
                messages.ADAPTER: messages.to_record(self.pair.arrays),
                messages.CANDIDATES: messages.codes_record(CANDIDATES),
            }
        )
        return self._answer(self.ask("train", content, number), messages.UPDATE)

    def _answer(self, reply: Message, name: str) -> Arrays | str:
        status = reply.content.config_records[messages.STATUS]
        if "code" in status:
            assert not reply.content.array_records
            return str(status["code"])
        return messages.from_record(reply.content.array_records[name])

    def back_up(self, name: str = "backup") -> Path:
        return Path(shutil.copytree(self.pair.node.root, self.pair.node.root.parent / name))

    def put_back(self, backup: Path) -> None:
        shutil.rmtree(self.pair.node.root)
        shutil.copytree(backup, self.pair.node.root)
