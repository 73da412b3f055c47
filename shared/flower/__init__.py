"""The one place that imports what is not Flower's public interface, and where Flower is patched.

Public are `flwr.app`, `flwr.clientapp`, `flwr.serverapp` and `flwr.simulation`. All else may change
with any release: hence the upper bound in `pyproject.toml`, and a test for each line of this table
that fails when Flower changes (`tests/shared/flower`).

| Module | Replaces in flwr 1.41 | So that |
|---|---|---|
| `node.connection` | `fleet_http_connection.FleetHttpClient` | a node reconnects after a crash |
| `node.connection` | `heartbeat.HEARTBEAT_DEFAULT_INTERVAL`, `exponential` | nodes beat faster |
| `node.supernode` | `start_client_internal._init_connection`, `_verify_fab` | bundles have a list |
| `node.executor` | `run_clientapp.install_from_fab`, `get_load_client_app_fn` | no bundle is run |
| `node.executor` | `run_clientapp.pull_and_inflate_object_from_tree` | requests start sooner |
| `server.superlink` | `superlink.main._get_middleware` | bodies have a largest size |
| `server.superlink` | `uvicorn.run`, which Flower calls | the TLS key may have a passphrase |
| `simulation.ray` | `raybackend.RayBackend` | an interrupt ends shops that train |
| `simulation.in_process` | `telemetry.FLWR_TELEMETRY_ENABLED` | nothing calls home |

`server.grid.BoundedGrid` is a subclass of `flwr.superlink.grid.HttpGrid` and relies on its insides.
The other modules use Flower's clients, stores and records as they are.
"""
