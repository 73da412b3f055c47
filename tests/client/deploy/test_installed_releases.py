"""What a node accepts as a release, and what it serves after whatever goes wrong."""

from __future__ import annotations

import errno
import hashlib
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from client.deploy import installed_releases as adapters_module
from client.deploy.federated_model import load_federated_model
from client.deploy.incoming_releases import install
from client.deploy.installed_releases import InstalledReleases
from client.deploy.node_process import installed
from server.runs.releases import ReleaseRegistry
from shared.errors import ConfigError, ModelError, StorageError
from shared.keys.signing import SigningKey
from tests.deploy.installing import Pair
from tests.simulation.tiny_shops import N_ITEMS


def test_a_good_release_is_served_and_a_repeated_one_changes_nothing(pair: Pair) -> None:
    release = pair.release()
    assert [pair.install(release), pair.install(release)] == [1, 1]
    assert [entry["state"] for entry in installed(pair.node)] == ["verified"]
    served = load_federated_model(pair.node)
    assert (served.releases, served.item_vectors.shape) == ({"adapter": 1}, (N_ITEMS, 6))
    assert served.prior is served.reliability is served.pairs is None
    history = np.ones((1, 6), np.float32)
    unit = np.append(history / np.sqrt(6), 1.0).astype(np.float32)
    A = pair.arrays["base_model.model.profile_projection.lora_A.weight"]
    expected = 10 * (unit[:6] + np.ones((6, 4), np.float32) @ (A @ unit))
    np.testing.assert_allclose(served.project(history)[0], expected, rtol=1e-5)


def _resigned(pair: Pair, file: bytes, **changes: Any) -> dict[str, Any]:
    """What a server with the right key may send: anything."""
    from shared.protocol.release_manifest import sign_manifest

    manifest = pair.release().manifest
    fields = {"sha256": hashlib.sha256(file).hexdigest(), **changes}
    manifest = manifest.model_copy(update=fields)
    signature = sign_manifest(SigningKey.load(pair.server.signing_key), manifest)
    return {"content": manifest.content(), "signature": signature, "file": file}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {n: x * np.nan for n, x in a.items()}, "not finite"),
        (lambda a: {n: x[:-1] for n, x in a.items()}, "has shape"),
        (lambda a: {n: x.astype(np.float64) for n, x in a.items()}, "dtype"),
        (lambda a: {f"x{n}": x for n, x in a.items()}, "is missing|is unknown"),
        (lambda a: {n: x + 1 for n, x in a.items()}, "norm=.* must be"),
    ],
)
def test_content_that_does_not_fit_is_refused_even_when_signed(
    pair: Pair, change: Any, message: str
) -> None:
    sent = _resigned(pair, save(change(pair.arrays)))
    with pytest.raises(ModelError, match=message):
        install(pair.node, **sent)
    assert pair.serves() is None


def test_a_huge_norm_is_refused(pair: Pair) -> None:
    with pytest.raises(ModelError, match="must be at most max_adapter_norm=1000"):
        pair.install(pair.release(1e6))
    assert pair.serves() is None


def test_another_base_signature_or_file_is_refused(pair: Pair) -> None:
    release, other = pair.release(), SigningKey.generate()
    with pytest.raises(ModelError, match="is not of the server's key"):
        pair.install(release, signature=other.sign(release.manifest.content()))
    with pytest.raises(ModelError, match="is not of the server's key"):
        pair.install(release, content=release.manifest.content() + b" ")
    with pytest.raises(ModelError, match="of the file must be"):
        pair.install(release, file=release.file[:-1] + b"x")
    with pytest.raises(ModelError, match="base_hash="):
        pair.install(pair.release(base_hash="b" * 64))
    assert pair.serves() is None


def test_never_back_to_an_older_one_unless_the_owner_says_so(pair: Pair) -> None:
    first, second = pair.release(1.0), pair.release(2.0, run=2)
    pair.install(first)
    pair.install(second)
    with pytest.raises(ModelError, match="release=1 must be above 2"):
        pair.install(first)
    with pytest.raises(ModelError, match="holds an older adapter"):
        pair.install(pair.release(3.0, run=1))
    with pytest.raises(ModelError, match="holds an older adapter"):
        pair.install(pair.release(1.0, run=2))  # the old content under a new number
    again = ReleaseRegistry(pair.server).send_again(1)
    with pytest.raises(ModelError, match="holds an older adapter"):
        pair.install(again)
    assert pair.serves() == 2
    pair.allow_older()
    assert pair.install(again) == again.manifest.number == pair.serves()


def test_the_owner_goes_back_and_forward(pair: Pair) -> None:
    for value in (1.0, 2.0):
        pair.install(pair.release(value))
    adapters = InstalledReleases(pair.node)
    assert adapters.rollback().number == 1 == pair.serves()
    with pytest.raises(ConfigError, match="no adapter before it"):
        adapters.rollback()
    assert adapters.use(2).number == 2 == pair.serves()
    with pytest.raises(ConfigError, match="release=9 is not installed"):
        adapters.use(9)


def test_the_owner_goes_back_past_a_damaged_release(pair: Pair) -> None:
    for value in (1.0, 2.0, 3.0):
        pair.install(pair.release(value))
    adapters = InstalledReleases(pair.node)
    adapters.file(2).write_bytes(b"x")
    assert adapters.rollback().number == 1 == pair.serves()


def test_a_full_disk_or_a_crash_leaves_the_last_one_served(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.install(pair.release(1.0))
    second = pair.release(2.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shared.runtime.file_store.os.fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            pair.install(second)
    assert pair.serves() == 1
    (pair.node.adapters / ".draft-crashed").mkdir()  # what a kill leaves
    with monkeypatch.context() as patch:
        patch.setattr(adapters_module.InstalledReleases, "_point", _killed)
        with pytest.raises(KeyboardInterrupt):
            pair.install(second)
    assert pair.serves() == 1
    assert load_federated_model(pair.node).releases["adapter"] == 1
    assert pair.install(second) == 2 == pair.serves()
    assert not list(pair.node.adapters.glob(".draft-*"))


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_adapter_changed_on_the_disk_is_not_served(pair: Pair) -> None:
    pair.install(pair.release())
    file = InstalledReleases(pair.node).file(1)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (entry,) = installed(pair.node)
    assert entry["state"].startswith("damaged: sha256=")
    with pytest.raises(ModelError, match="of the file must be"):
        load_federated_model(pair.node)


def test_the_last_releases_are_kept_and_older_ones_forgotten(pair: Pair) -> None:
    for value in range(1, 8):
        pair.install(pair.release(float(value)))
    assert InstalledReleases(pair.node).numbers() == [3, 4, 5, 6, 7]
    InstalledReleases(pair.node).use(3)
    pair.install(pair.release(9.0))
    assert InstalledReleases(pair.node).numbers() == [4, 5, 6, 7, 8]
    assert pair.serves() == 8


def test_secrets_are_for_their_owner_alone(pair: Pair) -> None:
    pair.install(pair.release())
    for root in (pair.server.root, pair.node.root):
        assert root.stat().st_mode & 0o077 == 0
    keys = [p for r in (pair.server.root, pair.node.root) for p in r.rglob("*.key")]
    secrets = [*keys, pair.server.executor_secret, *pair.node.ledgers.rglob("*.key")]
    assert len(secrets) >= 5
    assert [path for path in secrets if path.stat().st_mode & 0o077] == []
