import logging
from dataclasses import dataclass

import cloudpickle
import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.app import app as deployed_app
from client.federation.client_app import make_client_app
from client.federation.node_interface import NodeConfig
from shared.errors import ConfigError, DataError, ModelError, PrivacyError
from shared.privacy.noise import Integers
from shared.protocol import messages
from shared.protocol.messages import Arrays, CodesArray, Plan, Release

PLAN = Plan(
    rounds=3,
    local_steps=1,
    sample_rate=1.0,
    divisor=10.0,
    max_grad_norm=1.0,
    noise_multiplier=1.0,
    learning_rate=0.5,
    counts_noise_multiplier=1.0,
    counts_release=True,
    pairs_noise_multiplier=1.0,
    pairs_release=True,
    head_items=4,
    noise_shops=1,
    private=True,
    aggregation="frozen-a",
    examples_per_user=1,
    max_context=1,
    max_targets=1,
    candidates=1,
    physical_batch=1,
    scale=1.0,
    half_life=1.0,
    base_hash="0" * 64,
    seed=1,
)
B = f"p.{messages.LORA_B}"
SECRET = "alice bought insulin"


@dataclass
class DoublingNode:
    """Moves B to round x learning rate x B."""

    shop_id: str
    error: Exception | None = None
    n_items: int = 4

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray | None = None,  # noqa: ARG002
    ) -> Release:
        if self.error is not None:
            raise self.error
        return {B: np.rint(round * plan.learning_rate * adapter[B]).astype(np.int64)}

    def item_counts(self, *, plan: Plan) -> Integers:
        return np.full(4, round(plan.counts_noise_multiplier), np.int64)

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:  # noqa: ARG002
        return head


@dataclass(frozen=True)
class Source:
    error: Exception | None = None
    closed: bool = False

    def open(self, node_config: NodeConfig) -> DoublingNode:
        if self.closed:
            raise DataError(SECRET)
        return DoublingNode(f"shop-{node_config['partition-id']}", self.error)


def request(kind: str = "train", **changes: object) -> Message:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    plan = ConfigRecord({**PLAN.to_record(), messages.ROUND: 2, **changes})
    adapter = messages.to_record({B: np.array([[1.0, 3.0]], np.float32)})
    codes = messages.codes_record(np.arange(3))
    content = {messages.PLAN: plan, messages.ADAPTER: adapter, messages.CANDIDATES: codes}
    return Message(RecordDict(content), 7, kind)


def context(**config: object) -> Context:
    return Context(1, 7, config or {"partition-id": 3}, RecordDict(), {})


def test_train_gives_the_update_and_the_shop() -> None:
    reply = make_client_app(Source())(request(), context())
    update = messages.from_record(reply.content.array_records[messages.UPDATE])
    np.testing.assert_array_equal(update[B], [[1.0, 3.0]])
    assert dict(reply.content.config_records[messages.STATUS]) == {"shop": "shop-3"}
    assert set(reply.content) == {messages.UPDATE, messages.STATUS}


def test_counts_query() -> None:
    reply = make_client_app(Source())(request(f"query.{messages.COUNTS_QUERY}"), context())
    arrays = messages.from_record(reply.content.array_records[messages.COUNTS])
    np.testing.assert_array_equal(arrays[messages.COUNTS], np.ones(4, np.int64))


def test_pairs_query_hands_the_head_to_the_shop() -> None:
    message = request(f"query.{messages.PAIRS_QUERY}")
    head = messages.codes_record(np.array([1, 3]), name=messages.HEAD)
    message.content[messages.HEAD] = head
    reply = make_client_app(Source())(message, context())
    arrays = messages.from_record(reply.content.array_records[messages.PAIRS])
    np.testing.assert_array_equal(arrays[messages.PAIRS], [1, 3])
    assert set(reply.content) == {messages.PAIRS, messages.STATUS}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PrivacyError(SECRET), "privacy"),
        (DataError(SECRET), "data"),
        (ModelError(SECRET), "model"),
        (ConfigError(SECRET), "config"),
        (ValueError(SECRET), "internal"),
        (KeyError(SECRET), "internal"),
    ],
)
def test_an_exception_leaves_as_a_code_and_its_text_stays(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = make_client_app(Source(error=error))(request(), context())
    assert not reply.has_error()
    status = reply.content.config_records[messages.STATUS]
    assert (status["shop"], status["code"]) == ("shop-3", code)
    assert set(reply.content) == {messages.STATUS}
    assert b"insulin" not in cloudpickle.dumps(reply)
    assert SECRET in caplog.text


def test_a_shop_that_cannot_be_opened_is_still_named() -> None:
    reply = make_client_app(Source(closed=True))(request(), context())
    status = reply.content.config_records[messages.STATUS]
    assert (status["shop"], status["code"]) == ("partition-3", "data")
    assert b"insulin" not in cloudpickle.dumps(reply)


@pytest.mark.parametrize("changes", [{"noise_multiplier": -1.0}, {"unknown_key": 1}])
def test_a_plan_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    reply = make_client_app(Source())(request(**changes), context())
    assert reply.content.config_records[messages.STATUS]["code"] == "plan"


def test_a_request_without_records_is_answered() -> None:
    message = request()
    message.content = RecordDict()
    reply = make_client_app(Source())(message, context())
    assert reply.content.config_records[messages.STATUS]["code"] == "internal"


def test_interrupts_pass() -> None:
    class Interrupted:
        def open(self, node_config: NodeConfig) -> DoublingNode:  # noqa: ARG002
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_client_app(Interrupted())(request(), context())


def test_the_deployed_app_refuses_until_a_shop_is_set_up() -> None:
    reply = deployed_app(request(), context(shop="corner"))
    status = reply.content.config_records[messages.STATUS]
    assert (status["shop"], status["code"]) == ("corner", "config")
