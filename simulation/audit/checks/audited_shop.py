"""A shop whose users the audit invents, asked by real messages, and its replies as bytes.

Requests go through the ClientApp that answers in production, replies are serialised as a node sends
them and parsed again: the audit looks at nothing that does not leave. With the same key of the
noise, two replies differ by what the users of the two shops contribute, in whole numbers, exactly.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from client.federation.client_app import make_client_app
from client.federation.node_interface import NodeConfig, NodeSource, PlanRules
from client.federation.outgoing_releases import AccountedSource
from client.federation.shop_node import RandomFactory, ShopNode
from shared.errors import ModelError
from shared.flower.sent_objects import SentObjects, received_message, sent_objects
from shared.flower.simulation.in_process import FIRST_NODE_ID, InProcessGrid, quiet_engine
from shared.interactions.events import Events
from shared.model.adapter import adapter_arrays, attach
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import Whitening
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.noise import Integers, RandomSource
from shared.protocol import messages
from shared.protocol.messages import Arrays, FloatArray, Plan
from shared.releases.pair_sums import n_pairs
from shared.settings.run_settings import ModelSettings
from simulation.audit.checks.subject import Subject

DIM, RANK, ITEMS = 128, 32, 4096
"""Width, rank and items are such that counts, pairs and updates are of about one length: noise of
one key then shows at one shift, whichever two releases share it."""
HEAD = 91
"""Items whose 4,095 pairs are asked for, where the plan allows as many."""
CANDIDATES = 256
SETTINGS = ModelSettings(dim=DIM, rank=RANK, alpha=32.0)
POISONS = (math.nan, math.inf, -math.inf, 1e38)
"""Vectors of the last items, which give a gradient without a finite norm."""
POISONED = range(ITEMS - len(POISONS), ITEMS)
LARGEST_LIMIT = 50.0
"""Lifetime limit of the audited ledger, the highest that there is."""

COUNTS, PAIRS = "counts", "pairs"
Question = str | int
"""`COUNTS`, `PAIRS`, or the number of a round of training."""


@dataclass(frozen=True)
class AuditUser:
    """One invented user.

    Attributes:
        items: Item codes in order of time.
        visit: Events of one visit; 0 where the data name none.
    """

    items: Sequence[int] = ()
    visit: int = 0


@dataclass(frozen=True, eq=False)
class SentReply:
    """A reply as it left.

    Attributes:
        question: What was asked.
        objects: Its bytes.
        message: Parsed from them.
    """

    question: Question
    objects: SentObjects
    message: Message

    @property
    def record(self) -> str:
        """Name of the record that holds the release."""
        return record_of(self.question)

    @property
    def numbers(self) -> Integers:
        """All numbers of the release, in order of their names.

        Raises:
            ModelError: The reply holds no release.
        """
        if not self.message.has_content() or self.record not in self.message.content.array_records:
            raise ModelError(
                "holds no release", name="reply", value=self.question, remedy="see the check reply"
            )
        arrays = messages.from_record(self.message.content.array_records[self.record])
        return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def record_of(question: Question) -> str:
    """Returns the name of the record that answers a question."""
    return messages.UPDATE if isinstance(question, int) else question


def in_words(question: Question) -> str:
    """Names what a question asks for."""
    if isinstance(question, int):
        return f"the update of round {question}"
    return {COUNTS: "the item counts", PAIRS: "the pair sums"}[question]


@dataclass(frozen=True, eq=False)
class AuditedShop:
    """A shop, and how it is asked.

    Attributes:
        plan: What is sent with each request.
        users: Its users.
        randomness: Makes its noise.
        shop_id: Its name.
        n_items: Items of the catalogue; other numbers than `ITEMS` for statistics alone.
        head: Items of the head.
        device: Where it trains.
        accounted: Whether its ledger stands before it, as in production; not where the plan is
            changed, whose epsilon may pass every limit.
    """

    plan: Plan
    users: Sequence[AuditUser]
    randomness: RandomFactory
    shop_id: str = "audit"
    n_items: int = ITEMS
    head: int = HEAD
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable
    accounted: bool = False

    def ask(self, questions: Sequence[Question]) -> list[SentReply]:
        """Asks by messages, one after the other, and returns the replies as they left."""
        with self.source() as source:
            return [
                SentReply(question, *exchange(source, partial(self.request, question)))
                for question in questions
            ]

    def releases(self, questions: Sequence[Question]) -> dict[Question, Integers]:
        """Asks and returns the numbers that left."""
        return {reply.question: reply.numbers for reply in self.ask(questions)}

    def request(self, question: Question) -> Message:
        """Builds the message that a server would send."""
        kind = "train" if isinstance(question, int) else f"query.{question}"
        return Message(self.content(question), FIRST_NODE_ID, kind)

    def content(self, question: Question) -> RecordDict:
        """Returns what a request holds."""
        number = question if isinstance(question, int) else 0
        content = RecordDict(
            {messages.PLAN: ConfigRecord({**self.plan.to_record(), messages.ROUND: number})}
        )
        if number:
            content[messages.ADAPTER] = messages.to_record(audit_adapter())
            content[messages.CANDIDATES] = messages.codes_record(np.arange(CANDIDATES))
        elif question == PAIRS:
            head = np.arange(self.head)
            content[messages.HEAD] = messages.codes_record(head, name=messages.HEAD)
        return content

    @property
    def node(self) -> ShopNode:
        """The class that computes in production, on the invented users."""
        return ShopNode(
            shop_id=self.shop_id,
            events=_events(self.users),
            n_users=len(self.users),
            item_vectors=_item_vectors(self.n_items),
            base=_base,
            settings=SETTINGS,
            randomness=self.randomness,
            device=self.device,
        )

    @contextmanager
    def source(self) -> Iterator[NodeSource]:
        """Opens the shop, with a new ledger before it where it is accounted."""
        if not self.accounted:
            yield OneShop(self.node)
            return
        with tempfile.TemporaryDirectory(prefix="fedprofile-audit-") as folder:
            yield self.accounted_source(Path(folder))

    def accounted_source(self, folder: Path) -> AccountedSource:
        """Returns the shop with a ledger before it, in a folder."""
        return AccountedSource(
            OneShop(self.node),
            folder,
            LifetimeLimits(epsilon=LARGEST_LIMIT, delta=1e-6),
            rules=PlanRules(min_noise_multiplier=0.0, allow_shared=True),
            planning="planned",
        )


@dataclass(frozen=True)
class OneShop:
    """Opens a shop that is there already."""

    node: ShopNode

    def open(self, node_config: NodeConfig) -> ShopNode:  # noqa: ARG002  # there is one
        """Returns the shop."""
        return self.node


def exchange(source: NodeSource, request: Callable[[], Message]) -> tuple[SentObjects, Message]:
    """Sends one request to the ClientApp of a source.

    Args:
        source: Opens the shop.
        request: Makes the message; Flower lets none be made outside a run.

    Returns:
        The reply as it left, and as it is read.
    """
    sums = source if isinstance(source, AccountedSource) else None
    app = make_client_app(source, sums=sums)
    with quiet_engine(), InProcessGrid(app, num_shops=1) as grid:
        (reply,) = grid.send_and_receive([request()])
    objects = sent_objects(reply)
    return objects, received_message(objects)


def questions_of(plan: Plan, *, rounds: int) -> list[Question]:
    """Returns what a plan releases: statistics, and so many rounds from the first to the last."""
    statistics = [COUNTS] * plan.counts_release + [PAIRS] * plan.pairs_release
    places = np.linspace(1, plan.rounds, min(rounds, plan.rounds)).round()
    return [*statistics, *(int(number) for number in places)]


def audited_head(subject: Subject) -> int:
    """Items of the head that the audit asks for."""
    return min(HEAD, subject.plan.head_items)


def lengths(plan: Plan, head: int) -> dict[str, int]:
    """Returns how many numbers each record of a reply has to hold."""
    trained = messages.trainable_names(audit_adapter(), aggregation=plan.aggregation)
    update = sum(audit_adapter()[name].size for name in trained)
    return {messages.UPDATE: update, COUNTS: ITEMS, PAIRS: n_pairs(head)}


def seeded_once() -> RandomFactory:
    """Returns noise of a new secret seed, the same for the same release of the same shop."""
    secret = int.from_bytes(os.urandom(8))
    return lambda *context: RandomSource.from_seed(secret, *context)


@lru_cache(maxsize=1)
def audit_adapter() -> Arrays:
    """Returns an adapter in the middle of training, so that both of its matrices have gradients."""
    arrays = adapter_arrays(attach(_base(), SETTINGS, seed=0))
    rng = np.random.default_rng(0)
    return {
        name: 0.1 * rng.standard_normal(a.shape).astype(np.float32)
        if name.endswith(messages.LORA_B)
        else a
        for name, a in arrays.items()
    }


def _base() -> ProfileModel:
    whitening = Whitening(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    return ProfileModel(whitening, text_space="audit")


@lru_cache(maxsize=2)
def _item_vectors(n_items: int) -> FloatArray:
    """Random unit vectors and, last, poisoned ones; of other catalogues nothing but the length."""
    if n_items != ITEMS:
        return np.zeros((n_items, 1), np.float32)
    vectors = np.random.default_rng(0).standard_normal((ITEMS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[list(POISONED)] = np.array(POISONS, np.float32)[:, None]
    return vectors


def _events(users: Sequence[AuditUser]) -> Events:
    """Builds the shop's events, one a unit of time."""
    place = [i for user in users for i in range(len(user.items))]
    visit = [user.visit for user in users for _ in user.items]
    return Events.build(
        user=[code for code, user in enumerate(users) for _ in user.items],
        item=[item for user in users for item in user.items],
        time=place,
        session=[i // size if size else -1 for i, size in zip(place, visit, strict=True)],
    )
