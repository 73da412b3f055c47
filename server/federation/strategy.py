"""The federation's strategy for Flower: public weights, checked updates, no evaluation phase."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from server.aggregation.averaging import ExactSum, robust_mean
from server.aggregation.update_checks import (
    clip_norm,
    l2_norm,
    statistic_bound,
    sum_bound,
    update_bound,
)
from server.federation.exchange import accepted_numbers, accepted_replies, connected_nodes
from server.federation.federated_run import Federation, Refusal, n_replies
from server.federation.server_state import ServerState, apply_update
from server.federation.whole_sums import Shapes, WholeSum, shapes_of, size_of
from shared.errors import RunError
from shared.flower.reply_codes import RefusalCode
from shared.privacy.noise import GRID
from shared.protocol import messages
from shared.protocol.messages import Arrays, FloatArray, RequestKind
from shared.releases.pair_sums import head_items, n_pairs
from shared.settings.run_settings import ROBUST_LEAST

LOG = logging.getLogger("fedprofile.server")


class ProfileStrategy(FedAvg):
    """Averages what the plan trains, with equal or public weights.

    FedAvg (https://arxiv.org/abs/1602.05629) weighs by the number of examples that a client
    reports; here no shop reports any number.

    Args:
        federation: Plan, settings and public weights.
        state: Where the run stands; `aggregate_train` moves it on.
    """

    def __init__(self, federation: Federation, *, state: ServerState) -> None:
        super().__init__(arrayrecord_key=messages.ADAPTER, configrecord_key=messages.PLAN)
        self.federation = federation
        self.state = state

    def summary(self) -> None:
        """Logs aggregation, optimizer and bounds."""
        settings = self.federation.settings
        LOG.info(
            "aggregation=%s robust=%s server_optimizer=%s min_replies=%d max_update_norm=%s",
            settings.aggregation,
            settings.robust,
            settings.server_optimizer,
            settings.min_replies,
            settings.max_update_norm,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Addresses the adapter, the plan and the round's candidates to every connected node.

        Raises:
            RunError: Fewer than `min_replies` nodes are connected after `round_timeout` seconds.
        """
        plan = ConfigRecord({**config, messages.ROUND: server_round})
        candidates = self.federation.draw_candidates(
            server_round, self.state.counts, n_replies(self.state.rounds, "counts")
        )
        content = RecordDict(
            {
                messages.ADAPTER: arrays,
                messages.PLAN: plan,
                messages.CANDIDATES: messages.codes_record(candidates),
            }
        )
        return self._address(content, MessageType.TRAIN, server_round, grid)

    def configure_counts(self, grid: Grid) -> list[Message]:
        """Addresses the request for noisy item counts to every connected node."""
        content = RecordDict({messages.PLAN: ConfigRecord(self.federation.plan.to_record())})
        return self._address(content, f"{MessageType.QUERY}.{messages.COUNTS_QUERY}", 0, grid)

    def configure_pairs(self, grid: Grid) -> list[Message]:
        """Addresses the head and the request for noisy pair sums to every connected node.

        The head follows from the noisy counts, which are kept: a run that goes on asks for the very
        same pairs.

        Raises:
            RunError: Also if the counts were not asked before.
        """
        plan, counts = self.federation.plan, self.state.counts
        if counts is None:
            raise RunError(
                "must be there before pair sums are asked for",
                name="counts",
                value="none",
                remedy="start a new run",
            )
        head = head_items(counts, plan.head_items).astype(np.int64)
        self.state = replace(self.state, head=head)
        content = RecordDict(
            {
                messages.PLAN: ConfigRecord(plan.to_record()),
                messages.HEAD: messages.codes_record(head, name=messages.HEAD),
            }
        )
        return self._address(content, f"{MessageType.QUERY}.{messages.PAIRS_QUERY}", 0, grid)

    def configure_evaluate(
        self,
        server_round: int,  # noqa: ARG002
        arrays: ArrayRecord,  # noqa: ARG002
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,  # noqa: ARG002
    ) -> list[Message]:
        """Asks nothing: a shop's metrics on the global model stay in the shop."""
        return []

    def aggregate(
        self, kind: RequestKind, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord:
        """Checks and aggregates the replies to a request of any kind.

        Raises:
            RunError: Fewer than `min_replies` good ones.
        """
        if self.federation.plan.noise_shops > 1:
            return self.take_sum(kind, server_round, self._whole_sum(kind, server_round, replies))
        if kind == "counts":
            return self.aggregate_counts(replies)[1]
        if kind == "pairs":
            return self.aggregate_pairs(replies)[1]
        return self.aggregate_train(server_round, replies)[1]

    def shapes(self, kind: RequestKind) -> Shapes:
        """Returns shape by name of the arrays that a shop answers with."""
        return shapes_of(self.federation, self.state, kind)

    def take_sum(self, kind: RequestKind, server_round: int, total: WholeSum) -> MetricRecord:
        """Takes in a sum over shops that share their noise: all that is seen of it.

        Raises:
            RunError: Too few shops are in it, or it is longer than honest ones can make it.
        """
        plan, settings, count = self.federation.plan, self.federation.settings, len(total.shops)
        self._note(server_round, count, total.refusals)
        size = size_of(self.shapes(kind))
        users = settings.max_shop_users
        bound = sum_bound(plan, kind, size=size, max_users=users, shops=count)
        if not total.norm() <= bound:
            raise RunError(
                f"the sum of {count} shops is longer than clipping and noise of honest ones allow: "
                "one of them has sent what no user's data can give",
                name="round",
                value=server_round,
                remedy="find it in a run with --noise shop --only adapter, whose updates are seen "
                "one by one",
            )
        if kind == "train":
            update = total.scaled(plan.update_scale / count)
            rounds = plan.rounds
            self.state = apply_update(self.state, update, settings=settings, rounds=rounds)
            return _metrics(count, total.refusals, update)
        summed = total.scaled(1 / GRID)
        if kind == "counts":
            self.state = replace(self.state, counts=summed[kind])
        else:
            self.state = replace(self.state, pairs=summed[kind])
        return _metrics(count, total.refusals, summed)

    def _whole_sum(
        self, kind: RequestKind, server_round: int, replies: Iterable[Message]
    ) -> WholeSum:
        """Adds whole numbers up that a simulation shows one by one."""
        key = messages.UPDATE if kind == "train" else kind
        total = WholeSum()
        for shop, numbers in accepted_numbers(
            replies,
            key=key,
            shapes=self.shapes(kind),
            round=server_round,
            refusals=total.refusals,
            kind=kind,
        ):
            total.add(shop, numbers)
        return total

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Checks the updates, aggregates the good ones and moves the adapter.

        Args:
            server_round: From 1.
            replies: Consumed one at a time; only robust aggregation keeps them.

        Returns:
            The adapter after the round; numbers of good and refused replies and the L2 norm of the
            aggregated update.

        Raises:
            RunError: Fewer than `min_replies` good updates.
        """
        plan, settings = self.federation.plan, self.federation.settings
        names = messages.trainable_names(self.state.adapter, aggregation=plan.aggregation)
        shapes = {name: self.state.adapter[name].shape for name in names}
        size = sum(self.state.adapter[name].size for name in names)
        refusals: list[Refusal] = []
        good = accepted_replies(
            replies,
            key=messages.UPDATE,
            shapes=shapes,
            round=server_round,
            refusals=refusals,
            bound=update_bound(plan, size=size, max_users=settings.max_shop_users),
            scale=plan.update_scale,
        )
        clipped = ((shop, clip_norm(u, max_norm=settings.max_update_norm)) for shop, u in good)
        update, count = self._combine(self._weighted(clipped, server_round, refusals))
        self._note(server_round, count, refusals)
        self.state = apply_update(self.state, update, settings=settings, rounds=plan.rounds)
        return messages.to_record(self.state.adapter), _metrics(count, refusals, update)

    def aggregate_counts(self, replies: Iterable[Message]) -> tuple[FloatArray, MetricRecord]:
        """Checks and sums the shops' noisy item counts `(n_items,)`.

        Raises:
            RunError: Fewer than `min_replies` good replies.
        """
        summed, metrics = self._sum(replies, "counts", size=self.federation.n_items)
        self.state = replace(self.state, counts=summed)
        return summed, metrics

    def aggregate_pairs(self, replies: Iterable[Message]) -> tuple[FloatArray, MetricRecord]:
        """Checks and sums the shops' noisy pair sums `(h (h - 1) / 2,)`, one reply at a time.

        Raises:
            RunError: Fewer than `min_replies` good replies.
        """
        head = self.state.head
        size = 0 if head is None else n_pairs(len(head))
        summed, metrics = self._sum(replies, "pairs", size=size)
        self.state = replace(self.state, pairs=summed)
        return summed, metrics

    def _sum(
        self, replies: Iterable[Message], kind: Literal["counts", "pairs"], *, size: int
    ) -> tuple[FloatArray, MetricRecord]:
        """Sums one array `(size,)` of each good reply; record and array are named by the kind."""
        refusals: list[Refusal] = []
        total, users = ExactSum(), self.federation.settings.max_shop_users
        for _, arrays in accepted_replies(
            replies,
            key=kind,
            shapes={kind: (size,)},
            round=0,
            refusals=refusals,
            kind=kind,
            bound=statistic_bound(self.federation.plan, kind, size=size, max_users=users),
        ):
            total.add(arrays)
        self._note(0, total.count, refusals)
        summed = total.total()
        return summed[kind], _metrics(total.count, refusals, summed)

    def _address(
        self, content: RecordDict, kind: str, server_round: int, grid: Grid
    ) -> list[Message]:
        settings = self.federation.settings
        nodes = connected_nodes(
            grid,
            wanted=self.federation.nodes or settings.min_replies,
            minimum=settings.min_replies,
            timeout=settings.round_timeout,
            stop=self.federation.stop,
        )
        return [
            Message(
                content,
                dst_node_id=node,
                message_type=kind,
                group_id=str(server_round),
                ttl=settings.round_timeout,
            )
            for node in nodes
        ]

    def _weighted(
        self, updates: Iterable[tuple[str, Arrays]], server_round: int, refusals: list[Refusal]
    ) -> Iterator[tuple[str, float, Arrays]]:
        weights = self.federation.weights
        for shop, update in updates:
            if weights is not None and shop not in weights:
                remedy = "give this shop a public weight"
                refusals.append(Refusal(server_round, shop, str(RefusalCode.UNKNOWN_SHOP), remedy))
            else:
                yield shop, 1.0 if weights is None else weights[shop], update

    def _combine(self, updates: Iterable[tuple[str, float, Arrays]]) -> tuple[Arrays, int]:
        """Returns the aggregated update and the number of updates in it."""
        method = self.federation.settings.robust
        if method != "none":
            in_order = [update for _, _, update in sorted(updates, key=lambda entry: entry[0])]
            enough = len(in_order) >= ROBUST_LEAST[method]
            return (robust_mean(in_order, method=method) if enough else {}), len(in_order)
        total = ExactSum()
        for _, weight, update in updates:
            total.add(update, weight=weight)
        return (total.mean() if total.count else {}), total.count

    def _note(self, server_round: int, good: int, refusals: list[Refusal]) -> None:
        refusals.sort(key=lambda r: r.shop)
        for refusal in refusals:
            LOG.warning(
                "round=%d shop=%s refused: %s; %s",
                server_round,
                refusal.shop,
                refusal.code,
                refusal.remedy,
                extra={"round": server_round, "shop": refusal.shop},
            )
        if self.federation.on_refused is not None:
            self.federation.on_refused(refusals)
        minimum, name = self.federation.settings.min_replies, "min_replies"
        remedy = "lower min_replies"
        robust = self.federation.settings.robust
        if server_round > 0 and minimum < ROBUST_LEAST[robust]:
            minimum, name = ROBUST_LEAST[robust], f"the least of robust={robust}"
            remedy = "remove federation.robust"
        in_sum = max(self.federation.min_shops, self.federation.plan.noise_shops)
        if minimum < in_sum:
            minimum, name = in_sum, "the least number of shops in a sum"
            remedy = "let each shop add all of its noise"
        if good < minimum:
            first = f"; first refusal: {refusals[0].shop}: {refusals[0].code}" if refusals else ""
            raise RunError(
                f"good replies={good} must be at least {name}={minimum}{first}",
                name="round",
                value=server_round,
                remedy=f"mend the shops or {remedy}, then continue with --resume",
            )
        self.state = replace(self.state, refusals=(*self.state.refusals, *refusals))


def _metrics(good: int, refusals: list[Refusal], total: Arrays) -> MetricRecord:
    return MetricRecord({"good": good, "refused": len(refusals), "update-norm": l2_norm(total)})
