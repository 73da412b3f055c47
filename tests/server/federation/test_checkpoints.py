import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.aggregation.averaging import OptimizerState
from server.federation.federated_run import Refusal, RoundInfo
from server.federation.server_state import Checkpoints, ServerState
from shared.errors import RunError, RunExistsError


def state(number: int) -> ServerState:
    rng = np.random.default_rng(number)

    def matrix() -> np.ndarray:
        return rng.standard_normal((3, 2)).astype(np.float32)

    return ServerState(
        round=number,
        adapter={"m.lora_A.weight": matrix(), "m.lora_B.weight": matrix()},
        optimizer=OptimizerState(
            first={"m.lora_B.weight": matrix()},
            second={"m.lora_B.weight": matrix()},
            steps=number,
        ),
        iterates={"m.lora_B.weight": matrix()},
        averaged=2,
        counts=matrix()[:, 0].copy(),
        head=np.array([1, 2, 2**40]),
        pairs=matrix()[:, 1].copy(),
        rounds=(
            RoundInfo(0, 3, 2, 1, 0.25, 10, 20, 0.5, "pairs"),
            RoundInfo(1, 3, 2, 1, 0.125, 10, 20, 0.5),
        ),
        refusals=(Refusal(1, "shop-a", "keys", "same plan?"),),
    )


def same(one: ServerState, other: ServerState) -> bool:
    def plain(s: ServerState) -> str:
        groups = [s.adapter, s.optimizer.first, s.optimizer.second, s.iterates]
        numbers = [{k: (v.tolist(), str(v.dtype)) for k, v in sorted(g.items())} for g in groups]
        sums = [None if a is None else (a.tolist(), str(a.dtype)) for a in
                (s.counts, s.head, s.pairs)]  # fmt: skip
        rest = [s.round, s.optimizer.steps, s.averaged, sums]
        return json.dumps([numbers, rest, repr(s.rounds), repr(s.refusals)])

    return plain(one) == plain(other)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new", digest="d")
    assert checkpoints.load(resume=True) is None
    for number in (1, 2):
        checkpoints.save(state(number))
    found = checkpoints.load(resume=True)
    assert found is not None
    assert same(found, state(2))
    assert not same(found, state(1))


def test_empty_buffers_and_no_counts_come_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    bare = ServerState(0, state(0).adapter)
    checkpoints.save(bare)
    found = checkpoints.load(resume=True)
    assert found is not None
    assert same(found, bare)


@pytest.mark.parametrize("harm", ["cut", "zeros", "empty", "flip"])
def test_a_torn_file_is_skipped_with_a_warning(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    for number in (1, 2):
        checkpoints.save(state(number))
    newest = tmp_path / "round-00002.safetensors"
    data = newest.read_bytes()
    newest.write_bytes(
        {
            "cut": data[:-7],
            "zeros": b"\0" * len(data),
            "empty": b"",
            "flip": data[:-1] + bytes([data[-1] ^ 1]),
        }[harm]
    )
    found = checkpoints.load(resume=True)
    assert found is not None
    assert same(found, state(1))
    assert "round-00002.safetensors is torn" in caplog.text


def test_nothing_whole_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "round-00001.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="none of 1 files is whole"):
        Checkpoints(tmp_path, digest="d").load(resume=True)


def test_another_run_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, digest="a" * 64).save(state(1))
    with pytest.raises(RunError, match="belongs to another run"):
        Checkpoints(tmp_path, digest="b" * 64).load(resume=True)


def test_a_used_folder_is_refused_without_resume(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    checkpoints.save(state(1))
    with pytest.raises(RunExistsError, match="--resume"):
        checkpoints.load(resume=False)
    assert (tmp_path / "round-00001.safetensors").exists()


def test_two_newest_files_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    for number in range(5):
        checkpoints.save(state(number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["round-00003.safetensors", "round-00004.safetensors"]


def test_a_full_disk_is_one_clear_line_and_keeps_the_earlier_file(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    checkpoints.save(state(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(RunError, match="free space") as caught:
            checkpoints.save(state(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["round-00001.safetensors"]
    found = checkpoints.load(resume=True)
    assert found is not None
    assert same(found, state(1))


def test_saving_does_not_alias(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, digest="d")
    checkpoints.save(state(1))
    found = checkpoints.load(resume=True)
    assert found is not None
    found.adapter["m.lora_B.weight"][:] = 0
    again = checkpoints.load(resume=True)
    assert again is not None
    assert same(again, state(1))
    assert not same(replace(found, round=1), state(1))
