"""A server whose owner changed the code: it asks nodes for what no honest server asks.

`python -m tests.deploy.faults.hostile_server` is `fedprofile` but for the acts that are named in
`HOSTILE_ACTS`, separated by commas. What each node answered stands in the file `HOSTILE_ANSWERS`,
a line of act, shop and code each; the code is `answered` where it refused nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict

from server.coordinator.folder import ServerFolder
from server.coordinator.roster import RosterFiles
from server.federation.exchange import read_replies
from server.federation.federated_run import Refusal
from server.federation.secure_sums import Asks, SecureSums
from shared.protocol import messages
from shared.protocol.messages import from_record, to_record
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.messages import ConfirmRequest, OpenRequest
from shared.secure_aggregation.roster import SignedRoster

ACTS, ANSWERS = "HOSTILE_ACTS", "HOSTILE_ANSWERS"
MODULE = "tests.deploy.faults.hostile_server"


def note_answers(act: str, step: Asks, requests: list[Message]) -> None:
    """Sends requests and notes what each node answered."""
    refusals: list[Refusal] = []
    replies = read_replies(
        step.ask(requests), lambda _: None, round=step.number, refusals=refusals, kind=step.kind
    )
    answered = [(shop, "answered") for _, shop, _ in replies]
    with Path(os.environ[ANSWERS]).open("a") as file:
        for shop, code in [*answered, *((r.shop, r.code) for r in refusals)]:
            file.write(f"{act} {shop} {code}\n")


def ask_for_sums_of_one(sums: SecureSums, step: Asks, masked: MaskedSum) -> None:
    """Asks each shop to sign a sum of its own numbers alone."""
    release = masked.confirm_request().release
    asked = [
        sums._request(
            node, messages.CONFIRM_QUERY, ConfirmRequest(release=release, survivors=(shop,))
        )
        for node, shop in sums._nodes.items()
    ]
    note_answers("sum-of-one", step, asked)


def ask_for_second_set(sums: SecureSums, step: Asks, masked: MaskedSum) -> None:
    """Asks for signatures under one shop less: the difference would be that shop's numbers."""
    first = masked.confirm_request()
    second = ConfirmRequest(release=first.release, survivors=first.survivors[1:])
    requests = sums._to(second.survivors, messages.CONFIRM_QUERY, second)
    note_answers("second-set", step, requests)


def ask_with_few_signatures(sums: SecureSums, step: Asks, masked: MaskedSum) -> None:
    """Asks for shares with one signature in place of m."""
    request = masked.open_request()
    shop, signature = next(iter(request.signatures.items()))
    few = OpenRequest(release=request.release, signatures={shop: signature})
    note_answers("few-signatures", step, sums._to(masked.survivors, messages.OPEN_QUERY, few))


def other_question(request: Message) -> None:
    """Changes the adapter that a shop is to train."""
    adapter = from_record(request.content.array_records[messages.ADAPTER])
    changed = {name: array + array.dtype.type(1e-3) for name, array in adapter.items()}
    records = dict(request.content.items())
    request.content = RecordDict({**records, messages.ADAPTER: to_record(changed)})


Patched = Callable[..., Any]


def confirm_more(honest: Patched, acts: Iterable[str]) -> Patched:
    """Asks for other sets, before and after the honest one."""

    def confirm(sums: SecureSums, step: Asks, masked: MaskedSum, refusals: list[Refusal]) -> None:
        if "sum-of-one" in acts and step.kind == "counts":
            ask_for_sums_of_one(sums, step, masked)
        honest(sums, step, masked, refusals)
        if "second-set" in acts and step.kind == "counts":
            ask_for_second_set(sums, step, masked)
        if "few-signatures" in acts and step.kind == "train":
            ask_with_few_signatures(sums, step, masked)

    return confirm


def ask_again(honest: Patched) -> Patched:
    """Asks each shop another question for the same release, after it answered the first one."""

    def add(sums: SecureSums, step: Asks, masked: MaskedSum, requests: list[Message], *rest: Any):  # type: ignore[no-untyped-def]
        honest(sums, step, masked, requests, *rest)
        if step.kind == "train":
            for request in requests:
                other_question(request)
            note_answers("other-question", step, _anew(sums, requests))

    return add


def _anew(sums: SecureSums, requests: list[Message]) -> list[Message]:
    """Returns messages of their own with the content of others, whose letters they hold."""
    return [
        Message(
            request.content,
            dst_node_id=request.metadata.dst_node_id,
            message_type=request.metadata.message_type,
            group_id=request.metadata.group_id,
            ttl=sums._federation.settings.round_timeout,
        )
        for request in requests
    ]


def ask_one_otherwise(honest: Patched) -> Patched:
    """Asks one shop another question than the others, as the first one for the release."""

    def add(sums: SecureSums, step: Asks, masked: MaskedSum, requests: list[Message], *rest: Any):  # type: ignore[no-untyped-def]
        if step.kind == "train":
            dealers = sums._dealers or ()
            first = next(r for r in requests if sums._nodes.get(r.metadata.dst_node_id) in dealers)
            other_question(first)
        honest(sums, step, masked, requests, *rest)

    return add


def pretend_all_signed(folder: ServerFolder) -> SignedRoster:
    """Takes the roster that was made last for signed."""
    files = RosterFiles(folder)
    roster = files.roster()
    assert roster is not None
    return SignedRoster(roster=roster, signatures=files.signatures(roster))


def patch(acts: set[str]) -> None:
    """Changes the server's code."""
    from server.runs import attempt, lifecycle

    SecureSums._confirm = confirm_more(SecureSums._confirm, acts)  # type: ignore[method-assign]
    if "other-question" in acts:
        SecureSums._add_inputs = ask_again(SecureSums._add_inputs)  # type: ignore[method-assign]
    if "one-otherwise" in acts:
        SecureSums._add_inputs = ask_one_otherwise(SecureSums._add_inputs)  # type: ignore[method-assign]
    if "unsigned-roster" in acts:
        lifecycle.signed_roster = attempt.signed_roster = pretend_all_signed


def run_attempts_of_this_module() -> None:
    """Lets `server run` start its attempts with the changed code."""
    from server.runs import supervision

    honest = subprocess.run

    def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        own = [MODULE if word == "server.runs.attempt" else word for word in words]
        return honest(own, **options)

    supervision.subprocess.run = run  # type: ignore[attr-defined]


def main() -> None:
    """Runs an attempt, or the command."""
    patch(set(os.environ[ACTS].split(",")))
    if sys.argv[2] in ("rounds", "send", "roster"):
        from server.runs import attempt

        sys.stderr.flush()
        os._exit(attempt.main(*sys.argv[1:]))
    run_attempts_of_this_module()
    from shared.cli import main as command

    command()


if __name__ == "__main__":
    main()
