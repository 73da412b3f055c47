"""Where the time of a federated round goes, from what the server and the nodes log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.errors import RunError

ROUND = re.compile(r"round (\d+): (\d+) good, \d+ refused, ([\d.]+) s")
ANSWERED = re.compile(r"train answered after ([\d.]+) s")


@dataclass(frozen=True)
class Span:
    """A round as the server saw it; times are seconds since 1970.

    Attributes:
        number: From 1; 0 is a request for item counts or pairs.
        good: Replies that counted.
        start: When the server began to send.
        end: When the last update was aggregated.
    """

    number: int
    good: int
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.end - self.start


@dataclass(frozen=True)
class Answer:
    """A round in one node; times are seconds since 1970.

    Attributes:
        received: When Flower had found and fetched the request.
        local: Seconds of its own training: reading data, opening the model, DP-SGD, ledger.
        done: When the training ended.
        sent: When Flower had sent the update.
    """

    received: float
    local: float
    done: float
    sent: float


@dataclass(frozen=True)
class RoundParts:
    """A round's wall time, taken apart along the node that answered last; all in seconds.

    Attributes:
        wall: All of it.
        local: Computation of that node.
        polling: Flower's: its pauses between two looks, and what it takes to fetch and to send.
    """

    wall: float
    local: float
    polling: float

    @property
    def beside(self) -> float:
        """Wall time without polling, as a multiple of the local computation."""
        return (self.wall - self.polling) / self.local


def spans(log: Iterable[str]) -> list[Span]:
    """Reads the rounds from the server's log, JSON lines."""
    rounds = []
    for entry in map(json.loads, log):
        match = ROUND.match(entry["message"])
        if match:
            end = _seconds(entry)
            rounds.append(Span(int(match[1]), int(match[2]), end - float(match[3]), end))
    return rounds


def answers(printed: Sequence[tuple[float, str]], log: Iterable[str]) -> list[Answer]:
    """Puts together what a node's Flower printed and what the node logged, a round each.

    Args:
        printed: Time and text of each line.
        log: The node's log, JSON lines.

    Raises:
        RunError: They tell of different numbers of rounds.
    """
    received = _ends(printed, "Receiving", "Received successfully")
    sent = _ends(printed, "Sending", "Sent successfully")
    trained = []
    for entry in map(json.loads, log):
        match = ANSWERED.match(entry["message"])
        if match:
            trained.append((_seconds(entry), float(match[1])))
    if not len(received) == len(trained) == len(sent):
        raise RunError(
            f"received={len(received)}, trained={len(trained)} and sent={len(sent)} rounds must be "
            "the same",
            remedy="see the node's log",
        )
    return [
        Answer(came, local, done, went)
        for came, (done, local), went in zip(received, trained, sent, strict=True)
    ]


def parts(span: Span, replies: Iterable[Answer]) -> RoundParts:
    """Takes a round apart.

    Args:
        span: As the server saw it.
        replies: Of all nodes.
    """
    last = max(replies, key=lambda answer: answer.sent)
    polling = max(0.0, last.received - span.start) + max(0.0, last.sent - last.done)
    return RoundParts(wall=span.seconds, local=last.local, polling=polling)


def _ends(printed: Sequence[tuple[float, str]], begin: str, end: str) -> list[float]:
    """Returns when each training message was through; some loggers print a line twice."""
    ends: list[float] = []
    waiting = False
    for time, text in printed:
        if f"{begin}: " in text:
            waiting = f"{begin}: train message" in text
        elif waiting and end in text:
            ends.append(time)
            waiting = False
    return ends


def _seconds(entry: dict[str, str]) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()
