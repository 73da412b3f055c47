"""The end of a run: sign what was trained and counted, and send it to the nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any, TypeAlias

import numpy.typing as npt
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.coordinator.folder import ServerFolder
from server.coordinator.metrics import RunMetrics
from server.federation.exchange import Traffic, exchange
from server.federation.federated_run import Federation, FederationResult
from server.federation.public_plan import mechanisms_of
from server.runs.releases import Release, ReleaseKind, ReleaseRegistry
from server.runs.training_run import TrainingRun
from shared.keys.signing import canonical
from shared.privacy.accounting.accountants import guarantee
from shared.protocol import messages
from shared.protocol import messages as records
from shared.protocol.invitation import PublicBase
from shared.protocol.messages import Plan, StatisticKind, summed_noise_std
from shared.runtime.counters import CounterFile
from shared.runtime.file_store import write_atomic

LOG = logging.getLogger("fedprofile.server")
ReleaseArrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Arrays of a release by name."""
RECORD_OF_REQUEST = {
    "counts": messages.COUNTS,
    "pairs": messages.PAIRS,
    "train": messages.UPDATE,
}
"""Kind of a request -> array record of its answer where each leaves by itself."""
RECORD_OF_KIND = {"counts": messages.COUNTS, "pairs": messages.PAIRS, "adapter": messages.UPDATE}
"""Kind of a release -> array record of the replies that it is made of."""


def publish_releases(
    run: TrainingRun,
    federation: Federation,
    result: FederationResult,
    public: PublicBase,
    *,
    replies: set[tuple[str, str, str]],
) -> list[Release]:
    """Adds a run's releases to the registry; a second call returns the same ones.

    Args:
        run: The run.
        federation: What was run.
        result: Its end.
        public: The base.
        replies: Shop, round and array record of each update or statistic that came.
    """
    registry, state = ReleaseRegistry(run.server), run.state()
    if state.releases:
        return [registry.read(number) for number in state.releases]
    settings, plan = run.settings(), federation.plan
    paid = tuple(replace(m, shared_by=plan.noise_shops) for m in mechanisms_of(settings))
    fields = {
        "run": run.number,
        "base_hash": public.base_hash,
        "plan": plan.digest(),
        "privacy": guarantee(paid, delta=settings.privacy.delta).to_json(),
    }
    counted = _participants(replies, result)
    releases: list[Release] = []
    for kind, arrays, number, statistics in _release_arrays(plan, result):
        parents = tuple(release.manifest.number for release in releases)
        shops = tuple(sorted(shop for shop, name in counted if name == RECORD_OF_KIND[kind]))
        releases.append(
            registry.add(
                kind,
                arrays,
                round=number,
                parents=parents,
                statistics=statistics,
                participants=shops,
                **fields,
            )
        )
    run.note(releases=tuple(release.manifest.number for release in releases), round=plan.rounds)
    return releases


def _participants(
    replies: set[tuple[str, str, str]], result: FederationResult
) -> set[tuple[str, str]]:
    """Returns shop and array record of what counted.

    In a secure sum that are the shops which confirmed it, not all whose masked numbers came.
    """
    if any(info.shops for info in result.rounds):
        return {(s, RECORD_OF_REQUEST[info.kind]) for info in result.rounds for s in info.shops}
    refused = {
        (refusal.shop, str(refusal.round), RECORD_OF_KIND.get(refusal.kind, messages.UPDATE))
        for refusal in result.refusals
    }
    return {(shop, name) for shop, _, name in replies - refused}


def _release_arrays(
    plan: Plan, result: FederationResult
) -> Iterator[tuple[ReleaseKind, ReleaseArrays, int, dict[str, float]]]:
    """Yields kind, arrays, last round and public numbers of each release, parents first.

    The noise of a sum is that of the shops whose reply is in it.
    """

    def noise(kind: StatisticKind) -> dict[str, float]:
        return {"noise_std": summed_noise_std(plan, kind, n_replies=result.n_replies(kind))}

    if result.counts is not None:
        yield "counts", {messages.COUNTS: result.counts}, 0, noise("counts")
    if result.pairs is not None and result.head is not None:
        arrays: ReleaseArrays = {messages.HEAD: result.head, messages.PAIRS: result.pairs}
        yield "pairs", arrays, 0, noise("pairs")
    scale = {"scale": plan.scale, "half_life": plan.half_life}
    yield "adapter", result.adapter, plan.rounds, scale


def send_releases(grid: Grid, releases: Sequence[Release], folder: ServerFolder) -> dict[str, str]:
    """Sends releases to all connected nodes and notes who installed them.

    Returns:
        By shop: `installed`, or why not.
    """
    outcomes: dict[str, str] = {}
    recorder = RunMetrics(CounterFile(folder.tally))
    for release in releases:
        with recorder.phase("send"):
            outcomes = _send_one(grid, release, folder)
        recorder.sent(outcomes.values())
    return outcomes


def _send_one(grid: Grid, release: Release, folder: ServerFolder) -> dict[str, str]:
    number = release.manifest.number
    record = ConfigRecord(
        {
            "manifest": release.manifest.content(),
            "signature": release.signature,
            "file": release.file,
        }
    )
    timeout = folder.settings().federation.round_timeout
    requests = [
        Message(
            RecordDict({records.RELEASE: record}),
            dst_node_id=node,
            message_type=f"{MessageType.QUERY}.{records.INSTALL_QUERY}",
            group_id=f"release-{number}",
            ttl=timeout,
        )
        for node in sorted(grid.get_node_ids())
    ]
    outcomes = {}
    for reply in exchange(grid, requests, timeout=timeout, stop=Event(), traffic=Traffic()):
        shop, outcome = _outcome(reply)
        outcomes[shop] = outcome
        seen = {"run": release.manifest.run, "round": release.manifest.round, "shop": shop}
        LOG.info("release %d at shop=%s: %s", number, shop, outcome, extra=seen)
    path = folder.releases / f"{number:05d}" / "installed.json"
    write_atomic(path, canonical(outcomes), durable=True, private=True)
    return outcomes


def _outcome(reply: Message) -> tuple[str, str]:
    node = f"node-{reply.metadata.src_node_id}"
    if not reply.has_content():
        return node, "no answer"
    status = reply.content.config_records.get(messages.STATUS, ConfigRecord({}))
    shop = str(status.get("shop", node))
    return shop, str(status["code"]) if "code" in status else "installed"
