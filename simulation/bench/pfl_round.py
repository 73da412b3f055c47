"""One round of the adapter's training in `pfl` 0.6, in an environment of its own.

`python pfl_round.py TASK` reads what `simulation.bench.engine_comparison` wrote and prints seconds.
It imports nothing of the project: pfl pins another `dp-accounting`. A user of pfl is one person, as
the unit of privacy is here: each takes one step, is clipped, and noise is added to the sum.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import MinimizeReuseUserSampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel
from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]


class Adapter(nn.Module):
    """LoRA on the projection `[I | 0]`: B trains, A and the candidates are public."""

    a: Tensor
    candidates: Tensor
    vectors: Tensor

    def __init__(self, task: Arrays) -> None:
        super().__init__()
        self.scale = float(task["scale"])
        self.b = nn.Parameter(torch.zeros(task["candidates"].shape[1], len(task["a"])))
        self.register_buffer("a", torch.from_numpy(task["a"]))
        self.register_buffer("candidates", torch.from_numpy(task["candidates"]))
        self.register_buffer("vectors", torch.from_numpy(task["vectors"]))

    def loss(self, history: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of a user's targets among the candidates.

        Args:
            history: `(pairs, dim)`.
            target: Item codes `(pairs, targets)`, -1 in places that only fill the array.
        """
        is_target = target >= 0
        unit = nn.functional.normalize(history, dim=-1)
        extended = nn.functional.pad(unit, (0, 1), value=1.0)
        profile = unit + extended @ self.a.T @ self.b.T
        scores = self.scale * torch.einsum("pd,ptd->pt", profile, self.vectors[target.clamp(min=0)])
        rivals = torch.logsumexp(self.scale * profile @ self.candidates.T, dim=-1, keepdim=True)
        losses = torch.where(is_target, torch.logaddexp(rivals, scores) - scores, 0.0)
        return losses.sum() / is_target.sum().clamp(min=1)

    def metrics(self, *_: Tensor) -> dict[str, float]:
        """Nothing is evaluated."""
        return {}


def run(task: Arrays) -> float:
    """Trains one round over all users and returns its seconds."""
    adapter, n_users = Adapter(task), len(task["history"])
    model = PyTorchModel(adapter, torch.optim.SGD, torch.optim.SGD(adapter.parameters(), lr=1.0))

    def user(code: int) -> Dataset:
        """Takes one user's data."""
        return Dataset(raw_data=[torch.from_numpy(task[n][code]) for n in ("history", "target")])

    users = FederatedDataset(user, MinimizeReuseUserSampler(list(range(n_users))))
    noise = GaussianMechanism(float(task["clip"]), float(task["noise"]))
    backend = SimulatedBackend(
        training_data=users,
        val_data=users,
        postprocessors=[CentrallyAppliedPrivacyMechanism(noise)],
    )
    started = time.perf_counter()
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=1,
            evaluation_frequency=10,
            train_cohort_size=n_users,
            val_cohort_size=0,
        ),
        backend,
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=1.0, local_batch_size=None),
    )
    seconds = time.perf_counter() - started
    if not float(adapter.b.detach().abs().sum()) > 0:
        raise RuntimeError("pfl trained nothing")
    return seconds


if __name__ == "__main__":
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as arrays:
        task = dict(arrays)
    run(task)  # the first round starts what the second finds
    seconds = run(task)
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
