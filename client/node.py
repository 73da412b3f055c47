"""What the federation asks of a shop, whatever it trains with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from flwr.app import ConfigRecord

from shared.messages import Arrays, CodesArray, FloatArray
from shared.plan import Plan

NodeConfig = Mapping[str, str | int | float | bool]
"""What the owner's machine was started with; in a simulation `partition-id` and `num-partitions`.
"""


class Node(Protocol):
    """One shop, opened for one request."""

    @property
    def shop_id(self) -> str:
        """The owner's public name."""
        ...

    @property
    def n_items(self) -> int:
        """Items of the public catalogue."""
        ...

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,
    ) -> Arrays:
        """Trains one round on the shop's users.

        Args:
            adapter: The global LoRA matrices, A `(rank, in)` and B `(out, rank)`.
            plan: The public plan, to be checked against the shop's own limits.
            round: From 1.
            candidates: Public item codes `(n,)` of the round's training softmax; may be empty.

        Returns:
            Trained minus received, float32, for the names of `shared.messages.trainable_names`.
        """
        ...

    def counts(self, *, plan: Plan) -> FloatArray:
        """Returns the shop's noisy item counts `(n_items,)`, float32."""
        ...

    def pairs(self, *, plan: Plan, head: CodesArray) -> FloatArray:
        """Returns the shop's noisy pair sums over the head, float32.

        Args:
            plan: The public plan, to be checked against the shop's own limits.
            head: Public item codes `(h,)`, ascending.

        Returns:
            The upper triangle by rows, diagonal left out, `(h (h - 1) / 2,)`.
        """
        ...


class NodeSource(Protocol):
    """Opens shops; small and picklable, since Ray ships it with every request."""

    def open(self, node_config: NodeConfig) -> Node:
        """Opens the shop of this machine, or of `node_config["partition-id"]` in a simulation."""
        ...


def shop_name(node_config: NodeConfig) -> str:
    """Names a shop that could not be opened, from the owner's own configuration."""
    return str(node_config.get("shop", f"partition-{node_config.get('partition-id', '?')}"))


def read_plan(record: ConfigRecord, *, round_key: str) -> tuple[Plan, int]:
    """Reads the plan and the round's number (0 where none is asked for) from a request.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or out of its bounds.
    """
    fields = dict(record)
    number = fields.pop(round_key, 0)
    return Plan.model_validate(fields), int(str(number))
