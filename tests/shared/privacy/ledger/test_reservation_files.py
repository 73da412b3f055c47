"""A reader follows a reservation through few files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import shared
from tests.shared.privacy.ledger.shop_ledgers import open_ledger, request

SHARED = Path(shared.__file__).parent


def test_a_reservation_runs_thirteen_files(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(SHARED):
            files.add(path.relative_to(SHARED).as_posix())

    sys.setprofile(note)
    try:
        ledger.reserve(request(1))
    finally:
        sys.setprofile(None)
    assert files == {
        "keys/signing.py",
        "privacy/accounting/accountants.py",
        "privacy/ledger/admission.py",
        "privacy/ledger/ledger.py",
        "privacy/ledger/log/chain.py",
        "privacy/ledger/log/line_format.py",
        "privacy/ledger/log/log_file.py",
        "privacy/ledger/log/rules.py",
        "privacy/ledger/log/shop_files.py",
        "privacy/ledger/log/state.py",
        "privacy/ledger/restoration.py",
        "privacy/ledger/spending.py",
        "runtime/file_store.py",
    }
