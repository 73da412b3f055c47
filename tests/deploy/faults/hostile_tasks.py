"""What a hostile or slow node does to its replies; runs in the process of a request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.app.message.arraychunk import ArrayChunk

from client.deploy import request_process as task_process
from client.deploy.folder import NodeFolder
from client.federation.node_interface import read_plan
from client.federation.shop_node import ShopNode
from shared.protocol import messages


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Message, Path], None]:
    def act(reply: Message, _: Path) -> None:
        record = reply.content.array_records[messages.UPDATE]
        changed = {name: Array(change(array.numpy())) for name, array in record.items()}
        reply.content[messages.UPDATE] = ArrayRecord(changed)

    return act


def _keys(reply: Message, _: Path) -> None:
    record = reply.content.array_records[messages.UPDATE]
    reply.content[messages.UPDATE] = ArrayRecord({f"x{n}": a for n, a in record.items()})


def _zeros(reply: Message, _: Path) -> None:
    zeros = Array(np.zeros(12_500_000, np.int64))
    record = reply.content.array_records[messages.UPDATE]
    reply.content[messages.UPDATE] = ArrayRecord(dict.fromkeys(record, zeros))


def _gigabyte(reply: Message, _: Path) -> None:
    """What flwr makes of 1 GB of zeros: one part, named over and over."""
    part = ArrayChunk(memoryview(bytes(5_000_000)))
    record = reply.content.array_records[messages.UPDATE]
    empty = Array("int64", (125_000_000,), "numpy.ndarray", b"")
    reply.content[messages.UPDATE] = huge = ArrayRecord(dict.fromkeys(record, empty))
    for array in huge.values():
        array.__dict__["_chunks"] = [(part.object_id, part)] * 200


def _replay(reply: Message, folder: Path) -> None:
    kept = folder / "replayed.npz"
    record = reply.content.array_records[messages.UPDATE]
    if not kept.exists():
        np.savez(kept, **{name: array.numpy() for name, array in record.items()})
        return
    with np.load(kept) as file:
        arrays = {name: Array(file[name]) for name in record}
    reply.content[messages.UPDATE] = ArrayRecord(arrays)


def _other_name(reply: Message, _: Path) -> None:
    reply.content[messages.STATUS] = ConfigRecord({"shop": "shop0"})


def _wait(_: Message, folder: Path) -> None:
    (folder / "waiting").touch()
    while not (folder / "go").exists():
        time.sleep(0.1)


SCALES: list[float] = []
"""What a step of the grid is worth in the update that is asked for."""
ACTS: dict[str, Callable[[Message, Path], None]] = {
    "nan": _each(lambda a: np.full(a.shape, np.nan)),
    "least": _each(lambda a: np.full_like(a, -(2**63))),
    "shape": _each(lambda a: a.T.copy() if a.shape[0] != a.shape[1] else a[1:]),
    "dtype": _each(lambda a: a.astype(np.float64)),
    "norm": _each(lambda a: np.full_like(a, 1e6 / np.sqrt(a.size) / abs(SCALES[-1]))),
    "keys": _keys,
    "zeros": _zeros,
    "gigabyte": _gigabyte,
    "replay": _replay,
    "name": _other_name,
    "hold-reply": _wait,
}


def answer(address: str, token: str, folder: Path, parent: int, passphrase: bytes | None) -> None:
    """Answers as `task_process.answer` does, and then changes the reply."""
    plan = json.loads((folder / "hostile.json").read_text())
    honest = task_process.make_deployed_app

    def make(node: NodeFolder, **options: object):  # type: ignore[no-untyped-def]
        app = honest(node, **options)  # type: ignore[arg-type]

        def run(message: Message, context: Context) -> Message:
            act = plan.get(str(message.metadata.group_id), "")
            if act == "hold-training":
                _hold_training(folder)
            reply = app(message, context)
            record = message.content.config_records.get(messages.PLAN)
            if record is not None:
                asked, _ = read_plan(record, round_key=messages.ROUND)
                SCALES.append(asked.update_scale)
            if act in ACTS and messages.STATUS in reply.content:
                ACTS[act](reply, folder)
            if act == "raise":
                raise ValueError("alice bought insulin")
            return reply

        return run

    task_process.make_deployed_app = make
    honest_answer(address, token, folder, parent, passphrase)


def _hold_training(folder: Path) -> None:
    train = ShopNode.train

    def held(self: ShopNode, **request: object):  # type: ignore[no-untyped-def]
        _wait(None, folder)  # type: ignore[arg-type]
        return train(self, **request)  # type: ignore[arg-type]

    ShopNode.train = held  # type: ignore[method-assign]


honest_answer = task_process.answer_request
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
