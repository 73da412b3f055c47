"""The end of a run: sign what was trained and counted, and send it to the nodes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Event

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.deploy.folder import ServerFolder
from server.deploy.metrics import Recorder
from server.deploy.registry import Registry, Release
from server.deploy.run_folder import Run
from server.exchange import Traffic, exchange
from server.federation import Federation, FederationResult
from server.planning import mechanisms_of
from shared import messages
from shared.deploy import records
from shared.deploy.invitation import PublicBase
from shared.deploy.owner_files import write_owner_file
from shared.deploy.tally import Tally
from shared.privacy.accounting import guarantee
from shared.privacy.ledger.entries import canonical

LOG = logging.getLogger("fedprofile.server")


def finish(
    run: Run,
    federation: Federation,
    result: FederationResult,
    public: PublicBase,
    *,
    updates: set[tuple[str, str]],
) -> list[Release]:
    """Adds a run's releases to the registry; a second call returns the same ones.

    Args:
        run: The run.
        federation: What was run.
        result: Its end.
        public: The base.
        updates: Shop and round of each update that came.
    """
    registry, state = Registry(run.server), run.state()
    if state.releases:
        return [registry.read(number) for number in state.releases]
    settings, plan = run.settings(), federation.plan
    mechanisms = mechanisms_of(settings)
    refused = {(refusal.shop, str(refusal.round)) for refusal in result.refusals}
    fields = {
        "run": run.number,
        "base_hash": public.base_hash,
        "plan": plan.digest(),
        "participants": tuple(sorted({shop for shop, _ in updates - refused})),
        "privacy": guarantee(mechanisms, delta=settings.privacy.delta).to_json(),
    }
    made: list[Release] = []
    if result.counts is not None:
        noise = plan.counts_noise_multiplier * run.state().nodes ** 0.5
        counts = {messages.COUNTS: result.counts}
        statistics = {"noise_std": noise}
        made.append(registry.add("counts", counts, round=0, statistics=statistics, **fields))
    parents = tuple(release.manifest.number for release in made)
    scale = {"scale": plan.scale, "half_life": plan.half_life}
    made.append(
        registry.add(
            "adapter",
            result.adapter,
            round=plan.rounds,
            parents=parents,
            statistics=scale,
            **fields,
        )
    )
    numbers = tuple(release.manifest.number for release in made)
    run.note(releases=numbers, round=plan.rounds)
    return made


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
