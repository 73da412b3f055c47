"""What privacy costs in time: a DP step against the same step without it."""

from __future__ import annotations

import time
from statistics import median

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from client.training.trainer import StepSpec, train_privately
from shared.privacy.noise import RandomSource
from simulation.bench.figures import Figure

N_USERS, EXAMPLES, CANDIDATES = 246, 30, 2048
SPEC = StepSpec(
    steps=2,
    sample_rate=1.0,
    divisor=100.0,
    max_grad_norm=0.01,
    noise_multiplier=2.0,
    learning_rate=1.0,
    physical_batch=64,
)


class Profile(nn.Module):
    """The default projection: 128 dimensions and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.profile_projection = nn.Linear(129, 128, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Projects `(..., 129)` to `(..., 128)`."""
        return self.profile_projection(x)  # type: ignore[no-any-return]


class CatalogueSoftmax:
    """Cross-entropy of 30 contexts a user over 2,048 candidates."""

    rows_per_user = 1

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.contexts = torch.randn(N_USERS, EXAMPLES, 129, generator=generator)
        self.targets = torch.randint(0, CANDIDATES, (N_USERS, EXAMPLES), generator=generator)
        self.candidates = torch.randn(CANDIDATES, 128, generator=generator)

    def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
        """Computes losses `(b,)` of users `(b,)`."""
        logits = (model(self.contexts[users]) @ self.candidates.T).flatten(0, 1)
        targets = self.targets[users].flatten()
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        return losses.view(len(users), -1).sum(dim=1)


def plain_steps(model: nn.Module, loss: CatalogueSoftmax, spec: StepSpec) -> None:
    """The same batches, forward and backward passes and SGD without clipping and noise."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-6)
    for _ in range(spec.steps):
        for users in torch.split(torch.arange(N_USERS), spec.physical_batch):
            torch.autograd.backward(loss(model, users).sum())
        optimizer.step()
        optimizer.zero_grad()


def overhead(*, repeats: int = 9) -> tuple[float, float, float]:
    """Measures both on one thread, alternately, in seconds of the processor.

    Returns:
        Median seconds of a private step and of a plain one, and the median of their ratio.
    """
    config = LoraConfig(r=32, lora_alpha=32, target_modules=["profile_projection"])
    model, loss, random = (
        get_peft_model(Profile(), config),
        CatalogueSoftmax(),
        RandomSource.from_os(),
    )
    private, plain = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(repeats):
        start = time.process_time()
        train_privately(model=model, loss=loss, n_users=N_USERS, spec=SPEC, random=random)
        middle = time.process_time()
        plain_steps(model, loss, SPEC)
        private.append((middle - start) / SPEC.steps)
        plain.append((time.process_time() - middle) / SPEC.steps)
    torch.set_num_threads(threads)
    ratio = median(a / b for a, b in zip(private, plain, strict=True))
    return median(private), median(plain), ratio


def dp_step() -> list[Figure]:
    """Measures a private step against a plain one."""
    private, plain, ratio = overhead()
    note = f"{1000 * private:.0f} ms against {1000 * plain:.0f} ms of one core, 246 users, rank 32"
    return [Figure("DP step against the same step without privacy", ratio, 1.15, "times", note)]
