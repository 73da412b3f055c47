"""Flower's simulation engine on Ray: for many shops, GPUs or several machines."""

from __future__ import annotations

import os
import time
from threading import Event
from typing import Any

import ray
from flwr.clientapp import ClientApp
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from shared.deploy.flower_parts import put
from shared.errors import FedprofileError, RunError
from simulation.engines.quiet import quiet_engine

OBJECT_STORE_BYTES = 256 * 1024**2
"""Ray's shared memory; requests and replies pass through it, models never do."""

END_WAIT = 10.0
"""Seconds for the threads that wait for a shop's reply to notice that its process was ended."""
_FlowerBackend = raybackend.RayBackend


class EndingBackend(_FlowerBackend):
    """Ends an interrupted run although shops still train.

    Flower shuts Ray down while its threads wait in `ray.get`, which then never returns, and Python
    waits for such a thread for ever. A process that is ended makes `ray.get` fail.
    """

    def terminate(self) -> None:
        """Ends what still trains, then Ray."""
        waiting: dict[Any, Any] = {} if self.pool is None else self.pool._future_to_actor
        end = time.monotonic() + END_WAIT
        while waiting and time.monotonic() < end:
            for actor in list(waiting.values()):
                ray.kill(actor)
            time.sleep(0.05)
        super().terminate()


def run_on_ray(
    server_app: ServerApp,
    client_app: ClientApp,
    *,
    num_shops: int,
    workers: int,
    stop: Event,
    gpus_per_shop: float = 0.0,
) -> None:
    """Runs a ServerApp, in a thread of this process, against ClientApps in Ray's processes.

    Starts Ray on this machine with `workers` CPUs, or joins the cluster of `RAY_ADDRESS`.

    Args:
        server_app: The federation's server.
        client_app: Shipped to Ray with every request, so it should hold paths rather than data.
        num_shops: Partitions 0 to `num_shops - 1`.
        workers: Processes; every one serves one shop at a time on one CPU.
        stop: Set where the engine dies or is interrupted, so that the server's thread ends.
        gpus_per_shop: Share of a GPU for each process.

    Raises:
        FedprofileError: As the ServerApp raised it.
        RunError: Ray cannot start, or died.
    """
    config: dict[str, Any] = {
        "client_resources": {"num_cpus": 1, "num_gpus": gpus_per_shop},
        "init_args": _init_args(workers),
    }
    put(raybackend, RayBackend=EndingBackend)
    with quiet_engine():
        try:
            run_simulation(server_app, client_app, num_shops, backend_config=config)
        except FedprofileError:
            raise
        except Exception as error:
            stop.set()
            cause = error.__cause__ or error
            first_line = (str(cause).splitlines() or [""])[0]
            raise RunError(
                f"engine=ray failed ({type(cause).__name__}: {first_line}); "
                "try --engine in-process, then continue with --resume"
            ) from error
        except BaseException:
            stop.set()
            raise


def _init_args(workers: int) -> dict[str, Any]:
    args: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if "RAY_ADDRESS" not in os.environ:
        args |= {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES}
    return args
