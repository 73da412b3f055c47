"""What every release mechanism promises: one suite, inherited by a class for each.

To add a mechanism, inherit from `ReleaseSuite` and say what it computes: all tests then run on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.federation.client_app import make_client_app
from client.federation.node_interface import Node, PlanRules, plan_mechanisms
from client.federation.outgoing_releases import AccountedNode
from client.federation.shop_node import ShopNode
from client.training.clip_and_noise import PrivateOptimizer
from shared.errors import PrivacyError
from shared.interactions.events import Events
from shared.model.adapter import adapter_arrays, attach
from shared.privacy.accounting.guarantee import MechanismName
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import digest_arrays
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.noise import GRID, Integers, RandomSource
from shared.protocol import messages
from shared.protocol.messages import Arrays, Plan, Release
from tests.client.federation.test_shop_node import CANDIDATES, MODEL, N_ITEMS, node, plan, shopping

LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5)
HEAD = np.arange(10)
NOISY = {"noise_multiplier": 4.0, "counts_noise_multiplier": 5.0, "pairs_noise_multiplier": 6.0}
PRIVATE = plan(private=True, **NOISY)
NOBODY = Events.build(user=[], item=[], time=[])
Baskets = list[list[int]]
# Failing examples are stored by test function, which the classes share: an example that another
# class left is one more to try.
inherited = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)
baskets = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=30), max_size=5)


def events_of(users: Baskets) -> Events:
    user = [u for u, items in enumerate(users) for _ in items]
    item = [i for items in users for i in items]
    place = [p for items in users for p, _ in enumerate(items)]
    return Events.build(user=user, item=item, time=place, session=place)


def adapter() -> Arrays:
    return adapter_arrays(attach(node(NOBODY, 0).base(), MODEL, seed=1))


def square_norm(numbers: Integers) -> int:
    """In whole numbers of any size: int64 would overflow near the bound."""
    return sum(int(number) ** 2 for number in numbers.ravel())


@dataclass
class Watched:
    """A shop that notes what its ledger says at the moment that it computes something."""

    shop: ShopNode
    ledger: Path
    seen: list[tuple[list[str], int]] = field(default_factory=list)
    fails: bool = False

    @property
    def shop_id(self) -> str:
        return self.shop.shop_id

    @property
    def n_items(self) -> int:
        return self.shop.n_items

    def note(self) -> None:
        chain, _ = read_ledger(self.ledger)
        mechanisms = [body.mechanism.name for body in chain.bodies.values()]
        self.seen.append((mechanisms, len(chain.commits)))
        if self.fails:
            raise ValueError("out of memory")

    def train(self, **request: Any) -> Release:
        self.note()
        return self.shop.train(**request)

    def item_counts(self, **request: Any) -> Integers:
        self.note()
        return self.shop.item_counts(**request)

    def pair_sums(self, **request: Any) -> Integers:
        self.note()
        return self.shop.pair_sums(**request)


class ReleaseSuite(ABC):
    """The contract."""

    name: ClassVar[MechanismName]
    """In the ledger."""
    noise: ClassVar[str]
    """Its field of noise in the plan."""
    absent: ClassVar[dict[str, object]]
    """Changes to a plan that then does not name it."""
    refusal: ClassVar[str]
    """What such a plan is told."""
    kind: ClassVar[str]
    """Of Flower's message."""
    reply: ClassVar[str]
    """Record of the reply that holds the release."""

    @abstractmethod
    def release(self, shop: Node, the_plan: Plan) -> Release:
        """Asks for the release and returns its arrays by name."""

    def inputs(self) -> RecordDict:
        """What a message carries beside the plan."""
        return RecordDict()

    def clean_sum(self, users: Baskets) -> Integers:
        """The sum before noise."""
        return self.numbers(node(events_of(users), len(users)), plan())

    def numbers(self, shop: Node, the_plan: Plan) -> Integers:
        """All released numbers in one row."""
        return np.concatenate([array.ravel() for array in self.release(shop, the_plan).values()])

    def accounted(
        self,
        folder: Path,
        *,
        limits: LifetimeLimits = LIMITS,
        fails: bool = False,
        **options: Any,
    ) -> tuple[AccountedNode, Watched]:
        """A shop with a ledger and noise from the operating system, as a real one."""
        shop = replace(node(shopping(3), 3), randomness=lambda *_: RandomSource.from_os())
        watched = Watched(shop, folder / "ledgers" / "a.jsonl", fails=fails)
        ledger = Ledger.open_or_create(folder / "ledgers", shop="a", limits=limits)
        return AccountedNode(watched, ledger, **options), watched

    def assert_nothing_spent(self, watched: Watched) -> None:
        chain, _ = read_ledger(watched.ledger)
        assert (watched.seen, len(chain.bodies), len(chain.reservations)) == ([], 0, 0)

    @pytest.mark.parametrize("the_plan", [plan(), PRIVATE])
    def test_whole_numbers_leave_and_nothing_else(self, the_plan: Plan) -> None:
        for shop in (node(shopping(3), 3), node(NOBODY, 0)):
            for array in self.release(shop, the_plan).values():
                assert type(array) is np.ndarray
                assert array.dtype == np.int64

    def test_a_shop_without_users_releases_numbers_of_the_same_shape(self) -> None:
        """Else the shape would tell that nobody is there."""
        nobody, some = (
            {name: array.shape for name, array in self.release(shop, PRIVATE).items()}
            for shop in (node(NOBODY, 0), node(shopping(3), 3))
        )
        assert nobody == some
        assert not self.clean_sum([]).any()

    @inherited
    @given(baskets, st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=60))
    def test_one_user_more_or_less_moves_the_clean_sum_by_at_most_the_grid(
        self, users: Baskets, one: list[int]
    ) -> None:
        moved = self.clean_sum([*users, one]) - self.clean_sum(users)
        assert square_norm(moved) <= GRID * GRID  # exactly: the proof in docs/privacy.md needs it

    def test_a_user_with_much_to_give_uses_the_whole_grid(self) -> None:
        """Noise for a bound that nobody reaches would be noise for nothing."""
        moved = self.clean_sum([[29, *range(10)]])
        assert square_norm(moved) == pytest.approx(GRID * GRID, rel=1e-3)

    @settings(inherited, max_examples=8)
    @given(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=60))
    def test_a_shop_of_one_user_releases_at_most_the_grid_and_noise(self, one: list[int]) -> None:
        alone = self.numbers(node(events_of([one]), 1), plan())
        assert square_norm(alone) <= GRID * GRID

    @pytest.mark.parametrize("shops", [1, 5])
    def test_the_noise_is_that_of_the_plan_or_one_share_of_it(self, shops: int) -> None:
        multiplier = float(getattr(PRIVATE, self.noise))
        empty, noise = node(NOBODY, 0), []
        while sum(map(len, noise)) < 2500:
            the_plan = plan(**NOISY, noise_shops=shops, seed=len(noise))
            noise.append(self.numbers(empty, the_plan))
        drawn = np.concatenate(noise) / GRID
        assert drawn.std() == pytest.approx(multiplier / shops**0.5, rel=0.05)
        assert drawn.mean() == pytest.approx(0.0, abs=0.1 * multiplier)

    def test_it_is_the_clean_sum_plus_noise_that_depends_on_no_user(self) -> None:
        users = [[1, 2, 3], [2, 3, 4, 5], [1, 1, 7]]
        some, nobody = node(events_of(users), len(users)), node(NOBODY, 0)
        clean = self.numbers(some, plan())
        np.testing.assert_array_equal(
            self.numbers(some, PRIVATE) - self.numbers(nobody, PRIVATE), clean
        )

    def test_two_releases_of_a_real_shop_have_noise_of_their_own(self) -> None:
        shop = replace(node(shopping(3), 3), randomness=lambda *_: RandomSource.from_os())
        first, second = (self.numbers(shop, PRIVATE) for _ in range(2))
        assert (first != second).mean() > 0.99

    def test_it_is_reserved_before_it_is_computed_and_committed_before_it_leaves(
        self, tmp_path: Path
    ) -> None:
        shop, watched = self.accounted(tmp_path)
        released = self.release(shop, PRIVATE)
        assert watched.seen == [([self.name], 0)]
        chain, _ = read_ledger(watched.ledger)
        (reserved,) = chain.reservations.values()
        assert reserved.body.mechanisms == plan_mechanisms(PRIVATE)
        (body,) = chain.bodies.values()
        mechanism = body.mechanism
        (planned,) = (m for m in plan_mechanisms(PRIVATE) if m.name == self.name)
        assert mechanism == replace(planned, steps=mechanism.steps)
        assert mechanism.noise_multiplier == getattr(PRIVATE, self.noise)
        assert (mechanism.grid, mechanism.steps) == (GRID, 1)
        committed = [digest for digests in chain.commits.values() for digest in digests]
        assert committed == [digest_arrays(released)]

    @pytest.mark.parametrize(
        ("refused", "message"),
        [
            ({"rules": PlanRules(min_noise_multiplier=7.0)}, "must be at least 7"),
            ({"limits": LifetimeLimits(epsilon=0.1, delta=1e-5)}, "lifetime limit of 0.1"),
            ({"plan": {"private": False}}, "nothing without noise"),
            ({"plan": {"noise_shops": 5}}, "without secure aggregation"),
            ({"plan": {"base_hash": "other"}, "rules": PlanRules(base_hash="none")}, "base_hash"),
        ],
    )
    def test_nothing_is_computed_or_spent_where_it_is_refused(
        self, tmp_path: Path, refused: dict[str, Any], message: str
    ) -> None:
        options = {name: value for name, value in refused.items() if name != "plan"}
        shop, watched = self.accounted(tmp_path, **options)
        with pytest.raises(PrivacyError, match=message):
            self.release(shop, PRIVATE.model_copy(update=refused.get("plan", {})))
        self.assert_nothing_spent(watched)

    def test_a_plan_without_its_noise_is_refused(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path)
        with pytest.raises(PrivacyError, match=f"must be at least .* in {self.name}"):
            self.release(shop, PRIVATE.model_copy(update={self.noise: 0.0}))
        self.assert_nothing_spent(watched)

    def test_a_plan_that_does_not_name_it_is_refused(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path)
        with pytest.raises(PrivacyError, match=self.refusal):
            self.release(shop, PRIVATE.model_copy(update=self.absent))
        self.assert_nothing_spent(watched)

    def test_the_same_request_is_answered_with_the_same_bytes_and_costs_nothing(
        self, tmp_path: Path
    ) -> None:
        shop, watched = self.accounted(tmp_path, releases=tmp_path)
        first = self.release(shop, PRIVATE)
        lines = watched.ledger.read_bytes()
        restarted, again = self.accounted(tmp_path, releases=tmp_path)
        second = self.release(restarted, PRIVATE)
        assert {name: (a.tobytes(), a.dtype, a.shape) for name, a in second.items()} == {
            name: (a.tobytes(), a.dtype, a.shape) for name, a in first.items()
        }
        assert (len(watched.seen), again.seen) == (1, [])
        assert watched.ledger.read_bytes() == lines

    def test_without_a_copy_it_is_spent_once(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path)
        self.release(shop, PRIVATE)
        with pytest.raises(PrivacyError, match="spent already"):
            self.release(shop, PRIVATE)
        assert len(watched.seen) == 1

    def test_a_release_that_failed_stays_spent(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path, fails=True)
        with pytest.raises(ValueError, match="out of memory"):
            self.release(shop, PRIVATE)
        watched.fails = False
        with pytest.raises(PrivacyError, match="spent already"):
            self.release(shop, PRIVATE)
        assert len(watched.seen) == 1

    def answer(self, shop: AccountedNode, the_plan: Plan) -> RecordDict:
        class Source:
            def open(self, _: object) -> AccountedNode:
                return shop

        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
        content = self.inputs()
        content[messages.PLAN] = ConfigRecord({**the_plan.to_record(), messages.ROUND: 1})
        context = Context(1, 7, {"partition-id": 0}, RecordDict(), {})
        return make_client_app(Source())(Message(content, 7, self.kind), context).content

    def test_a_reply_holds_the_release_and_the_name_of_the_shop(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path)
        reply = self.answer(shop, PRIVATE)
        assert set(reply) == {self.reply, messages.STATUS}
        assert dict(reply.config_records[messages.STATUS]) == {"shop": "a"}
        arrays = messages.from_record(reply.array_records[self.reply])
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}
        chain, _ = read_ledger(watched.ledger)
        committed = [digest for digests in chain.commits.values() for digest in digests]
        assert committed == [digest_arrays(arrays)]

    def test_a_refusal_holds_a_code_and_no_number(self, tmp_path: Path) -> None:
        shop, watched = self.accounted(tmp_path)
        reply = self.answer(shop, PRIVATE.model_copy(update=self.absent))
        assert set(reply) == {messages.STATUS}
        assert reply.config_records[messages.STATUS]["code"] == "privacy"
        self.assert_nothing_spent(watched)


class TestItemCounts(ReleaseSuite):
    name = "item-counts"
    noise = "counts_noise_multiplier"
    absent: ClassVar = {"counts_release": False, "pairs_release": False}
    refusal = "counts_release=False must be True"
    kind = f"query.{messages.COUNTS_QUERY}"
    reply = messages.COUNTS

    def release(self, shop: Node, the_plan: Plan) -> Release:
        return {messages.COUNTS: shop.item_counts(plan=the_plan)}


class TestPairSums(ReleaseSuite):
    name = "pair-sums"
    noise = "pairs_noise_multiplier"
    absent: ClassVar = {"pairs_release": False}
    refusal = "pairs_release=False must be True"
    kind = f"query.{messages.PAIRS_QUERY}"
    reply = messages.PAIRS

    def release(self, shop: Node, the_plan: Plan) -> Release:
        return {messages.PAIRS: shop.pair_sums(plan=the_plan, head=HEAD)}

    def inputs(self) -> RecordDict:
        return RecordDict({messages.HEAD: messages.codes_record(HEAD, name=messages.HEAD)})


class TestAdapterTraining(ReleaseSuite):
    name = "dp-sgd"
    noise = "noise_multiplier"
    absent: ClassVar = {"rounds": 0}
    refusal = "round=1 must be between 1 and rounds=0"
    kind = "train"
    reply = messages.UPDATE

    def release(self, shop: Node, the_plan: Plan) -> Release:
        return shop.train(adapter=adapter(), plan=the_plan, round=1, candidates=CANDIDATES)

    def inputs(self) -> RecordDict:
        codes = messages.codes_record(CANDIDATES)
        content = {messages.ADAPTER: messages.to_record(adapter()), messages.CANDIDATES: codes}
        return RecordDict(content)

    def clean_sum(self, users: Baskets) -> Integers:
        """Of one step over gradients that each user's items alone decide, of any size.

        The gradients of a whole shop do not do here: all users draw examples from one generator, so
        that one user more changes the draws of the others, though not their distribution.
        """
        gradients = [
            np.random.default_rng(items).standard_normal(12) * 10.0 ** (items[0] - 20)
            for items in users
        ]
        rows = np.array(gradients, np.float32).reshape(len(users), 2, 6)
        matrices = [torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(2)]
        for place, matrix in enumerate(matrices):
            part = torch.from_numpy(rows[:, :, 3 * place : 3 * place + 3].copy())
            matrix.grad_sample = part  # type: ignore[attr-defined]
        optimizer = PrivateOptimizer(
            torch.optim.SGD(matrices, lr=1.0),
            noise_variance=0,
            max_grad_norm=0.01,
            divisor=10.0,
            random=RandomSource.from_seed(0),
        )
        optimizer.step()
        return np.concatenate([sums.numpy().ravel() for sums in optimizer.released])


def test_every_mechanism_has_a_class_here() -> None:
    assert {suite.name for suite in ReleaseSuite.__subclasses__()} == set(get_args(MechanismName))
