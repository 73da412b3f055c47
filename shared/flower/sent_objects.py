"""What of a message goes over the wire: its objects as the bytes that Flower sends, and back."""

from __future__ import annotations

from typing import cast

from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

SentObjects = dict[str, bytes]
"""Bytes of each object by its id, the whole last."""


def sent_objects(message: Message | RecordDict) -> SentObjects:
    """Serialises a message, or its content, as a SuperNode does before it sends it."""
    objects = get_all_nested_objects(message)
    return {number: part.deflate() for number, part in objects.items()}


def received_message(objects: SentObjects) -> Message:
    """Builds the message of these bytes, as the server does.

    Raises:
        ValueError: They are not one message with its parts.
    """
    number = list(objects)[-1]
    return cast(Message, inflate_object_from_contents(number, dict(objects)))
