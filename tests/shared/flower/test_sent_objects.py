"""Messages as bytes and back."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from shared.flower.sent_objects import received_message, sent_objects


def test_a_message_is_the_same_after_its_bytes() -> None:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    numbers = np.arange(-3, 70_000)
    content = RecordDict(
        {"a": ArrayRecord({"x": Array(numbers)}), "b": ConfigRecord({"text": "alice"})}
    )
    objects = sent_objects(Message(content, 7, "train"))
    message = received_message(objects)
    np.testing.assert_array_equal(message.content["a"]["x"].numpy(), numbers)
    assert dict(message.content["b"]) == {"text": "alice"}
    assert message.metadata.message_type == "train"
    assert sum(b"alice" in part for part in objects.values()) == 1
    assert sum(map(len, objects.values())) > numbers.nbytes
