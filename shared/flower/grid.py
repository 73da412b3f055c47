"""Bases for grids: Flower's `Grid` asks for methods that the project's own never use."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class RunGrid(Grid):
    """A grid that holds its run's description and makes messages in Flower's older way.

    Args:
        run: Its description.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def set_run(self, run: Run) -> None:
        """Sets the run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Creates a request, as Flower's older interface asks."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


class PassingGrid(RunGrid):
    """A grid around another one; what a subclass does not change is passed on.

    Args:
        grid: The other one.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Run) -> None:
        """Sets the run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._grid.run

    def get_node_ids(self) -> Iterable[int]:
        """Returns the connected nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends requests and returns their ids."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Returns the replies that have come."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Sends and waits; `server.federation.exchange` does it with its own clock instead."""
        return self._grid.send_and_receive(messages, timeout=timeout)
