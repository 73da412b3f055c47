"""One of four shops is missing: whoever removes the noise of a sum takes that of three shops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from server.federation.federated_run import Federation, FederationResult, RoundInfo
from server.federation.public_plan import CandidateSource, make_plan, mechanisms_of
from server.federation.server_state import ServerState
from server.federation.strategy import ProfileStrategy
from server.runs import publication
from shared.protocol.messages import CANDIDATES, Plan, summed_noise_std
from shared.settings.run_settings import ModelSettings, PrivacySettings, RunSettings
from simulation.runs import training
from simulation.runs.preparation import Prepared

INVITED, REPLIED, N_ITEMS = 4, 3, 6
MODEL = ModelSettings(scale=3.0, half_life=120.0)
ROUNDS = tuple(
    RoundInfo(0, INVITED, REPLIED, INVITED - REPLIED, 1.0, 0, 0, 0.0, kind=kind)
    for kind in ("counts", "pairs")
)
COUNTS = np.arange(N_ITEMS, dtype=np.float32)
RESULT = FederationResult(
    {},
    COUNTS,
    ROUNDS,
    (),
    0.0,
    head=np.arange(3, dtype=np.int64),
    pairs=np.ones(3, dtype=np.float32),
)


def plan_with(noise: str = "shop") -> Plan:
    settings = RunSettings(model=MODEL, privacy=PrivacySettings.model_validate({"noise": noise}))
    mechanisms = mechanisms_of(settings)
    return make_plan(settings, mechanisms, n_shops=INVITED, n_trained=9, base_hash="b" * 64)


PLAN = plan_with()
EXPECTED = {
    "counts": PLAN.counts_noise_multiplier * REPLIED**0.5,
    "pairs": PLAN.pairs_noise_multiplier * REPLIED**0.5,
}
"""Independent of the code: three shops, each with all of its noise, and sensitivities of 1."""


@pytest.fixture
def stds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Standard deviations that the estimates are told."""
    seen: list[float] = []

    def estimate(*_: Any, std: float, **__: Any) -> Any:
        seen.append(std)
        return np.ones(N_ITEMS, dtype=np.float32)

    monkeypatch.setattr("server.federation.public_plan.denoise_counts", estimate)
    monkeypatch.setattr("simulation.runs.training.signal_share", estimate)
    monkeypatch.setattr("simulation.runs.training.release_pairs", estimate)
    return seen


def trained() -> training.Trained:
    return training.Trained(RunSettings(model=MODEL), PLAN, None, RESULT, COUNTS)


def test_the_sum_has_the_noise_of_the_shops_in_it() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, PLAN.counts_noise_multiplier, (REPLIED, 100_000)).sum(axis=0)
    assert noise.std() == pytest.approx(
        summed_noise_std(PLAN, "counts", n_replies=REPLIED), rel=0.01
    )


def test_shared_noise_adds_up_to_the_plans() -> None:
    plan = plan_with("shared")
    assert plan.noise_shops < INVITED
    assert summed_noise_std(plan, "pairs", n_replies=plan.noise_shops) == pytest.approx(
        plan.pairs_noise_multiplier
    )


def test_without_privacy_there_is_no_noise() -> None:
    settings = RunSettings(model=MODEL)
    plan = make_plan(settings, (), n_shops=INVITED, n_trained=9, base_hash="b" * 64)
    assert summed_noise_std(plan, "counts", n_replies=REPLIED) == 0


def test_releases_state_it() -> None:
    stated = {
        kind: numbers["noise_std"]
        for kind, _, _, numbers in publication._release_arrays(PLAN, RESULT)
        if kind != "adapter"
    }
    assert stated == pytest.approx(EXPECTED)


def test_candidates_are_drawn_by_it(stds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.ones((N_ITEMS, 2), dtype=np.float32)
    adapter = {
        "m.lora_A.weight": np.ones((1, 2), dtype=np.float32),
        "m.lora_B.weight": np.zeros((2, 1), dtype=np.float32),
    }
    settings = RunSettings(model=MODEL).federation
    federation = Federation(
        plan=PLAN,
        settings=settings,
        adapter=adapter,
        n_items=N_ITEMS,
        candidates=CandidateSource(PLAN, lambda: vectors, n_items=N_ITEMS),
    )
    state = replace(ServerState(0, adapter), counts=COUNTS, rounds=ROUNDS)
    strategy = ProfileStrategy(federation, state=state)
    contents: list[RecordDict] = []
    monkeypatch.setattr(strategy, "_address", lambda content, *_: contents.append(content) or [])
    strategy.configure_train(1, ArrayRecord(), ConfigRecord(), cast(Any, None))
    assert stds == pytest.approx([EXPECTED["counts"]])
    assert CANDIDATES in contents[0]


def test_a_simulation_estimates_with_it(stds: list[float]) -> None:
    prepared = cast(Prepared, SimpleNamespace(item_vectors=None, n_shops=INVITED))
    training.release_reliability(trained())
    training._pair_release(prepared, PLAN, RESULT, COUNTS)
    assert stds == pytest.approx([EXPECTED["counts"], EXPECTED["pairs"]])


ROOT = Path(training.__file__).parent.parent.parent


def test_no_other_module_scales_the_noise_of_a_statistic() -> None:
    names = ("counts_noise_multiplier", "pairs_noise_multiplier")
    users = {
        path.relative_to(ROOT).as_posix()
        for room in ("client", "server", "shared", "simulation")
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(f".{name}" in line for name in names)
    }
    assert users <= {
        "shared/protocol/messages.py",
        "client/federation/node_interface.py",  # what is accounted, not how much is in a sum
        "client/federation/shop_node.py",  # in docstrings alone
        "simulation/runs/saved_releases.py",  # what is written beside a release
        "simulation/audit/fault_detection.py",  # shops that add too little on purpose
    }
