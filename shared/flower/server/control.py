"""The SuperLink's control interface: register nodes, start and stop runs. Loopback only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.constant import Status
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.constant import NOOP_FEDERATION_ID
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from shared.errors import ConfigError, RunError
from shared.flower.bundle import bundle_hash, thin_bundle


@contextmanager
def control_connection(
    address: str, *, authority: Path, start_command: str
) -> Iterator[SuperLinkControl]:
    """Connects to a SuperLink.

    Args:
        address: `host:port`.
        authority: Certificate of its authority, PEM file.
        start_command: Starts it, for the remedy.

    Raises:
        RunError: Nobody answers.
    """
    client = ControlHttpClient.from_server_address(
        address,
        insecure=False,
        root_certificates=str(authority),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
    )
    try:
        yield SuperLinkControl(client)
    except httpx.TransportError as error:
        raise RunError(
            f"does not answer ({type(error).__name__})",
            name="server",
            value=address,
            remedy=f"start it with `{start_command}`",
        ) from error
    finally:
        client.close()


class SuperLinkControl:
    """A connection to the control interface of a SuperLink."""

    def __init__(self, client: ControlHttpClient) -> None:
        self._client = client

    def register(self, public_key: Path) -> int:
        """Registers a node's key and returns its node id.

        Raises:
            ConfigError: The file is no ECDSA public key, or the key is registered already.
        """
        key = node_public_key(public_key)
        try:
            response = self._client.RegisterNode(RegisterNodeRequest(public_key=key))
        except httpx.HTTPStatusError as error:
            raise ConfigError(
                f"the SuperLink refuses it ({error.response.status_code})",
                name="key",
                value=public_key,
                remedy="each shop needs a key of its own",
            ) from error
        return int(response.node_id)

    def unregister(self, node_id: int) -> None:
        """Takes a node's registration back; the node is cut off at once."""
        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def online(self) -> set[int]:
        """Returns the ids of the nodes that are connected."""
        nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
        return {int(node.node_id) for node in nodes if node.status == "online"}

    def start_run(self) -> int:
        """Starts a Flower run with the thin bundle and returns its id."""
        content = thin_bundle()
        fab = Fab(bundle_hash(content), content, {})
        request = StartRunRequest(fab=fab_to_proto(fab), federation=NOOP_FEDERATION_ID)
        response = self._client.StartRun(request)
        if not response.run_id:
            raise RunError(
                f"the SuperLink refused the run ({response.note})",
                remedy="see the log of `fedprofile server start`",
            )
        return int(response.run_id)

    def running(self) -> list[int]:
        """Returns the ids of runs that have not finished."""
        runs = self._client.ListRuns(ListRunsRequest()).run_dict
        return [int(i) for i, run in runs.items() if run.status.status != Status.FINISHED]

    def stop_run(self, run_id: int) -> None:
        """Stops a run; one that is over already does no harm."""
        try:
            self._client.StopRun(StopRunRequest(run_id=run_id))
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                raise


def node_public_key(path: Path) -> bytes:
    """Reads a node's public key file into Flower's form.

    Raises:
        ConfigError: It is not an ECDSA P-384 key in OpenSSH form.
    """
    try:
        key: Any = load_ssh_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})",
            name="key",
            value=path,
            remedy="check the path and its permissions",
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise ConfigError(
            "must be an ECDSA P-384 public key in OpenSSH form",
            name="key",
            value=path,
            remedy="give the node.pub that `fedprofile node key` wrote",
        )
    return bytes(public_key_to_bytes(key))
