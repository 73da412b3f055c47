"""Whether and how a node answers does not depend on one user, whatever that user's rows hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.deploy.folder import NodeFolder
from client.deploy.request_process import node_app
from server.federation.public_plan import make_plan, mechanisms_of
from shared.protocol import messages
from shared.protocol.messages import Plan
from shared.settings.service_file import write_settings
from tests.deploy.installing import Pair
from tests.simulation.tiny_shops import N_ITEMS

HEADER = "user_id,item_id,position,quantity,session_id\n"
OTHERS = "".join(f"u{user},i{(user + n) % N_ITEMS},{n},1,\n" for user in range(6) for n in range(5))
ONE_USER = {
    "nobody": b"",
    "normal": b"x,i1,1,1,\nx,i2,2,1,\nx,i3,3,2,\n",
    "one row": b"x,i1,1,1,\n",
    "no known item": b"x,none,1,1,\nx,,2,1,\n",
    "no id": b",i1,1,1,\nNULL,i1,1,1,\n",
    "cells": b"x,i1\nx,i1,1,1,v,v,v\nx,i1,soon,1,\nx,i1,1,many,\n",
    "quotes": b'x,i1,1,1,"open\n"x,i1,1,1,v\nx"y,"i1,2,1,v\n',
    "no text": b"\xff\xfe,i1,1,1,\nx\x00,i1,1,1,\n\r\r\nx,\xc3,1,1,\n",
    "unicode": "\u202e\U0001f4a3\u0301,i1,1,1,\nx,\U0001d7d9,1,1,\n".encode(),
    "huge numbers": b"x,i1,1e308,1e308,\nx,i2,-1e308,-1,\nx,i3,nan,inf,\nx,i4,9e15,1000,\n",
    "giant": b"".join(b"x,i%d,%d,1,\n" % (n % N_ITEMS, n) for n in range(30_000)),
    "giant line": b"x" * (2 << 20) + b",i1,1,1,\n",
    "giant visit": b"".join(b"x,i%d,%d,1,v\n" % (n % N_ITEMS, n // 50) for n in range(9_000)),
    "copies": b"x,i1,1,1,v\n" * 5_000,
}


def plan_of(pair: Pair) -> Plan:
    """The public plan of the coordinator's next run."""
    offer = pair.node.invitation()
    run = pair.server.settings().of_run(1, offer.base.model)
    return make_plan(
        run, mechanisms_of(run), n_shops=3, n_trained=24, base_hash=offer.base.base_hash
    )


def requests(pair: Pair, plan: Plan) -> list[Message]:
    """What a run asks of a shop: counts, pairs and a round of training."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    head = messages.codes_record(np.arange(12), name=messages.HEAD)
    round_one = {
        messages.PLAN: ConfigRecord({**plan.to_record(), messages.ROUND: 1}),
        messages.ADAPTER: messages.to_record(pair.arrays),
        messages.CANDIDATES: messages.codes_record(np.arange(16)),
    }
    public = ConfigRecord(plan.to_record())
    return [
        Message(RecordDict({messages.PLAN: public}), 7, f"query.{messages.COUNTS_QUERY}"),
        Message(
            RecordDict({messages.PLAN: public, messages.HEAD: head}),
            7,
            f"query.{messages.PAIRS_QUERY}",
        ),
        Message(RecordDict(round_one), 7, "train"),
    ]


def outcomes(pair: Pair, folder: Path, content: bytes) -> list[object]:
    """All that the replies show but for the noisy numbers: records, status, shapes, ledger line."""
    shutil.copytree(pair.node.root, folder / "node")
    node = NodeFolder(folder / "node")
    (folder / "data").mkdir()
    (folder / "data" / "interactions.csv").write_bytes(content)
    settings = node.settings().model_copy(update={"data": str(folder / "data")})
    write_settings(node.config, settings)
    app, seen = node_app(node), []
    for request in requests(pair, plan_of(pair)):
        content_of = app(request, Context(1, 7, {}, RecordDict(), {})).content
        status = dict(content_of.config_records[messages.STATUS])
        shapes = [
            (name, key, array.dtype, tuple(array.shape))
            for name, record in sorted(content_of.array_records.items())
            for key, array in record.items()
        ]
        entry = content_of.config_records[messages.LEDGER]["entry"]
        seen.append((sorted(content_of), status, shapes, entry))
    return seen


@pytest.fixture
def answered(pair: Pair, tmp_path: Path) -> Callable[[str, bytes], list[object]]:
    def run(name: str, content: bytes) -> list[object]:
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        return outcomes(pair, folder, content)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("others", ["", OTHERS], ids=["alone", "with others"])
def test_every_request_ends_the_same_with_and_without_one_user(
    answered: Callable[[str, bytes], list[object]], others: str
) -> None:
    rest = (HEADER + others).encode()
    expected = answered("expected", rest)
    assert all("code" not in status for _, status, _, _ in expected)  # type: ignore[misc]
    for name, rows in ONE_USER.items():
        assert answered(name, rest + rows) == expected, name


@pytest.mark.slow
def test_the_user_beyond_the_stated_number_flips_no_answer(
    answered: Callable[[str, bytes], list[object]],
) -> None:
    rows = [f"u{n},i{n % N_ITEMS},1,1,\n" for n in range(1_001)]
    found = [answered(str(n), (HEADER + "".join(rows[:n])).encode()) for n in (999, 1_000, 1_001)]
    assert found[0] == found[1] == found[2]
    assert all("code" not in status for _, status, _, _ in found[0])  # type: ignore[misc]


def test_a_refusal_says_the_same_whatever_the_data(
    answered: Callable[[str, bytes], list[object]],
) -> None:
    header = HEADER.replace("item_id", "sku")
    expected = answered("expected", (header + OTHERS).encode())
    assert {status["code"] for _, status, _, _ in expected} == {"data"}  # type: ignore[misc]
    for name in ("normal", "quotes", "no text"):
        assert answered(name, (header + OTHERS).encode() + ONE_USER[name]) == expected
