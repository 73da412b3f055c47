"""The end of a run: sign what was trained and counted, and send it to the nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any, TypeAlias

import numpy.typing as npt
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.deploy.folder import ServerFolder
from server.deploy.metrics import Recorder
from server.deploy.registry import Kind, Registry, Release
from server.deploy.run_folder import Run
from server.exchange import Traffic, exchange
from server.federation import Federation, FederationResult
from server.planning import mechanisms_of
from shared import messages
from shared.deploy import records
from shared.deploy.invitation import PublicBase
from shared.deploy.owner_files import write_owner_file
from shared.deploy.tally import Tally
from shared.plan import Plan
from shared.privacy.accounting import guarantee
from shared.privacy.guarantee import COUNTS_MAX_NORM
from shared.privacy.ledger.entries import canonical
from shared.releases.pairs import MAX_NORM as PAIRS_MAX_NORM

LOG = logging.getLogger("fedprofile.server")
Contents: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Arrays of a release by name."""
RECORDS = {"counts": messages.COUNTS, "pairs": messages.PAIRS, "adapter": messages.UPDATE}
"""Kind of a release -> array record of the replies that it is made of."""


def finish(
    run: Run,
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
    registry, state = Registry(run.server), run.state()
    if state.releases:
        return [registry.read(number) for number in state.releases]
    settings, plan = run.settings(), federation.plan
    fields = {
        "run": run.number,
        "base_hash": public.base_hash,
        "plan": plan.digest(),
        "privacy": guarantee(mechanisms_of(settings), delta=settings.privacy.delta).to_json(),
    }
    counted = _counted(replies, result)
    made: list[Release] = []
    for kind, arrays, number, statistics in _contents(plan, result):
        parents = tuple(release.manifest.number for release in made)
        shops = tuple(sorted(shop for shop, name in counted if name == RECORDS[kind]))
        made.append(
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
    run.note(releases=tuple(release.manifest.number for release in made), round=plan.rounds)
    return made


def _counted(replies: set[tuple[str, str, str]], result: FederationResult) -> set[tuple[str, str]]:
    """Returns shop and array record of what counted."""
    refused = {
        (refusal.shop, str(refusal.round), RECORDS.get(refusal.kind, messages.UPDATE))
        for refusal in result.refusals
    }
    return {(shop, name) for shop, _, name in replies - refused}


def _contents(
    plan: Plan, result: FederationResult
) -> Iterator[tuple[Kind, Contents, int, dict[str, float]]]:
    """Yields kind, arrays, last round and public numbers of each release, parents first.

    The noise of a sum is that of the shops whose reply is in it.
    """
    shops = {info.kind: info.good for info in result.rounds}
    if result.counts is not None:
        std = plan.counts_noise_multiplier * COUNTS_MAX_NORM * shops["counts"] ** 0.5
        yield "counts", {messages.COUNTS: result.counts}, 0, {"noise_std": std}
    if result.pairs is not None and result.head is not None:
        std = plan.pairs_noise_multiplier * PAIRS_MAX_NORM * shops["pairs"] ** 0.5
        arrays: Contents = {messages.HEAD: result.head, messages.PAIRS: result.pairs}
        yield "pairs", arrays, 0, {"noise_std": std}
    scale = {"scale": plan.scale, "half_life": plan.half_life}
    yield "adapter", result.adapter, plan.rounds, scale


def send(grid: Grid, releases: Sequence[Release], folder: ServerFolder) -> dict[str, str]:
    """Sends releases to all connected nodes and notes who installed them.

    Returns:
        By shop: `installed`, or why not.
    """
    found: dict[str, str] = {}
    recorder = Recorder(Tally(folder.tally))
    for release in releases:
        with recorder.phase("send"):
            found = _send_one(grid, release, folder)
        recorder.sent(found.values())
    return found


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
    found = {}
    for reply in exchange(grid, requests, timeout=timeout, stop=Event(), traffic=Traffic()):
        shop, outcome = _outcome(reply)
        found[shop] = outcome
        seen = {"run": release.manifest.run, "round": release.manifest.round, "shop": shop}
        LOG.info("release %d at shop=%s: %s", number, shop, outcome, extra=seen)
    path = folder.releases / f"{number:05d}" / "installed.json"
    write_owner_file(path, canonical(found))
    return found


def _outcome(reply: Message) -> tuple[str, str]:
    node = f"node-{reply.metadata.src_node_id}"
    if not reply.has_content():
        return node, "no answer"
    status = reply.content.config_records.get(messages.STATUS, ConfigRecord({}))
    shop = str(status.get("shop", node))
    return shop, str(status["code"]) if "code" in status else "installed"
