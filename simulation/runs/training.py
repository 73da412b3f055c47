"""One federated training run inside a simulation: plan, engine, adapter, guarantee."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from flwr.clientapp.typing import Mod

from client.federation.client_app import make_client_app
from client.federation.node_interface import NodeSource, PlanRules, plan_mechanisms
from client.federation.outgoing_releases import AccountedSource
from client.federation.secure_sums import SecureSumsSource
from server.federation.federated_run import Federation, FederationResult, RoundInfo
from server.federation.public_plan import CandidateSource, make_plan, mechanisms_of, shared_bounds
from server.federation.rounds import make_server_app
from shared.errors import RunError
from shared.flower.simulation.in_process import run_in_process
from shared.model.adapter import adapter_arrays, attach
from shared.model.profile_model import build_base
from shared.model.profile_space import project_profiles, projection_matrix
from shared.privacy.accounting.accountants import guarantee
from shared.privacy.accounting.guarantee import Guarantee
from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.protocol.messages import Arrays, FloatArray, Plan, summed_noise_std, trainable_names
from shared.releases.noisy_statistics import PairRelease, log_prior, release_pairs, signal_share
from shared.secure_aggregation.roster import SignedRoster
from shared.settings.run_settings import RunSettings
from simulation.evaluation.shop import GlobalModel
from simulation.runs.preparation import Prepared
from simulation.runs.rosters import signed_by_all
from simulation.runs.run_folder import sees_answers
from simulation.runs.saved_releases import SaveReleases


def run_federation(
    engine: Literal["in-process", "ray"],
    federation: Federation,
    source: NodeSource,
    *,
    num_shops: int,
    workers: int = 1,
    gpus_per_shop: float = 0.0,
    mods: Sequence[Mod] = (),
    sums: SecureSumsSource | None = None,
) -> FederationResult:
    """Runs a federation over simulated shops.

    Args:
        engine: `in-process`, nothing to start; `ray`, Flower's simulation engine.
        federation: What to run; its `nodes` is set to `num_shops`.
        source: Opens the shop of a partition; picklable.
        num_shops: Shops, of partitions 0 to `num_shops - 1`.
        workers: Shops that train at once: threads in this process, or Ray's processes.
        gpus_per_shop: Share of a GPU that a shop needs (Ray only).
        mods: Around every request to a shop, the first one outermost; picklable.
        sums: Opens the shop of a partition for secure aggregation; picklable.

    Returns:
        The same on both engines: float32 rounding inside a shop's own training may differ with the
        number of threads, aggregation does not.

    Raises:
        FedprofileError: As the apps raise it, or where the engine cannot start.
    """
    run = replace(federation, nodes=num_shops)
    server_app, client_app = make_server_app(run), make_client_app(source, mods=mods, sums=sums)
    if engine == "ray":
        from shared.flower.simulation.ray import run_on_ray

        run_on_ray(
            server_app,
            client_app,
            num_shops=num_shops,
            workers=workers,
            gpus_per_shop=gpus_per_shop,
            stop=run.stop,
        )
    else:
        run_in_process(server_app, client_app, num_shops=num_shops, workers=workers)
    if run.result is None:
        raise RunError(
            "ended without a result", name="engine", value=engine, remedy="run again with --resume"
        )
    return run.result


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
        bounds: Of the shops that share the noise; None where each adds all of it.
    """

    settings: RunSettings
    plan: Plan
    guarantee: Guarantee | None
    result: FederationResult
    popularity: FloatArray | None
    pairs: PairRelease | None = None
    bounds: RosterBounds | None = None


def train_global(
    prepared: Prepared,
    settings: RunSettings,
    *,
    checkpoints: Path,
    ledgers: Path | None = None,
    releases: Path | None = None,
    workers: int,
    on_round: Callable[[RoundInfo], None],
) -> Trained:
    """Trains one global adapter, from the newest checkpoint where there is one.

    Args:
        prepared: Data and base.
        settings: With the epsilon and seed of this run.
        checkpoints: Folder for a file a round.
        ledgers: Folder for the shops' ledgers, where the run is private; None keeps none.
        releases: Folder whose `releases/` gets what the shops send, where the run is private; None
            keeps none.
        workers: Shops that train at once.
        on_round: Called after each round.

    Raises:
        FedprofileError: The budget cannot be met, or too few shops gave a good update.
    """
    mechanisms = mechanisms_of(settings)
    adapter = initial_adapter(prepared, settings)
    trained = trainable_names(adapter, aggregation=settings.federation.aggregation)
    roster = _sign_roster(prepared, settings, ledgers)
    plan = make_plan(
        settings,
        mechanisms,
        n_shops=prepared.n_shops,
        n_trained=sum(adapter[name].size for name in trained),
        base_hash=prepared.base.base_hash,
        roster=None if roster is None else roster.roster,
    )
    bounds = shared_bounds(settings, prepared.n_shops) if plan.noise_shops > 1 else None
    candidates = CandidateSource(
        plan, lambda: prepared.item_vectors, n_items=len(prepared.item_vectors)
    )
    federation = Federation(
        plan=plan,
        settings=settings.federation,
        adapter=adapter,
        n_items=len(prepared.item_vectors),
        candidates=candidates,
        checkpoints=checkpoints,
        resume=True,
        on_round=lambda info, _: on_round(info),
        roster=None if roster is None else roster.roster,
        min_shops=1 if bounds is None else bounds.threshold,
    )
    source: NodeSource = prepared.source
    if ledgers is not None and plan.private:
        source = _accounted(prepared, settings, ledgers, roster, states=checkpoints / "shops")
    result = run_federation(
        settings.engine,
        federation,
        source,
        sums=source if isinstance(source, AccountedSource) else None,
        num_shops=prepared.n_shops,
        workers=workers,
        gpus_per_shop=1.0 / workers if prepared.device.type == "cuda" else 0.0,
        mods=[SaveReleases(releases)] if releases is not None and plan.private else [],
    )
    popularity = None
    if result.counts is not None:
        replies = result.n_replies("counts")
        popularity = candidates.popularity(result.counts, n_replies=replies)
    paid = plan_mechanisms(plan) if plan.private else ()
    return Trained(
        settings=settings,
        plan=plan,
        guarantee=guarantee(paid, delta=settings.privacy.delta) if paid else None,
        result=result,
        popularity=popularity,
        pairs=_pair_release(prepared, plan, result, popularity),
        bounds=bounds,
    )


def _pair_release(
    prepared: Prepared, plan: Plan, result: FederationResult, popularity: FloatArray | None
) -> PairRelease | None:
    """Returns the noisy pair sums with what their estimate needs; None where there are none."""
    if popularity is None or result.head is None or result.pairs is None:
        return None
    return release_pairs(
        result.pairs,
        head=result.head,
        std=summed_noise_std(plan, "pairs", n_replies=result.n_replies("pairs")),
        item_vectors=prepared.item_vectors,
        popularity=popularity,
    )


def _sign_roster(
    prepared: Prepared, settings: RunSettings, ledgers: Path | None
) -> SignedRoster | None:
    """Returns the roster under which the protocol adds up; None where it does not."""
    privacy = settings.privacy
    protocol = privacy.secure_aggregation == "real" and privacy.noise == "shared"
    if not protocol or privacy.epsilon is None or ledgers is None:
        return None
    source = _accounted(prepared, settings, ledgers)
    return signed_by_all(
        (source.ledger(shop.shop_id) for shop in prepared.dataset.shops),
        max_missing=privacy.max_missing,
        max_colluding=privacy.max_colluding,
    )


def _accounted(
    prepared: Prepared,
    settings: RunSettings,
    ledgers: Path,
    roster: SignedRoster | None = None,
    *,
    states: Path | None = None,
) -> AccountedSource:
    """Puts a ledger in front of every shop of a private run.

    No other place lets shops share their noise without a roster: the secure sum is simulated then,
    as all shops are on one machine.
    """
    privacy = settings.privacy
    return AccountedSource(
        prepared.source,
        ledgers,
        LifetimeLimits(
            epsilon=privacy.epsilon or 0.0,
            delta=privacy.delta,
            max_users=settings.federation.max_shop_users,
        ),
        rules=PlanRules(allow_shared=privacy.noise == "shared"),
        repeatable=True,
        planning="planned",
        roster=roster,
        states=states,
    )


def initial_adapter(prepared: Prepared, settings: RunSettings) -> Arrays:
    """Returns the public first adapter: A by the catalogue's principal axes, B zero."""
    base = build_base(prepared.settings.model, prepared.base.whitening)
    return adapter_arrays(attach(base, prepared.settings.model, seed=settings.seed))


def global_model(prepared: Prepared, trained: Trained) -> GlobalModel:
    """Returns the trained model as the evaluation sees it: scaled projection and paid prior."""
    model = prepared.settings.model
    matrix = projection_matrix(trained.result.adapter, model)
    first = projection_matrix(initial_adapter(prepared, trained.settings), model)
    popularity, scale = trained.popularity, np.float32(trained.plan.scale)
    return GlobalModel(
        project=lambda history: scale * project_profiles(matrix, history),
        untrained=lambda history: scale * project_profiles(first, history),
        prior=None if popularity is None else log_prior(popularity),
        half_life=trained.plan.half_life,
        pairs=trained.pairs,
        reliability=release_reliability(trained),
        saw_answers=sees_answers(prepared.windows),
    )


def release_reliability(trained: Trained) -> float:
    """Says how far a shop may rely on what was released without asking its own users.

    Where not even the popularity of items stands out of the noise, nothing finer does: at 0 nothing
    of the release is used. Without noise it is 1; where no counts were released nothing is known,
    and it is a half.
    """
    plan, counts = trained.plan, trained.result.counts
    if not plan.private:
        return 1.0
    if counts is None:
        return 0.5
    n_replies = trained.result.n_replies("counts")
    return signal_share(counts, std=summed_noise_std(plan, "counts", n_replies=n_replies))
