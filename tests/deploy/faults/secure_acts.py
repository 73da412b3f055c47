"""What a faulty or hostile shop does at one message of a secure sum; runs in a request's process.

`hostile.json` names acts by message: `keys`, `shares`, and with the sum's name `input counts`,
`confirm counts`, `open adapter-1`. Each is done once.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from client.deploy import request_process as task_process
from client.deploy.folder import NodeFolder
from shared.protocol import messages
from shared.protocol.secure_sums import CONTENT, message_in, message_record
from shared.secure_aggregation.messages import OpenedShares

WITHOUT_SUM = (messages.KEYS_QUERY, messages.SHARES_QUERY, messages.END_QUERY)
OLD_KEYS = "old-keys"
"""File of the keys that the node showed in an earlier run."""


def message_name(message: Message) -> str:
    """Names a message as `hostile.json` does."""
    kind = message.metadata.message_type.removeprefix("query.")
    if kind in WITHOUT_SUM or messages.AGGREGATION not in message.content.config_records:
        return kind
    step = kind if kind in (messages.CONFIRM_QUERY, messages.OPEN_QUERY) else "input"
    return f"{step} {json.loads(_content(message))['release']}"


def take_act(folder: Path, name: str) -> str:
    """Returns what is to be done at a message, once; empty for nothing."""
    path = folder / "hostile.json"
    plan: dict[str, str] = json.loads(path.read_text())
    act = plan.pop(name, "")
    if act:
        path.write_text(json.dumps(plan))
    return act


def _die(parent: int) -> None:
    """Ends this process at once, and the node, which signs off: no heartbeat has to be missed."""
    os.kill(parent, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(folder: Path) -> None:
    (folder / "waiting").touch()
    while not (folder / "go").exists():
        time.sleep(0.1)
    for name in ("waiting", "go"):
        (folder / name).unlink()


def _fill_disk() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))


def _keep_keys(reply: Message, folder: Path) -> None:
    (folder / OLD_KEYS).write_bytes(_content(reply))


def _show_old_keys(reply: Message, folder: Path) -> None:
    record = reply.content.config_records[messages.AGGREGATION]
    record[CONTENT] = (folder / OLD_KEYS).read_bytes()


def _content(message: Message) -> bytes:
    content = message.content.config_records[messages.AGGREGATION][CONTENT]
    assert isinstance(content, bytes)
    return content


def _open_false_shares(reply: Message, _: Path) -> None:
    opened = message_in(reply.content, OpenedShares)
    false = {dealer: bytes([share[0] ^ 1]) + share[1:] for dealer, share in opened.shares.items()}
    changed = opened.model_copy(update={"shares": false})
    reply.content[messages.AGGREGATION] = message_record(changed)


CHANGES: dict[str, Callable[[Message, Path], None]] = {
    "keep-keys": _keep_keys,
    "old-keys": _show_old_keys,
    "false-shares": _open_false_shares,
}
"""Acts that change a reply."""


def acting(app: ClientAppCallable, folder: Path, parent: int) -> ClientAppCallable:
    """Returns an app that does what `hostile.json` says."""

    def run(message: Message, context: Context) -> Message:
        act = take_act(folder, message_name(message))
        if act == "die-before":
            _die(parent)
        elif act == "hold":
            _wait(folder)
        elif act == "full-disk":
            _fill_disk()
        reply = app(message, context)
        if act == "die-after":
            _die(parent)
        if act in CHANGES:
            CHANGES[act](reply, folder)
        return reply

    return run


def answer(address: str, token: str, folder: Path, parent: int, passphrase: bytes | None) -> None:
    """Answers as `task_process.answer_request` does, and acts."""
    honest = task_process.make_deployed_app

    def make(node: NodeFolder, **options: object):  # type: ignore[no-untyped-def]
        return acting(honest(node, **options), folder, parent)  # type: ignore[arg-type]

    task_process.make_deployed_app = make
    honest_answer(address, token, folder, parent, passphrase)


honest_answer = task_process.answer_request
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
