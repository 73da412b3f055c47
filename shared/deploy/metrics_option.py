"""The option of server and node that opens metrics and health."""

from __future__ import annotations

import click

METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Loopback port of /metrics, /health/live and /health/ready.  [default: none]",
)
