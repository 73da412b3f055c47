"""`fedprofile server init` and `renew`.

Settings from options, keys, certificates and the public base.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from server.coordinator.folder import ServerFolder, ServerSettings
from server.federation.public_plan import mechanisms_of
from shared.errors import ConfigError, RunExistsError
from shared.interactions.catalogue import build_catalogue
from shared.interactions.readers.parsed_tables import text_table
from shared.interactions.readers.table_files import read_table
from shared.keys.certificates import (
    KeyPair,
    days_left,
    fingerprint,
    make_authority,
    make_server_certificate,
)
from shared.keys.private_keys import PASSPHRASE, PassphraseHolder, key_pem, open_key, open_key_file
from shared.keys.signing import SigningKey, canonical
from shared.model.profile_space import fit_whitening
from shared.model.text_vectors import encode_texts
from shared.protocol.invitation import PublicBase, pack
from shared.runtime.environment import resolve_device
from shared.runtime.file_store import make_folder, write_atomic
from shared.settings.run_settings import resolve_time_defaults
from shared.settings.service_file import validate_settings, write_settings
from shared.settings.sources import assignments

DEFAULTS: dict[str, Any] = {
    "federation": {"round_timeout": 600.0, "max_update_norm": 10.0},
}
"""Where a coordinator differs from a simulation."""


def new_settings(options: Mapping[str, Any], sets: Iterable[str]) -> ServerSettings:
    """Merges defaults, options and assignments; later ones win.

    Raises:
        ConfigError: A name is unknown or a value out of its bounds.
    """
    merged: dict[str, Any] = {name: dict(table) for name, table in DEFAULTS.items()}
    host, _, _ = str(options["address"]).rpartition(":")
    names = dict.fromkeys([host, *options["names"], "localhost", "127.0.0.1"])
    for name, value in {**options, "names": tuple(names), **assignments(sets)}.items():
        *tables, last = name.split(".")
        into = merged
        for table in tables:
            into = into.setdefault(table, {})
        into[last] = value
    return validate_settings(merged, ServerSettings, what="server init")


TimeUnit = Literal["days", "order"]


def init_server(root: Path, settings: ServerSettings, *, catalogue: Path) -> str:
    """Makes a coordinator's folder.

    Args:
        root: New or empty.
        settings: Written to `server.toml`.
        catalogue: The public items, CSV or Parquet with `item_id` and text columns.

    Returns:
        Fingerprint of the authority.

    Raises:
        RunExistsError: There is a coordinator already.
        FedprofileError: The catalogue, the encoder, the budget or the disk refuses.
    """
    folder = ServerFolder(root)
    if (root / "server.toml").exists():
        raise RunExistsError(
            "holds a coordinator already", name="folder", value=root, remedy="choose another folder"
        )
    mechanisms_of(settings.of_run(1, settings.model))
    base = public_base(settings, catalogue)
    for path in (root, folder.runs, folder.releases, folder.receipts, folder.logs):
        make_folder(path)
    make_folder(folder.flower_home)
    make_folder(folder.empty)
    authority = make_authority(settings.name)
    _write_pair(folder.authority, authority)
    _write_pair(folder.certificate, make_server_certificate(authority, settings.names))
    signing = SigningKey.generate()
    signing.save(folder.signing_key)
    write_atomic(folder.signing_public, signing.public.encode() + b"\n", durable=True, private=True)
    write_atomic(folder.executor_secret, secrets.token_bytes(32), durable=True, private=True)
    write_atomic(folder.base, canonical(base.model_dump(mode="json")), durable=True, private=True)
    write_settings(root / "server.toml", settings)
    return fingerprint(authority.certificate)


def renew_certificate(folder: ServerFolder, *, days: int) -> None:
    """Makes a new server certificate under the same authority; nodes need nothing new.

    Raises:
        ConfigError: A file is missing or damaged, or the passphrase is not right.
    """
    plain = key_pem(open_key_file(folder.authority.with_suffix(".key")), None)
    authority = KeyPair(folder.authority.read_bytes(), plain)
    names = folder.settings().names
    _write_pair(folder.certificate, make_server_certificate(authority, names, days=days))


def public_base(settings: ServerSettings, path: Path) -> PublicBase:
    """Makes the frozen base from the public catalogue.

    Raises:
        DataError: The catalogue cannot be used.
        ModelError: The encoder cannot.
    """
    from shared.model.profile_model import build_base  # brings torch

    catalogue, _ = build_catalogue(text_table(read_table(path), "item_id"))
    vectors = encode_texts(catalogue.texts, settings=settings.model, device=resolve_device("auto"))
    whitening = fit_whitening(vectors, dim=settings.model.dim)
    unit = cast(TimeUnit, settings.time_unit)
    model = resolve_time_defaults(whitening.fit_settings(settings.model), unit)
    base = build_base(model, whitening)
    return PublicBase(
        item_ids=tuple(map(str, catalogue.item_ids)),
        texts=tuple(catalogue.texts),
        catalogue_hash=catalogue.digest(),
        time_unit=unit,
        model=model,
        mean=pack(whitening.mean),
        components=pack(whitening.components),
        base_hash=base.base_hash,
    )


def _write_pair(path: Path, pair: KeyPair) -> None:
    lock = PassphraseHolder()  # the pair is fresh, and plain in memory
    key = open_key(pair.key, path, lock=lock)
    write_atomic(
        path.with_suffix(".key"), key_pem(key, PASSPHRASE.passphrase), durable=True, private=True
    )
    write_atomic(path, pair.certificate, durable=True, private=True)


def renew_if_due(folder: ServerFolder, *, days: int) -> None:
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
            f"must be between 1 and {most}, the days that the authority is still valid",
            name="days",
            value=days,
            remedy="give another number",
        )
    renew_certificate(folder, days=days)
