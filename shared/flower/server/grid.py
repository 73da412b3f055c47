"""Flower's connection to the nodes, safe against replies that are huge, broken or half sent.

flwr 1.41 (`HttpGrid.pull_messages`) waits for a reply whose sender died while sending, up to 500
times and with all other replies behind it; and it builds whatever array a reply describes: one
chunk of zeros, named fifty times, becomes a gigabyte. Here replies arrive side by side, and sizes
are summed before anything is built.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import (
    get_object_head_values_from_object_content as object_head,
)
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid import HttpGrid

from shared.flower.reply_codes import REPLY_UNAVAILABLE, RefusalCode
from shared.protocol.messages import STATUS

LOG = logging.getLogger("fedprofile.server")
ENVELOPE_BYTES = 65_536
"""Bytes of a reply besides its arrays: names, status, ledger head."""
MAX_OBJECTS = 4096
"""Parts of one reply."""
STALLED_SECONDS = 60.0
"""Seconds without a new part after which a reply is given up."""


@dataclass
class PartialReply:
    """A reply of which some parts may still be on their way.

    Attributes:
        proto: Flower's message without its content.
        parts: Object ids of the content.
        contents: What has come, by object id.
        last_part: Monotonic time at which the last part came.
    """

    proto: Any
    parts: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    last_part: float = field(default_factory=time.monotonic)


class _ReplyRefusedError(Exception):
    def __init__(self, code: RefusalCode, remedy: str) -> None:
        super().__init__(code)
        self.code, self.remedy = code, remedy


class BoundedGrid(HttpGrid):
    """Takes replies as they come, none larger than `max_bytes`, and tells of nodes that are gone.

    Attributes:
        max_bytes: Of one reply, sent or built.
    """

    max_bytes = ENVELOPE_BYTES

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._node_of_request: dict[str, int] = {}
        self._arriving: dict[str, PartialReply] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends requests and remembers whom each one asked."""
        requests = list(messages)
        ids = list(super().push_messages(requests))
        nodes = (message.metadata.dst_node_id for message in requests)
        self._node_of_request |= dict(zip(ids, nodes, strict=False))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Returns the replies that are whole, and a refusal for each that will never be.

        What is still on its way to a request that nobody waits for any more is given up: it may not
        come out among the replies to a later one.
        """
        waiting = set(message_ids)
        self._arriving = {k: reply for k, reply in self._arriving.items() if k in waiting}
        unseen = sorted(waiting - self._arriving.keys())
        if unseen:
            request = PullAppMessagesRequest(message_ids=unseen)
            answer = self._runtime_client.PullMessages(request)
            for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
                nodes = islice(iterate_object_tree(tree), MAX_OBJECTS + 1)
                parts = [node.object_id for node in nodes]
                self._arriving[proto.metadata.reply_to_message_id] = PartialReply(proto, parts)
        return list(self._complete_replies())

    def _complete_replies(self) -> Iterator[Message]:
        online: set[int] | None = None
        for key, reply in list(self._arriving.items()):
            node = self._node(reply)
            try:
                if self._fetch(reply):
                    message = self._build(reply)
                else:
                    online = set(self.get_node_ids()) if online is None else online
                    if node in online and time.monotonic() - reply.last_part < STALLED_SECONDS:
                        continue
                    remedy = "the node died or was cut off while it sent"
                    raise _ReplyRefusedError(RefusalCode.NODE_ERROR, remedy)
            except _ReplyRefusedError as refusal:
                status = ConfigRecord({"code": str(refusal.code), "remedy": refusal.remedy})
                message = self._message(reply, RecordDict({STATUS: status}))
            del self._arriving[key]
            yield message

    def _fetch(self, reply: PartialReply) -> bool:
        """Fetches what has come, part by part; says whether that is all."""
        if len(reply.parts) > MAX_OBJECTS:
            raise _ReplyRefusedError(RefusalCode.SIZE, f"expected {MAX_OBJECTS} parts at most")
        total = sum(map(len, reply.contents.values()))
        for part in dict.fromkeys(reply.parts):
            if part in reply.contents:
                continue
            run = reply.proto.metadata.run_id
            request = PullObjectRequest(node=self.node, run_id=run, object_id=part)
            answer = self._runtime_client.PullObject(request)
            if not answer.object_found:
                raise _ReplyRefusedError(RefusalCode.NODE_ERROR, "the reply broke off")
            if not answer.object_available:
                return False  # Flower's `pull_objects` would wait here, all other replies with it
            total += len(answer.object_content)
            self._check_size(total)
            reply.contents[part], reply.last_part = answer.object_content, time.monotonic()
        return True

    def _build(self, reply: PartialReply) -> Message:
        metadata = reply.proto.metadata
        number, run = metadata.message_id, metadata.run_id
        confirm = ConfirmMessageReceivedRequest(
            node=self.node, run_id=run, message_object_id=number
        )
        self._runtime_client.ConfirmMessageReceived(confirm)
        try:
            # Before anything is built: an array may name one chunk over and over.
            self._check_size(sum(decoded_sizes(reply.contents)))
            built = cast(Message, inflate_object_from_contents(number, reply.contents))
            if built.has_error():
                raise _flower_error(built.error.code)
            return self._message(reply, built.content)
        except _ReplyRefusedError:
            raise
        except Exception as error:
            LOG.warning("a reply cannot be read (%s)", type(error).__name__)
            raise _ReplyRefusedError(RefusalCode.MALFORMED, "send what flwr sends") from error

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            remedy = f"a reply may have {self.max_bytes} bytes; same plan?"
            raise _ReplyRefusedError(RefusalCode.SIZE, remedy)

    def _node(self, reply: PartialReply) -> int:
        """Returns who was asked; the SuperLink itself answers for a node that is gone."""
        source: int = reply.proto.metadata.src_node_id
        if source == SUPERLINK_NODE_ID:
            return self._node_of_request.get(reply.proto.metadata.reply_to_message_id, source)
        return source

    def _message(self, reply: PartialReply, content: RecordDict) -> Message:
        metadata = message_from_proto(reply.proto).metadata
        metadata.__dict__["_src_node_id"] = self._node(reply)
        return make_message(metadata=metadata, content=content)


def _flower_error(code: int) -> _ReplyRefusedError:
    if code in REPLY_UNAVAILABLE:
        return _ReplyRefusedError(RefusalCode.TIMEOUT, "raise round_timeout or look at the node")
    remedy = f"Flower's code {code}; see the node's own log"
    return _ReplyRefusedError(RefusalCode.NODE_ERROR, remedy)


def decoded_sizes(contents: dict[str, bytes]) -> Iterator[int]:
    """Yields what each part needs once it is built; an array may name a chunk many times.

    Raises:
        ValueError: A part is not what Flower sends.
    """
    for content in contents.values():
        kind, children, size = object_head(content)
        if kind != "ArrayChunk":  # counted where an array names it
            yield len(content)
        if kind == "Array":
            described = json.loads(content[len(content) - size :])
            for chunk in described["arraychunk_ids"]:
                yield len(contents[children[chunk]])
