"""`fedprofile simulate` again: the same adapter on another engine or after a stop."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.errors import FedprofileError, RunError
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.slow
def test_same_seed_same_result_and_another_seed_another(world: Path, tmp_path: Path) -> None:
    adapters = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        result = run(*options(world), "--seed", seed, "--out", str(tmp_path / name), "--quiet")
        assert result.exit_code == 0, result.output
        adapters.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1]
    assert adapters[0] != adapters[2]


@pytest.mark.slow
def test_both_engines_train_the_same_adapter(world: Path, tmp_path: Path) -> None:
    tensors = []
    for engine in ("in-process", "ray"):
        out = tmp_path / engine
        result = run(*options(world), "--engine", engine, "--out", str(out), "--quiet")
        assert result.exit_code == 0, result.output
        tensors.append(load_file(out / "adapter" / "adapter_model.safetensors"))
    for name, tensor in tensors[0].items():
        assert tensors[1][name] == pytest.approx(tensor, abs=1e-5)
        if "lora_B" in name:
            assert np.abs(tensor).max() > 1e-3


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_adapter(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.federation.shop_node import ShopNode

    whole = run(*options(world), "--out", str(tmp_path / "whole"), "--quiet")
    assert whole.exit_code == 0, whole.output
    train = ShopNode.train
    asked = []

    def interrupted(self: ShopNode, **request: object) -> object:
        asked.append(request["round"])
        if len(asked) == 5:
            raise KeyboardInterrupt
        return train(self, **request)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ShopNode, "train", interrupted)
        stopped = run(*options(world), "--out", str(tmp_path / "cut"), "--workers", "1", "--quiet")
    assert stopped.exit_code != 0
    assert (tmp_path / "cut" / "state").exists()
    again = run(*options(world), "--out", str(tmp_path / "cut"), "--quiet")
    assert isinstance(again.exception, FedprofileError)
    other = run(*options(world), "--out", str(tmp_path / "cut"), "--resume", "--rounds", "2")
    assert isinstance(other.exception, RunError)
    assert "training.rounds was 3, is 2" in str(other.exception)
    resumed = run(*options(world), "--out", str(tmp_path / "cut"), "--resume", "--quiet")
    assert resumed.exit_code == 0, resumed.output
    files = [tmp_path / n / "adapter" / "adapter_model.safetensors" for n in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_going_on_works(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "shared", "simulate", *options(world), "--out", str(out)]
    command += ["--rounds", "400", "--no-privacy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 600
        while not list(out.glob("state/epsilon-*/round-*.safetensors")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert output == b""
    assert b"--resume" in errors
    assert b"Traceback" not in errors
    again = subprocess.run([*command, "--resume"], capture_output=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    assert (out / "report.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 20_000, 100_000])
def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(
    world: Path, tmp_path: Path, limit: int
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "shared", "simulate", *options(world), "--out", str(out)]
    command += ["--save-rankings"]

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(command, capture_output=True, check=False, preexec_fn=full, timeout=300)
    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == 1
    assert re.search(r"cannot (be written|take).*free", lines[0])
    assert not (out / "report.json").exists()
    again = subprocess.run([*command, "--resume"], capture_output=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
