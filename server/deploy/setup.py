"""`fedprofile server init`: everything that a coordinator needs before it starts."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, cast

from server.deploy.folder import ServerFolder, ServerSettings
from server.planning import mechanisms_of
from shared.deploy.certificates import KeyPair, fingerprint, make_authority, make_server_certificate
from shared.deploy.invitation import PublicBase, pack
from shared.deploy.key_files import open_key_file
from shared.deploy.owner_files import make_folder, write_owner_file
from shared.deploy.settings_file import write_settings
from shared.device import resolve_device
from shared.errors import RunExistsError
from shared.interactions.catalogue import build_catalogue
from shared.interactions.readers.delimited import read_table
from shared.interactions.readers.tables import text_table
from shared.model.profile_model import build_base
from shared.model.text_cache import encode_texts
from shared.model.time_defaults import resolve
from shared.model.whitening import fit_whitening
from shared.privacy.key_lock import LOCK, KeyLock, key_pem, open_key
from shared.privacy.ledger.entries import canonical
from shared.privacy.ledger.keys import SigningKey

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
        raise RunExistsError(f"folder={root} holds a coordinator already; choose another folder")
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
    write_owner_file(folder.signing_public, signing.public.encode() + b"\n")
    write_owner_file(folder.executor_secret, secrets.token_bytes(32))
    write_owner_file(folder.base, canonical(base.model_dump(mode="json")))
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
    catalogue, _ = build_catalogue(text_table(read_table(path), "item_id"))
    vectors = encode_texts(catalogue.texts, settings=settings.model, device=resolve_device("auto"))
    whitening = fit_whitening(vectors, dim=settings.model.dim)
    unit = cast(TimeUnit, settings.time_unit)
    model = resolve(whitening.fit_settings(settings.model), unit)
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
    lock = KeyLock()  # the pair is fresh, and plain in memory
    key = open_key(pair.key, path, lock=lock)
    write_owner_file(path.with_suffix(".key"), key_pem(key, LOCK.passphrase))
    write_owner_file(path, pair.certificate)
