"""The three releases as tasks: what is asked, what it costs, which whole numbers answer.

Whatever a shop is to release later becomes a task too; how it leaves is not its matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from client.federation.node_interface import Node, check_round, planned_mechanism
from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.protocol import messages
from shared.protocol.messages import Arrays, CodesArray, Plan, Release
from shared.protocol.secure_sums import counts_asked, pairs_asked, update_asked, update_name
from shared.releases.pair_sums import check_head


@dataclass(frozen=True)
class ReleaseTask:
    """One release that a shop is asked for.

    Attributes:
        plan: The public plan.
        mechanism: What it is, with the steps of this round.
        round: From 1; 0 for statistics.
        sum_name: Of the secure sum that it is a part of.
        asked: Digest of what it is computed from besides the shop's data.
        compute: Returns the noisy whole numbers by name.
    """

    plan: Plan
    mechanism: Mechanism
    round: int
    sum_name: str
    asked: str
    compute: Callable[[], Release]


def training_task(
    node: Node, *, adapter: Arrays, plan: Plan, number: int, candidates: CodesArray
) -> ReleaseTask:
    """Returns a round's update; see `client.federation.node_interface.Node.train`.

    Raises:
        PrivacyError: It is no round of this plan.
    """
    if not 1 <= number <= plan.rounds:
        raise PrivacyError(
            f"must be between 1 and rounds={plan.rounds}",
            name="round",
            value=number,
            remedy="ask for a round of the plan",
        )
    check_round(plan, adapter=adapter, candidates=candidates, n_items=node.n_items)
    return ReleaseTask(
        plan,
        replace(planned_mechanism("dp-sgd", plan), steps=plan.local_steps),
        round=number,
        sum_name=update_name(number),
        asked=update_asked(adapter, candidates, number),
        compute=lambda: node.train(adapter=adapter, plan=plan, round=number, candidates=candidates),
    )


def counting_task(node: Node, *, plan: Plan) -> ReleaseTask:
    """Returns the item counts; see `client.federation.node_interface.Node.item_counts`.

    Raises:
        PrivacyError: The plan releases none.
    """
    if not plan.counts_release:
        raise PrivacyError(
            "must be True where item counts are asked for",
            name="counts_release",
            value=False,
            remedy="send a plan that releases them",
        )
    return ReleaseTask(
        plan,
        planned_mechanism("item-counts", plan),
        round=0,
        sum_name=messages.COUNTS,
        asked=counts_asked(),
        compute=lambda: {messages.COUNTS: node.item_counts(plan=plan)},
    )


def pairing_task(node: Node, *, plan: Plan, head: CodesArray) -> ReleaseTask:
    """Returns the pair sums; see `client.federation.node_interface.Node.pair_sums`.

    Raises:
        PrivacyError: The plan releases none, or the head is none.
    """
    if not plan.pairs_release:
        raise PrivacyError(
            "must be True where pair sums are asked for",
            name="pairs_release",
            value=False,
            remedy="send a plan that releases them",
        )
    check_head(head, n_items=node.n_items, most=plan.head_items)
    return ReleaseTask(
        plan,
        planned_mechanism("pair-sums", plan),
        round=0,
        sum_name=messages.PAIRS,
        asked=pairs_asked(head),
        compute=lambda: {messages.PAIRS: node.pair_sums(plan=plan, head=head)},
    )
