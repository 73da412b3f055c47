"""The groups "deployment" and "many-nodes": what a server and its nodes are measured for."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean, median

from simulation.bench.deployment.many_nodes import many_nodes
from simulation.bench.deployment.three_nodes import DOWN, USERS, Measured, measure
from simulation.bench.figures import Figure

BACK_PAUSE = 20
"""Seconds: Flower's longest pause between two attempts to reach a server that is away."""


def deployment_figures() -> list[Figure]:
    """Measures three real nodes."""
    found = measure()
    return [*_time(found), *_traffic(found), *_memory_and_return(found)]


def many_nodes_figures() -> list[Figure]:
    """Measures a hundred nodes with stub trainers."""
    return [many_nodes()]


def _time(found: Measured) -> list[Figure]:
    slowest = max(found.rounds, key=lambda parts: parts.wall)
    usual = median(parts.beside for parts in found.rounds)
    note = (
        f"slowest of {len(found.rounds)} rounds; of it {slowest.local:.1f} s are the last node's "
        f"own computation and {slowest.polling:.1f} s Flower's polling; the requests for counts "
        f"and for pairs, with the encoding of the catalogue in one node, took {found.first:.0f} s"
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
    down = max((one.down for one in found.traffic.values()), key=sum)
    up = max((one.up for one in found.traffic.values()), key=sum)
    release = max(one.release for one in found.traffic.values())
    size = found.adapter_bytes
    counted = (
        f"a round, of {size / 1000:.1f} kB; mean of the rounds, node with most; TLS records "
        "through a TCP proxy, polling and heartbeats included"
    )
    first = f"{down[0] / 1000:.1f} kB; A, half of the adapter, comes with it and stays at the node"
    sent = (
        f"{mean(down) / 1000:.1f} kB {counted}; all releases at the end took "
        f"{release / 1000:.1f} kB more"
    )
    came = f"{mean(up) / 1000:.1f} kB {counted}; a node sends B alone, half of the adapter"
    return [
        Figure("first bytes to a node, over the adapter's", down[0] / size, 1.1, "times", first),
        Figure("bytes to a node, over the adapter's", mean(down) / size, 1.1, "times", sent),
        Figure("bytes from a node, over the adapter's", mean(up) / size, 1.1, "times", came),
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
