"""How large a reply would become, and whether it still comes, is known before it is built."""

from __future__ import annotations

import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import Metadata, PullObjectRequest, PullObjectResponse
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from server.checks import RefusalCode
from server.deploy.bounded_grid import STALLED, Arriving, BoundedGrid, built_bytes
from shared.messages import STATUS


def contents(record: ArrayRecord) -> dict[str, bytes]:
    objects = get_all_nested_objects(RecordDict({"update": record}))
    return {name: found.deflate() for name, found in objects.items()}


def test_an_honest_array_needs_its_bytes_and_a_header() -> None:
    array = np.random.default_rng(1).normal(size=(3000, 1000)).astype(np.float32)
    needed = sum(built_bytes(contents(ArrayRecord({"B": Array(array)}))))
    assert array.nbytes < needed < array.nbytes + 4096


def test_a_part_that_is_named_many_times_counts_each_time() -> None:
    part = ArrayChunk(memoryview(bytes(10_000)))
    record = ArrayRecord({"B": Array("float32", (25_000_000,), "numpy.ndarray", b"")})
    record["B"].__dict__["_chunks"] = [(part.object_id, part)] * 10_000
    sent = contents(record)
    assert sum(map(len, sent.values())) < 60_000
    assert sum(built_bytes(sent)) > 100_000_000


class Stopped:
    """A connection over which no part of a reply comes any more."""

    def PullObject(self, _: PullObjectRequest) -> PullObjectResponse:  # noqa: N802  (Flower's)
        return PullObjectResponse(object_found=True, object_available=False)


@pytest.mark.parametrize(
    ("silent", "online", "given_up"),
    [(STALLED - 2, True, False), (STALLED + 1, True, True), (0.0, False, True)],
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
    grid._arriving = {"asked": Arriving(proto, ["part"], moved=moved)}
    found = [message.content[STATUS] for message in grid._whole()]
    assert [status["code"] for status in found] == [RefusalCode.NODE_ERROR] * given_up
    assert len(grid._arriving) == (not given_up)
