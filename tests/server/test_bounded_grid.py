"""How large a reply would become is known before it is built."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from server.deploy.bounded_grid import built_bytes


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
