"""One federated training run inside a simulation: plan, engine, adapter, guarantee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.accounted_node import AccountedSource
from client.node import NodeSource
from client.plan_rules import PlanRules, plan_mechanisms
from server.candidates import draw_candidates
from server.federation import Federation, FederationResult, RoundInfo
from server.planning import make_plan, mechanisms_of
from shared.config import RunSettings
from shared.messages import Arrays, FloatArray, trainable_names
from shared.model.adapter import adapter_arrays, attach
from shared.model.popularity import denoise_counts, log_prior, signal_share
from shared.model.profile_model import build_base
from shared.model.projection import project_profiles, projection_matrix
from shared.plan import Plan
from shared.privacy.accounting import MIN_NOISE, guarantee
from shared.privacy.guarantee import COUNTS_MAX_NORM, Guarantee
from shared.privacy.ledger.entries import Limits
from shared.releases.pair_release import PairRelease, release_pairs
from shared.releases.pairs import MAX_NORM
from simulation.engines import run_federation
from simulation.evaluation.shop import GlobalModel
from simulation.preparation import Prepared
from simulation.stored_shops import sees_answers


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained global model.

    Attributes:
        settings: Those of this run, epsilon and seed included.
        plan: The public plan.
        guarantee: Of every shop; None without privacy.
        result: Final adapter, rounds and refusals.
        popularity: Estimate from the noisy counts `(n_items,)`, None where none were released.
        pairs: Co-purchase over the head, None where none was released.
    """

    settings: RunSettings
    plan: Plan
    guarantee: Guarantee | None
    result: FederationResult
    popularity: FloatArray | None
    pairs: PairRelease | None = None


def train_global(
    prepared: Prepared,
    settings: RunSettings,
    *,
    checkpoints: Path,
    ledgers: Path | None = None,
    workers: int,
    on_round: Callable[[RoundInfo], None],
) -> Trained:
    """Trains one global adapter, from the newest checkpoint where there is one.

    Args:
        prepared: Data and base.
        settings: With the epsilon and seed of this run.
        checkpoints: Folder for a file a round.
        ledgers: Folder for the shops' ledgers, where the run is private; None keeps none.
        workers: Shops that train at once.
        on_round: Called after each round.

    Raises:
        FedprofileError: The budget cannot be met, or too few shops gave a good update.
    """
    mechanisms = mechanisms_of(settings)
    adapter = initial_adapter(prepared, settings)
    trained = trainable_names(adapter, aggregation=settings.federation.aggregation)
    plan = make_plan(
        settings,
        mechanisms,
        n_shops=prepared.n_shops,
        n_trained=sum(adapter[name].size for name in trained),
        base_hash=prepared.base.base_hash,
    )
    popularity = _Popularity(prepared, plan)
    federation = Federation(
        plan=plan,
        settings=settings.federation,
        adapter=adapter,
        n_items=len(prepared.item_vectors),
        candidates=popularity.candidates,
        checkpoints=checkpoints,
        resume=True,
        on_round=lambda info, _: on_round(info),
    )
    result = run_federation(
        settings.engine,
        federation,
        _accounted(prepared, settings, plan, ledgers),
        num_shops=prepared.n_shops,
        workers=workers,
        gpus_per_shop=1.0 / workers if prepared.device.type == "cuda" else 0.0,
    )
    paid = plan_mechanisms(plan) if plan.private else ()
    return Trained(
        settings=settings,
        plan=plan,
        guarantee=guarantee(paid, delta=settings.privacy.delta) if paid else None,
        result=result,
        popularity=None if result.counts is None else popularity.estimate(result.counts),
        pairs=_pair_release(prepared, plan, result, popularity),
    )


def _pair_release(
    prepared: Prepared, plan: Plan, result: FederationResult, popularity: _Popularity
) -> PairRelease | None:
    """Returns the noisy pair sums with what their estimate needs; None where there are none."""
    if result.counts is None or result.head is None or result.pairs is None:
        return None
    (shops,) = (info.good for info in result.rounds if info.kind == "pairs")
    return release_pairs(
        result.pairs,
        head=result.head,
        std=plan.own_noise(plan.pairs_noise_multiplier) * MAX_NORM * shops**0.5,
        item_vectors=prepared.item_vectors,
        popularity=popularity.estimate(result.counts),
    )


def _accounted(
    prepared: Prepared, settings: RunSettings, plan: Plan, ledgers: Path | None
) -> NodeSource:
    """Puts a ledger in front of every shop of a private run.

    No other place lets shops share their noise: the secure aggregation that it needs is simulated,
    as all shops are on one machine.
    """
    privacy = settings.privacy
    if ledgers is None or privacy.epsilon is None:
        return prepared.source
    return AccountedSource(
        prepared.source,
        ledgers,
        Limits(epsilon=privacy.epsilon, delta=privacy.delta),
        rules=PlanRules(
            min_noise_multiplier=plan.own_noise(MIN_NOISE), allow_shared=privacy.noise == "shared"
        ),
        repeatable=True,
        planning="planned",
    )


def initial_adapter(prepared: Prepared, settings: RunSettings) -> Arrays:
    """Returns the public first adapter: A by the catalogue's principal axes, B zero."""
    base = build_base(prepared.settings.model, prepared.base.whitening)
    return adapter_arrays(attach(base, prepared.settings.model, seed=settings.seed))


def global_model(prepared: Prepared, trained: Trained) -> GlobalModel:
    """Returns the trained model as the evaluation sees it: scaled projection and paid prior."""
    model = prepared.settings.model
    matrix = projection_matrix(trained.result.adapter, model)
    popularity, scale = trained.popularity, np.float32(trained.plan.scale)
    return GlobalModel(
        project=lambda history: scale * project_profiles(matrix, history),
        prior=None if popularity is None else log_prior(popularity),
        half_life=trained.plan.half_life,
        pairs=trained.pairs,
        reliability=_reliability(trained),
        saw_answers=sees_answers(prepared.windows),
    )


def _reliability(trained: Trained) -> float:
    """Says how far a shop may rely on what was released without asking its own users.

    Where not even the popularity of items stands out of the noise, nothing finer does. Without
    noise it is 1; where no counts were released nothing is known, and it is a half.
    """
    plan, counts = trained.plan, trained.result.counts
    if not plan.private:
        return 1.0
    if counts is None:
        return 0.5
    (shops,) = (info.good for info in trained.result.rounds if info.kind == "counts")
    std = plan.own_noise(plan.counts_noise_multiplier) * COUNTS_MAX_NORM * shops**0.5
    return signal_share(counts, std=std)


class _Popularity:
    """Turns the noisy counts into popularity once, and draws the rounds' candidates from it."""

    def __init__(self, prepared: Prepared, plan: Plan) -> None:
        self._items = prepared.item_vectors
        self._plan = plan
        self._std = plan.own_noise(plan.counts_noise_multiplier) * prepared.n_shops**0.5
        self._known: FloatArray | None = None

    def estimate(self, counts: FloatArray) -> FloatArray:
        if self._known is None:
            self._known = denoise_counts(counts, self._items, std=self._std)
        return self._known

    def candidates(self, number: int, counts: FloatArray | None) -> npt.NDArray[np.int64]:
        return draw_candidates(
            len(self._items),
            size=self._plan.candidates,
            seed=self._plan.seed,
            server_round=number,
            popularity=None if counts is None else self.estimate(counts),
        )
