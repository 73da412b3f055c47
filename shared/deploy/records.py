"""Keys of what a deployed server and its nodes send besides rounds."""

from __future__ import annotations

INSTALL_QUERY = "install"
"""Name of the query (`query.install`) that brings a release."""
RELEASE = "release"
"""ConfigRecord: `manifest` and `file` as bytes, `signature` (server to shop)."""
RECEIPTS = "receipts"
"""ConfigRecord: `lines`, receipts of the shop's heads as JSON lines (server to shop)."""
LEDGER = "ledger"
"""ConfigRecord: `entry` and `head` of the shop's ledger after the reply (shop to server)."""
INSTALLED = "installed"
"""ConfigRecord: `number` of the release that the shop has installed (shop to server)."""
