"""What a shop answers when the server asks for its key and its signature of a roster."""

from __future__ import annotations

from flwr.app import ConfigRecord
from pydantic import ValidationError

from shared.errors import PrivacyError
from shared.keys.signing import Digest, Signature
from shared.settings.run_settings import Settings


class RosterAnswer(Settings):
    """A shop's answer; nothing in it comes from its data."""

    key: Digest
    """Public key of the shop's ledger, which is its key in a roster."""
    signature: Signature | None = None
    """Of the roster that was offered, if the shop's owner accepted it."""
    held: Digest | None = None
    """Fingerprint of the roster signed by all that the node holds."""

    def record(self) -> ConfigRecord:
        """Returns what is sent."""
        return ConfigRecord(self.model_dump(exclude_none=True))

    @classmethod
    def of(cls, record: ConfigRecord | None) -> RosterAnswer:
        """Reads what came.

        Raises:
            PrivacyError: It is no such answer.
        """
        try:
            return cls.model_validate(dict(record or {}))
        except ValidationError as error:
            raise PrivacyError(
                "cannot be read",
                name="answer about the roster",
                remedy="update the node's software to the server's version",
            ) from error
