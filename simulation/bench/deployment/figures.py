"""The group "deployment": what a deployed server and its nodes are measured for."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from simulation.bench.deployment.many_nodes import many_nodes
from simulation.bench.deployment.three_nodes import DOWN, USERS, Measured, measure
from simulation.bench.figures import Figure

BACK_PAUSE = 20
"""Seconds: Flower's longest pause between two attempts to reach a server that is away."""


def deployment_figures() -> list[Figure]:
    """Measures three real nodes, then a hundred with stub trainers."""
    found = measure()
    return [*_time(found), *_traffic(found), *_memory_and_return(found), *many_nodes()]


def _time(found: Measured) -> list[Figure]:
    slowest = max(found.rounds, key=lambda parts: parts.wall)
    usual = median(parts.beside for parts in found.rounds)
    note = (
        f"slowest of {len(found.rounds)} rounds; of it {slowest.local:.1f} s are the last node's "
        f"own computation and {slowest.polling:.1f} s Flower's polling; the request for counts, in "
        f"which one node encodes 7,202 texts, took {found.first:.0f} s"
    )
    beside = (
        f"median of wall time less Flower's polling (it looks every 3 s, and fetches and sends "
        f"object by object), over the last node's computation; wall "
        f"{_each(parts.wall for parts in found.rounds)} s, computation "
        f"{_each(parts.local for parts in found.rounds)} s, polling "
        f"{_each(parts.polling for parts in found.rounds)} s; the rest is a process for each "
        "request and the server's looks"
    )
    what = f"a round of 3 nodes with {USERS} users"
    return [
        Figure(what, slowest.wall, 60, "s", note),
        Figure(f"{what}, beside its computation", usual, 1.3, "times", beside),
    ]


def _traffic(found: Measured) -> list[Figure]:
    down = max(one.down for one in found.traffic.values())
    up = max(one.up for one in found.traffic.values())
    release = max(one.release for one in found.traffic.values())
    size = found.adapter_bytes
    counted = (
        f"of {size / 1000:.1f} kB; TLS records through a TCP proxy, largest of all nodes and "
        "rounds, polling and heartbeats included"
    )
    sent = (
        f"{down / 1000:.1f} kB {counted}; both releases at the end took {release / 1000:.1f} kB "
        "more; besides the adapter go 2 kB of candidates, and plan, receipt, Flower's answers and "
        "TLS handshakes, which do not grow with the adapter; A, half of it, never changes"
    )
    came = f"{up / 1000:.1f} kB {counted}; a node sends B alone, half of the adapter"
    return [
        Figure("bytes to a node in a round, over the adapter's", down / size, 1.1, "times", sent),
        Figure("bytes from a node in a round, over the adapter's", up / size, 1.1, "times", came),
    ]


def _memory_and_return(found: Measured) -> list[Figure]:
    each = ", ".join(f"{megabytes:.0f}" for megabytes in found.memory_mb.values())
    memory = (
        f"proportional size of all its processes; {each} MB, the last one encoded the catalogue too"
    )
    back = (
        f"until heartbeat and poll of all three were answered, server killed and away for "
        f"{DOWN:.0f} s and its start; Flower pauses {BACK_PAUSE} s at most between attempts"
    )
    largest = max(found.memory_mb.values()) / 1000
    return [
        Figure("a node's memory while it trains", largest, 1.5, "GB", memory),
        Figure("nodes back after the server's return", found.back, 30, "s", back),
    ]


def _each(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
