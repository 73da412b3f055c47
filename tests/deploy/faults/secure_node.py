"""A node with changed code: `hostile.json` says what it does at which message of a sum."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from client.deploy import node_process
    from client.deploy.folder import NodeFolder
    from tests.deploy.faults import secure_acts

    node_process.answer = secure_acts.answer
    node_process.start_node(NodeFolder(Path(sys.argv[1])))
