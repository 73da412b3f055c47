"""One reply for each request of an exchange, and none of any other."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from server.federation.exchange import Traffic, exchange
from shared.flower.simulation.in_process import FIRST_NODE_ID, InProcessGrid


class Repeating(InProcessGrid):
    """Gives each reply out again with every later one, as a network may."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.given = [*getattr(self, "given", ()), *super().pull_messages(message_ids)]
        return list(self.given)


def echo(message: Message, context: Context) -> Message:  # noqa: ARG001
    return Message(message.content, reply_to=message)


def ask(grid: InProcessGrid, value: float, traffic: Traffic, done: list[int]) -> list[Message]:
    array = np.full(8, value, np.float32)
    content = RecordDict({"update": ArrayRecord({"a": Array(array)})})
    requests = [
        Message(content, FIRST_NODE_ID + shop, "train", group_id=f"{value:g}") for shop in (0, 1)
    ]

    def count(replies: int, _: int) -> None:
        done.append(replies)

    waits = {"timeout": 20.0, "stop": Event(), "traffic": traffic, "on_reply": count}
    return list(exchange(grid, requests, **waits))  # type: ignore[arg-type]


def test_replies_that_nobody_waits_for_are_left_out() -> None:
    app = ClientApp()
    app.train()(echo)
    done: list[int] = []
    with Repeating(app, num_shops=2) as grid:
        for value in (1.0, 2.0):
            traffic = Traffic()
            replies = ask(grid, value, traffic, done)
            assert [reply.metadata.src_node_id - FIRST_NODE_ID for reply in replies] == [0, 1]
            assert [reply.metadata.group_id for reply in replies] == [f"{value:g}"] * 2
            assert traffic.down == traffic.up > 0
    assert len(grid.given) == 4
    assert done == [1, 2, 1, 2]
