"""API keys of a node: their roles, the files that hold them, and the page's sessions.

| File | Holds |
|---|---|
| `STORE.key` | the owner's key, as it is sent; made at the first start |
| `STORE.keys` | names, roles and SHA-256 of all further keys |

Both are for their owner alone (mode 600) and count as they are at the moment: a key that is added,
changed or removed counts within a second, without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy.engine import make_url

from shared.errors import ConfigError
from shared.runtime.file_store import write_atomic

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
OWNER = "owner"
"""Name of the key in `STORE.key` or FEDPROFILE_API_KEY."""
MIN_LENGTH = 16
"""Characters of a key at least."""
SESSION_SECONDS = 12 * 3600
"""Seconds after which the page asks for the key again."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LOOK_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    """A key, without what is sent.

    Attributes:
        name: Who it was made for; letters, digits, `-` and `_`.
        role: What it may do.
        sha256: Of what is sent, in hexadecimal digits.
    """

    name: str
    role: Role
    sha256: str

    def may(self, role: Role) -> bool:
        """Says whether it may do what needs `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class AccessFiles:
    """Where a node's keys and its audit log are.

    Attributes:
        base: Path without the last ending.
    """

    base: Path

    @classmethod
    def beside(cls, store: str) -> AccessFiles:
        """Returns those of a database: beside its file, or in the state folder of who runs it.

        Args:
            store: URL of the database.
        """
        url = make_url(store)
        if url.get_backend_name() == "sqlite" and url.database:
            return cls(Path(url.database))
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        place = f"{url.host}:{url.port}/{url.database}"
        code = hashlib.sha256(place.encode()).hexdigest()[:8]
        return cls(state / "fedprofile" / f"{url.database}-{code}")

    @property
    def owner_key(self) -> Path:
        """The file of the owner's key."""
        return self._with(".key")

    @property
    def further_keys(self) -> Path:
        """The file of all further keys."""
        return self._with(".keys")

    @property
    def audit(self) -> Path:
        """The file of the audit log."""
        return self._with(".audit.jsonl")

    def _with(self, ending: str) -> Path:
        return self.base.with_name(self.base.name + ending)


def make_owner_key(files: AccessFiles) -> str | None:
    """Makes the owner's key where there is none yet, and returns it then.

    Raises:
        StorageError: The file cannot be written.
    """
    if files.owner_key.exists():
        return None
    key = secrets.token_urlsafe(24)
    written = write_atomic(
        files.owner_key,
        f"{key}\n".encode(),
        durable=True,
        private=True,
        overwrite=False,
        name="file of the API key",
        remedy="set FEDPROFILE_API_KEY, or choose a folder that can be written with --store",
    )
    return key if written else None


class KeyRing:
    """All keys of a node, as their files are now.

    Args:
        files: None for a ring that has no files.
        owner_key: Takes the place of `STORE.key`; None reads that.

    Raises:
        ConfigError: A file is damaged or cannot be read. Later on such a file leaves the keys as
            they are.
    """

    def __init__(self, files: AccessFiles | None = None, *, owner_key: str | None = None) -> None:
        self.files = files
        self._secret = secrets.token_bytes(32)
        self._fixed = [] if owner_key is None else [ApiKey(OWNER, "admin", _sha256(owner_key))]
        self._looked = float("-inf")
        self._stamps: list[tuple[int, ...]] | None = None
        self._keys: Sequence[ApiKey] = self._fixed
        self._fault = ""
        if files is not None:
            self._read(files)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys by intention, so that everybody is let in."""
        return self.files is None and not self._fixed

    def find(self, sent: bytes) -> ApiKey | None:
        """Returns the key that was sent, None for none of them."""
        digest = hashlib.sha256(sent).hexdigest()
        # compare_digest: a comparison that stops at the first difference tells by its time.
        hits = [key for key in self._current() if hmac.compare_digest(key.sha256, digest)]
        return hits[0] if hits else None

    def begin_session(self, key: ApiKey, *, now: float | None = None) -> str:
        """Returns the cookie of a session, which ends by itself and with its key."""
        ends = int((time.time() if now is None else now) + SESSION_SECONDS)
        return f"{key.name}.{ends}.{self._mac(key, ends)}"

    def find_session(self, cookie: str, *, now: float | None = None) -> ApiKey | None:
        """Returns the key of a session's cookie, None where it is forged or over."""
        name, _, rest = cookie.partition(".")
        ends, _, mac = rest.partition(".")
        if not ends.isascii() or not ends.isdecimal() or len(ends) > 12 or not mac.isascii():
            return None
        if int(ends) < (time.time() if now is None else now):
            return None
        for key in self._current():
            if key.name == name and hmac.compare_digest(mac, self._mac(key, int(ends))):
                return key
        return None

    def _current(self) -> Sequence[ApiKey]:
        now = time.monotonic()
        if self.files is not None and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                self._read(self.files)
                self._fault = ""
            except ConfigError as error:
                # A file that is half edited must lock nobody out.
                if str(error) != self._fault:  # once, although it is tried again at every look
                    _log.warning("keys stay as they were: %s", error)
                self._fault = str(error)
        return self._keys

    def _read(self, files: AccessFiles) -> None:
        """Reads the files where they have changed since they were last read whole."""
        stamps = [_stamp(files.owner_key), _stamp(files.further_keys)]
        if stamps != self._stamps:
            self._keys = [*(self._fixed or _read_owner(files.owner_key)), *read_keys(files)]
            self._stamps = stamps

    def _mac(self, key: ApiKey, ends: int) -> str:
        """Returns what makes a cookie genuine: nobody makes one from the files alone."""
        message = f"fedprofile-session\n{key.name}\n{ends}".encode()
        return hmac.digest(self._secret + bytes.fromhex(key.sha256), message, "sha256").hex()


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read_owner(path: Path) -> list[ApiKey]:
    try:
        key = path.read_text().strip()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(
            "cannot be read",
            name="the key in",
            value=path,
            remedy="write the key in one line that the node may read, or remove the file",
        ) from error
    if len(key) < MIN_LENGTH:
        raise ConfigError(
            f"is below {MIN_LENGTH} characters",
            name="the key in",
            value=path,
            remedy="write a longer one, or remove the file and start the node anew",
        )
    return [ApiKey(OWNER, "admin", _sha256(key))]


def read_keys(files: AccessFiles) -> list[ApiKey]:
    """Reads the further keys.

    Raises:
        ConfigError: The file is damaged.
    """
    path = files.further_keys
    try:
        keys = [ApiKey(**entry) for entry in json.loads(path.read_text())["keys"]]
        whole = all(
            _NAME.fullmatch(key.name) and key.role in ROLES and len(bytes.fromhex(key.sha256)) == 32
            for key in keys
        )
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError):
        keys, whole = [], False
    if not whole:
        raise ConfigError("is damaged", name="keys", value=path, remedy="restore or remove it")
    return keys


def add_key(files: AccessFiles, name: str, role: Role) -> str:
    """Makes a further key and returns what is to be sent; it is kept nowhere.

    Raises:
        ConfigError: The name is taken or none.
        StorageError: The file cannot be written.
    """
    keys = read_keys(files)
    if not _NAME.fullmatch(name) or name in (OWNER, *(key.name for key in keys)):
        taken = "is taken" if _NAME.fullmatch(name) else "must be letters, digits, - and _"
        raise ConfigError(taken, name="name", value=name, remedy="choose another name")
    sent = secrets.token_urlsafe(24)
    _write(files, [*keys, ApiKey(name, role, _sha256(sent))])
    return sent


def remove_key(files: AccessFiles, name: str) -> None:
    """Removes a further key; its sessions end.

    Raises:
        ConfigError: There is none of this name.
        StorageError: The file cannot be written.
    """
    keys = read_keys(files)
    if name not in [key.name for key in keys]:
        raise ConfigError(
            "is no further key",
            name="name",
            value=name,
            remedy="see `fedprofile node api-key list`; the owner's key is a file of its own",
        )
    _write(files, [key for key in keys if key.name != name])


def _write(files: AccessFiles, keys: Sequence[ApiKey]) -> None:
    content: dict[str, Any] = {"format": 1, "keys": [asdict(key) for key in keys]}
    packed = json.dumps(content, indent=2).encode() + b"\n"
    write_atomic(files.further_keys, packed, durable=True, private=True, name="file of the keys")
