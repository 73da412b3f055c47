"""What comes of replies: how large one would become, whether it still comes, and for whom."""

from __future__ import annotations

import time
from threading import Event
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.serde import message_to_proto, metadata_from_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import Metadata, PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.proto.runtime_pb2 import (
    GetNodesResponse,
    PullAppMessagesResponse,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from server.federation.exchange import Traffic, exchange
from shared.flower.reply_codes import RefusalCode
from shared.flower.server.grid import STALLED_SECONDS, BoundedGrid, PartialReply, decoded_sizes
from shared.protocol.messages import STATUS

SHOP = 7
"""Node of the only shop."""


def contents(record: ArrayRecord) -> dict[str, bytes]:
    objects = get_all_nested_objects(RecordDict({"update": record}))
    return {name: found.deflate() for name, found in objects.items()}


def test_an_honest_array_needs_its_bytes_and_a_header() -> None:
    array = np.random.default_rng(1).normal(size=(3000, 1000)).astype(np.float32)
    needed = sum(decoded_sizes(contents(ArrayRecord({"B": Array(array)}))))
    assert array.nbytes < needed < array.nbytes + 4096


def test_a_part_that_is_named_many_times_counts_each_time() -> None:
    part = ArrayChunk(memoryview(bytes(10_000)))
    record = ArrayRecord({"B": Array("float32", (25_000_000,), "numpy.ndarray", b"")})
    record["B"].__dict__["_chunks"] = [(part.object_id, part)] * 10_000
    sent = contents(record)
    assert sum(map(len, sent.values())) < 60_000
    assert sum(decoded_sizes(sent)) > 100_000_000


class Stopped:
    """A connection over which no part of a reply comes any more."""

    def PullObject(self, _: PullObjectRequest) -> PullObjectResponse:  # noqa: N802  (Flower's)
        return PullObjectResponse(object_found=True, object_available=False)


@pytest.mark.parametrize(
    ("silent", "online", "given_up"),
    [(STALLED_SECONDS - 2, True, False), (STALLED_SECONDS + 1, True, True), (0.0, False, True)],
)
def test_a_reply_is_given_up_once_no_part_came_for_a_minute_or_its_node_is_gone(
    monkeypatch: pytest.MonkeyPatch, silent: float, online: bool, given_up: bool
) -> None:
    monkeypatch.setattr(BoundedGrid, "_runtime_client", Stopped())
    monkeypatch.setattr(BoundedGrid, "get_node_ids", lambda _: [7] if online else [])
    grid = BoundedGrid("127.0.0.1:1", insecure=True, token="any")
    metadata = Metadata(run_id=1, src_node_id=7, reply_to_message_id="asked", message_type="train")
    proto = ProtoMessage(metadata=metadata, content=ProtoRecordDict())
    moved = time.monotonic() - silent
    grid._arriving = {"asked": PartialReply(proto, ["part"], last_part=moved)}
    found = [message.content[STATUS] for message in grid._complete_replies()]
    assert [status["code"] for status in found] == [RefusalCode.NODE_ERROR] * given_up
    assert len(grid._arriving) == (not given_up)


class SuperLink:
    """The runtime interface before one shop; of the replies to rounds in `held` no part comes."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.replies: dict[str, Message] = {}

    def PushMessages(self, request: Any) -> Any:  # noqa: N802
        for proto in request.messages_list:
            said = metadata_from_proto(proto.metadata)
            said.__dict__["_reply_to_message_id"] = said.message_id
            said.__dict__.update(_src_node_id=SHOP, _dst_node_id=1)
            value = np.full(3, float(said.group_id), np.float32)
            content = RecordDict({"update": ArrayRecord({"a": Array(value)})})
            reply = make_message(metadata=said, content=content)
            said.__dict__["_message_id"] = reply.object_id
            self.replies[said.reply_to_message_id] = reply
        return PushAppMessagesResponse(message_ids=list(self.replies)[-1:])

    def PullMessages(self, request: Any) -> Any:  # noqa: N802
        found = [self.replies[number] for number in request.message_ids]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(m)) for m in found],
            message_object_trees=[get_object_tree(m) for m in found],
        )

    def PullObject(self, request: Any) -> Any:  # noqa: N802
        for reply in self.replies.values():
            parts = get_all_nested_objects(reply)
            if request.object_id in parts:
                there = reply.metadata.group_id not in self.held
                content = parts[request.object_id].deflate() if there else b""
                return PullObjectResponse(
                    object_found=True, object_available=there, object_content=content
                )
        raise AssertionError(request.object_id)

    def PushObject(self, request: Any) -> Any:  # noqa: N802
        raise AssertionError(request.object_id)  # none was asked for

    def ConfirmMessageReceived(self, request: Any) -> None:  # noqa: N802
        """Keeps nothing."""

    def GetNodes(self, request: Any) -> Any:  # noqa: ARG002, N802
        return GetNodesResponse(nodes=[NodeInfo(node_id=SHOP)])


def test_a_half_reply_of_one_exchange_does_not_come_out_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    link, grid = SuperLink(), BoundedGrid("127.0.0.1:1", insecure=True, token="t")
    grid._client = link  # type: ignore[assignment]
    grid.set_run(Run.create_empty(1))

    def request(number: int) -> Message:
        return Message(RecordDict({}), SHOP, "train", group_id=str(number))

    link.held = {"1"}
    late = exchange(grid, [request(1)], timeout=0.2, stop=Event(), traffic=Traffic())
    assert [reply.has_content() for reply in late] == [False]
    link.held = set()  # the rest of the first reply arrives
    (number,) = grid.push_messages([request(2)])
    (reply,) = grid.pull_messages([number])
    assert reply.metadata.reply_to_message_id == number
    assert reply.content.array_records["update"]["a"].numpy().tolist() == [2.0, 2.0, 2.0]
    assert list(grid.pull_messages([])) == []
