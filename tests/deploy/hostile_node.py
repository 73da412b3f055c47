"""A node whose owner changed the code: `hostile.json` says what it does in which round."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import hostile_sending
    import hostile_tasks

    from client.deploy import executor, supernode, task_process
    from client.deploy.folder import NodeFolder

    task_process.answer = hostile_tasks.answer
    hostile_sending.hold_in(Path(sys.argv[1]))
    assert executor.POLL
    supernode.start_node(NodeFolder(Path(sys.argv[1])))
