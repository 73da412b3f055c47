"""`fedprofile server renew`: a new TLS certificate before the old one has expired."""

from __future__ import annotations

from server.deploy.folder import ServerFolder
from server.deploy.setup import renew_certificate
from shared.deploy.certificates import days_left
from shared.errors import ConfigError


def renew(folder: ServerFolder, *, days: int) -> None:
    """Makes a new server certificate for the names in `server.toml`.

    Args:
        folder: The coordinator's folder.
        days: Days from now after which it is no longer valid.

    Raises:
        ConfigError: It would not be valid or outlive the authority, a file is missing, or the
            passphrase is not right. The old certificate stays.
    """
    most = days_left(folder.authority)
    if not 1 <= days <= most:
        raise ConfigError(
            f"--days {days}: must be between 1 and {most}, the days that the authority is still "
            "valid; give another number"
        )
    renew_certificate(folder, days=days)
