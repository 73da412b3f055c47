from __future__ import annotations

import pytest
import torch

from shared.errors import ConfigError
from shared.runtime.environment import describe_device, resolve_device


def test_auto_takes_cuda_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert resolve_device("auto").type == expected
        assert resolve_device("cpu").type == "cpu"


def test_absent_cuda_and_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device=cuda needs a CUDA device.*--device auto"):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match="device='tpu' must be auto, cpu or cuda"):
        resolve_device("tpu")


def test_the_cpu_in_words() -> None:
    assert describe_device(torch.device("cpu")) == f"CPU, {torch.get_num_threads()} threads"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_in_words() -> None:
    assert describe_device(resolve_device("cuda")).endswith(" GB")
