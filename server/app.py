"""The ServerApp that Flower loads by name; it refuses to start without a federation."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from shared.errors import RunError

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
    """Refuses: an app that was started without a federation has nothing to run.

    Raises:
        RunError: Always.
    """
    raise RunError(
        "must not be started alone",
        name="app",
        value="server",
        remedy="use `fedprofile server run`",
    )
