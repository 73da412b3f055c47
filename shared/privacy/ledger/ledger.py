"""One shop's ledger: reserve before the first noisy step, commit what left, never unspend."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from shared.environment import installed_version
from shared.errors import PrivacyError
from shared.privacy.accounting import ADJACENCY, UNIT
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.admission import admit, check_repeat, planning_of
from shared.privacy.ledger.chain import Chain, rotation_bytes
from shared.privacy.ledger.entries import (
    Adapter,
    Body,
    Commit,
    Countersignature,
    Entry,
    Genesis,
    KeyRotation,
    Limits,
    Planning,
    Round,
    canonical,
    signed_bytes,
)
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.receipts import Receipt
from shared.privacy.ledger.shop_files import (
    Anchor,
    ShopFiles,
    read_anchor,
    shop_of,
    write_anchor,
)
from shared.privacy.ledger.storage import LockedFile, locked

LOG = logging.getLogger("fedprofile.ledger")
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Returns what the machine's clock says."""
    return datetime.now(UTC)
