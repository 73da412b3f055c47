"""A node whose owner changed the code: `hostile.json` says what it does in which round."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from client.deploy import node_process
    from client.deploy.folder import NodeFolder
    from shared.flower.node import executor
    from tests.deploy.faults import hostile_sending, hostile_tasks

    node_process.answer = hostile_tasks.answer
    hostile_sending.hold_in(Path(sys.argv[1]))
    assert executor.POLL_SECONDS
    node_process.start_node(NodeFolder(Path(sys.argv[1])))
