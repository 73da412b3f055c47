"""`/metrics`, `/health/live` and `/health/ready` of a service, on loopback alone."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from shared.errors import ConfigError

METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Loopback port of /metrics, /health/live and /health/ready.  [default: none]",
)


LOOPBACK = "127.0.0.1"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPE = "application/json"
READ_TIMEOUT = 10.0
"""Seconds after which a silent reader is let go."""


def serve_metrics(
    port: int, *, collector: Collector, problem: Callable[[], str | None]
) -> ThreadingHTTPServer:
    """Answers from a thread until the process ends.

    Args:
        port: On loopback; 0 takes a free one.
        collector: Gives the metrics, anew for each reader.
        problem: Says in a few words why the service is not ready; None where it is.

    Raises:
        ConfigError: The port is taken.
    """
    registry = CollectorRegistry()
    registry.register(collector)

    # prometheus_client.start_http_server answers every path with metrics, has no health routes and
    # waits for a silent reader without end; the text itself is the library's (generate_latest).
    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT

        def do_GET(self) -> None:
            status, kind, content = respond(self.path, registry, problem)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keeps reads of every few seconds out of the log."""

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise _port_taken(port, error) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="observing", daemon=True).start()
    return server


def respond(
    path: str, registry: CollectorRegistry, problem: Callable[[], str | None]
) -> tuple[int, str, bytes]:
    """Returns status, media type and content for a path."""
    if path == "/metrics":
        return 200, TEXT_TYPE, generate_latest(registry)
    if path == "/health/live":
        return 200, JSON_TYPE, json.dumps({"live": True}).encode()
    if path == "/health/ready":
        reason = problem()
        if reason is None:
            return 200, JSON_TYPE, json.dumps({"ready": True}).encode()
        return 503, JSON_TYPE, json.dumps({"ready": False, "reason": reason}).encode()
    return 404, JSON_TYPE, json.dumps({"error": "no such path"}).encode()


def check_free(port: int) -> None:
    """Refuses a port that is taken, for a process that is about to become another program.

    Raises:
        ConfigError: It is taken.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
    except OSError as error:
        raise _port_taken(port, error) from error


def _port_taken(port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot be used ({error.strerror})",
        name="metrics-port",
        value=port,
        remedy="choose a free port",
    )
