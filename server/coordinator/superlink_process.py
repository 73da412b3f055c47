"""The process that is the SuperLink: metrics and health are served beside Flower's own."""

from __future__ import annotations

from server.coordinator.metrics import serve_server_metrics
from shared.flower.server.superlink import serve_superlink


def main(root: str, metrics_port: int | None, passphrase_from: int | None) -> None:
    """Serves until stopped; Flower reads its options from the command line.

    Args:
        root: The coordinator's folder.
        metrics_port: Where metrics and health are answered on loopback; None for nowhere.
        passphrase_from: Inherited pipe with the passphrase of the TLS key.
    """

    def serve_metrics() -> None:
        if metrics_port is not None:
            serve_server_metrics(root, metrics_port)

    serve_superlink(passphrase_from, before=serve_metrics)
