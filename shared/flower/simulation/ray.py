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

from shared.errors import FedprofileError, RunError
from shared.flower.patches import patch_attribute
from shared.flower.simulation.in_process import quiet_engine

OBJECT_STORE_BYTES = 256 * 1024**2
"""Ray's shared memory; requests and replies pass through it, models never do."""
END_WAIT_SECONDS = 10.0
"""Seconds for the threads that wait for a shop's reply to notice that its process was ended."""
_FlowerBackend = raybackend.RayBackend


class EndingBackend(_FlowerBackend):
    """Ends an interrupted run although shops still train.

    Flower: `RayBackend.terminate` shuts Ray down while threads of Flower's pool wait in `ray.get`,
    which then never returns, and Python waits for such a thread for ever: the command hung after
    Ctrl-C.

    Here: the processes that still train are killed first, which makes `ray.get` raise. Which these
    are, `BasicActorPool._future_to_actor` says.
    """

    def terminate(self) -> None:
        """Ends what still trains, then Ray."""
        training: dict[Any, Any] = {} if self.pool is None else self.pool._future_to_actor
        end = time.monotonic() + END_WAIT_SECONDS
        while training and time.monotonic() < end:
            for actor in list(training.values()):
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
    patch_attribute(raybackend, RayBackend=EndingBackend)  # imported by name in each simulation
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
                f"failed ({type(cause).__name__}: {first_line})",
                name="engine",
                value="ray",
                remedy="try --engine in-process, then continue with --resume",
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
