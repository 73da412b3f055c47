"""What Prometheus reads; labels name routes, surfaces and variants, never a user or an item."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Observations(Protocol):
    """What is counted of answers, here or in the process that keeps the counts."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request and its time."""
        ...

    def recommended(self, surface: str, variant: str) -> None:
        """Counts a recommendation."""
        ...


_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The service's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "fedprofile_request_seconds",
            "Time of a request by route.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.requests = Counter(
            "fedprofile_requests",
            "Requests by route and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        recommendations = Counter(
            "fedprofile_recommendations",
            "Answers by surface and variant.",
            ["surface", "variant"],
            registry=self.registry,
        )
        self.events = Counter(
            "fedprofile_events", "Events stored, by type.", ["event_type"], registry=self.registry
        )
        self.refresh_seconds = Gauge(
            "fedprofile_refresh_seconds",
            "Time of the last refresh of co-purchase.",
            registry=self.registry,
        )
        self.swaps = Counter(
            "fedprofile_adapter_swaps", "Adapters put in place.", registry=self.registry
        )

        # Looking labels up takes longer than counting; there are few of them.
        self._seconds = lru_cache(1000)(self.seconds.labels)
        self._requests = lru_cache(1000)(self.requests.labels)
        self._recommended = lru_cache(1000)(recommendations.labels)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request and its time."""
        self._seconds(route, method).observe(seconds)
        self._requests(route, method, str(status)).inc()

    def recommended(self, surface: str, variant: str) -> None:
        """Counts a recommendation."""
        self._recommended(surface, variant).inc()

    def text(self) -> bytes:
        """Returns all values in Prometheus' text format."""
        return generate_latest(self.registry)
