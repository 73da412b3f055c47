"""Engines that run the federation's two Flower apps on one machine or a Ray cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from client.app import make_client_app
from client.node import NodeSource
from server.app import make_server_app
from server.federation import Federation, FederationResult
from shared.errors import RunError
from simulation.engines.in_process import run_in_process


def run_federation(
    engine: Literal["in-process", "ray"],
    federation: Federation,
    source: NodeSource,
    *,
    num_shops: int,
    workers: int = 1,
    gpus_per_shop: float = 0.0,
) -> FederationResult:
    """Runs a federation over simulated shops.

    Args:
        engine: `in-process`, nothing to start; `ray`, Flower's simulation engine.
        federation: What to run; its `nodes` is set to `num_shops`.
        source: Opens the shop of a partition; picklable.
        num_shops: Shops, of partitions 0 to `num_shops - 1`.
        workers: Shops that train at once: threads in this process, or Ray's processes.
        gpus_per_shop: Share of a GPU that a shop needs (Ray only).

    Returns:
        The same on both engines: float32 rounding inside a shop's own training may differ with the
        number of threads, aggregation does not.

    Raises:
        FedprofileError: As the apps raise it, or where the engine cannot start.
    """
    run = replace(federation, nodes=num_shops)
    server_app, client_app = make_server_app(run), make_client_app(source)
    if engine == "ray":
        from simulation.engines.ray import run_on_ray

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
        raise RunError(f"engine={engine} ended without a result; run again with --resume")
    return run.result
