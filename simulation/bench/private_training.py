"""What privacy costs in time.

A DP step against the same step without it, and the audit's time and power.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from client.training.dp_sgd import StepSpec, train_privately
from shared.interactions.events import Events
from shared.privacy.noise import RandomSource, discrete_gaussian, grid_variance
from shared.releases.pair_sums import grid_pair_sums, n_pairs, pair_sums
from simulation.audit.detection_power import measure_false_alarms, measure_one_run, measure_power
from simulation.reporting.benchmark_page import BenchmarkFigure

N_USERS, EXAMPLES, CANDIDATES = 246, 30, 2048
SPEC = StepSpec(
    steps=2,
    sample_rate=1.0,
    divisor=100.0,
    max_grad_norm=0.01,
    noise_variance=grid_variance(2.0),
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


def dp_step() -> list[BenchmarkFigure]:
    """Measures a private step against a plain one."""
    private, plain, ratio = overhead()
    note = f"{1000 * private:.0f} ms against {1000 * plain:.0f} ms of one core, 246 users, rank 32"
    return [
        BenchmarkFigure(
            "DP step against the same step without privacy", ratio, 1.15, "times", note
        ),
        whole_number_release(),
    ]


def whole_number_release(*, repeats: int = 7) -> BenchmarkFigure:
    """Compares pair sums of 1,000 items in whole numbers with float sums and NumPy's normals."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(N_USERS), 40)
    item = rng.zipf(1.3, len(user)) % 1000
    events = Events.build(user=user, item=item, time=np.zeros(len(user)))
    head, random, variance = np.arange(1000), RandomSource.from_os(), grid_variance(0.775)
    n, whole, floating = n_pairs(len(head)), [], []
    discrete_gaussian(random, 1, variance=variance)  # its tables are made once a process
    for _ in range(repeats):
        start = time.process_time()
        grid_pair_sums(events, head) + discrete_gaussian(random, n, variance=variance)
        middle = time.process_time()
        (pair_sums(events, head) + rng.normal(0, 0.775, n)).astype(np.float32)
        whole.append(middle - start)
        floating.append(time.process_time() - middle)
    ratio = median(a / b for a, b in zip(whole, floating, strict=True))
    note = f"{n:,} numbers: {1000 * median(whole):.0f} ms against {1000 * median(floating):.0f} ms"
    return BenchmarkFigure("release in whole numbers against floats", ratio, 2, "times", note)


LEAST_ONE_RUN = 1.5
"""Lower bound that one run with 2,000 canaries should reach at a true epsilon of 4."""


def audit_figures(*, runs: int = 60, honest_runs: int = 100) -> list[BenchmarkFigure]:
    """Measures the audit on the code that answers, with faults planted and without.

    Args:
        runs: Audits of each fault; 60 of 60 caught bound the power by 95.1% at 95% confidence.
        honest_runs: Whole audits of honest code.
    """
    figures = []
    for power in measure_power(runs=runs):
        note = f"{power.caught} of {power.runs} caught: power at least {power.power_at_least:.3f}"
        name = f"audit misses {power.fault}, epsilon {power.epsilon:g}"
        missed = 1 - power.caught / power.runs
        figures.append(BenchmarkFigure(name, missed, 0.05, "of runs", note))
    honest = measure_false_alarms(runs=honest_runs)
    note = f"{honest.caught} of {honest.runs} honest runs, epsilon {honest.epsilon:g}, all checks"
    figures.append(
        BenchmarkFigure("audit's false alarms", honest.caught / honest.runs, 0.05, "of runs", note)
    )
    note = f"all checks, mean of {honest.runs}"
    figures.append(BenchmarkFigure("whole audit", honest.seconds, 60, "s", note))
    low, steinke, seconds = measure_one_run()
    note = f"at least {low:.2f} of 4 by f-DP, {steinke:.2f} by Steinke et al.; 2,000 canaries"
    short = max(0.0, LEAST_ONE_RUN - low)
    figures.append(BenchmarkFigure("one-run bound is short of 1.5 by", short, 0.0, "epsilon", note))
    figures.append(BenchmarkFigure("one-run audit", seconds, 60, "s", "20 steps"))
    return figures
