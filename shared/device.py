"""Where tensors live: one rule for `--device auto|cpu|cuda`, and the device in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """Turns a setting into a torch device.

    Args:
        name: `auto` (CUDA where there is one, else the CPU), `cpu` or `cuda`.

    Raises:
        ConfigError: The name is unknown, or CUDA is asked for and absent.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={name!r} must be auto, cpu or cuda; change --device")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError(
            f"device=cuda needs a CUDA device and torch {torch.__version__} sees none; "
            "use --device auto, or install a CUDA build of torch and a driver"
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def describe_device(device: torch.device) -> str:
    """Says in words what `device` is, for reports: `CPU, 2 threads` or `NVIDIA H200, 140 GB`."""
    import torch

    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return f"CPU, {torch.get_num_threads()} threads"
