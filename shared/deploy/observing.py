"""`/metrics`, `/health/live` and `/health/ready` of a service, on loopback alone."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from shared.errors import ConfigError

LOOPBACK = "127.0.0.1"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"
SLOWEST = 10.0
"""Seconds after which a silent reader is let go."""


def observe(
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

    class Handler(BaseHTTPRequestHandler):
        timeout = SLOWEST

        def do_GET(self) -> None:
            status, kind, content = answer(self.path, registry, problem)
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
        raise _taken(port, error) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="observing", daemon=True).start()
    return server


def answer(
    path: str, registry: CollectorRegistry, problem: Callable[[], str | None]
) -> tuple[int, str, bytes]:
    """Returns status, media type and content for a path."""
    if path == "/metrics":
        return 200, PLAIN, generate_latest(registry)
    if path == "/health/live":
        return 200, JSON, json.dumps({"live": True}).encode()
    if path == "/health/ready":
        found = problem()
        if found is None:
            return 200, JSON, json.dumps({"ready": True}).encode()
        return 503, JSON, json.dumps({"ready": False, "reason": found}).encode()
    return 404, JSON, json.dumps({"error": "no such path"}).encode()


def check_free(port: int) -> None:
    """Refuses a port that is taken, for a process that is about to become another program.

    Raises:
        ConfigError: It is taken.
    """
    try:
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((LOOPBACK, port))
    except OSError as error:
        raise _taken(port, error) from error


def _taken(port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"--metrics-port {port}: cannot be used ({error.strerror}); choose a free port"
    )
