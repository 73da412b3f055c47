"""What a node accepts as noisy counts and pairs, and how they go with the adapter."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from client.deploy.federated_model import load_federated_model
from client.deploy.incoming_releases import install
from client.deploy.installed_releases import InstalledReleases
from server.runs.releases import Release, ReleaseRegistry
from shared.errors import ModelError
from shared.keys.signing import SigningKey
from shared.protocol.release_manifest import sign_manifest
from tests.deploy.installing import HEAD, Pair
from tests.simulation.tiny_shops import N_ITEMS


def current(pair: Pair) -> dict[str, int]:
    return InstalledReleases(pair.node).pointer().current


def a_run(pair: Pair, number: int) -> list[Release]:
    """Counts, pairs and an adapter that names both."""
    counts = pair.counts(run=number, scale=float(number))
    pairs = pair.pairs(run=number, scale=float(number))
    parents = (counts.manifest.number, pairs.manifest.number)
    return [counts, pairs, pair.release(float(number), run=number, parents=parents)]


def test_counts_and_pairs_are_served_beside_the_adapter(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    served = load_federated_model(pair.node)
    assert served.releases == {"counts": 1, "pairs": 2, "adapter": 3}
    assert served.prior is not None
    assert served.prior[-1] == served.prior.max() > served.prior[0]
    assert served.pairs is not None
    np.testing.assert_array_equal(served.pairs.head, HEAD)
    estimate = served.pairs.estimate()
    assert estimate.shape == (6,)
    assert estimate[-1] > estimate[0] >= 0
    assert served.includes_own
    assert 0.9 < (served.reliability or 0) <= 1


def test_a_damaged_adapter_keeps_no_later_run_out(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    file = InstalledReleases(pair.node).file(3)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    for release in a_run(pair, 2):
        pair.install(release)
    assert current(pair) == {"counts": 4, "pairs": 5, "adapter": 6}


def test_a_shop_that_did_not_take_part_is_not_taken_out_of_the_pairs(pair: Pair) -> None:
    pair.install(pair.pairs(participants=("south",)))
    pair.install(pair.release(parents=(1,)))
    served = load_federated_model(pair.node)
    assert served.pairs is not None
    assert not served.includes_own


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"head": [1, 4, 4], "pairs": [1, 1, 1]}, "ascending without repetition"),
        ({"head": [4, 1, 7], "pairs": [1, 1, 1]}, "ascending without repetition"),
        ({"head": [1, 4, N_ITEMS], "pairs": [1, 1, 1]}, "within the catalogue"),
        ({"head": [-1, 4, 7], "pairs": [1, 1, 1]}, "within the catalogue"),
        ({"head": [], "pairs": []}, "must be 1 to head_items"),
        ({"head": [[1, 4, 7]], "pairs": [1, 1, 1]}, "must be 1 to head_items"),
        ({"pairs": [1, 1, 1]}, "must be 1 to head_items"),
        ({"head": [1, 4, 7], "pairs": [1, 1]}, "has shape"),
        ({"head": [1, 4, 7], "pairs": [1, 1, 1], "more": [1]}, "is unknown"),
        ({"head": [1, 4, 7]}, "is missing"),
        ({"head": [1, 4, 7], "pairs": [1, 1e13, 1]}, "norm=.* must be at most"),
    ],
)
def test_pairs_that_are_none_are_refused_even_when_signed(
    pair: Pair, arrays: dict[str, Any], message: str
) -> None:
    good = pair.pairs()
    pair.install(good)
    made = {
        name: np.asarray(values, np.int64 if name == "head" else np.float32)
        for name, values in arrays.items()
    }
    with pytest.raises(ModelError, match=message):
        pair.install(pair.statistic("pairs", made))
    assert current(pair) == {"pairs": good.manifest.number}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"head": np.array(HEAD, np.float32), "pairs": np.ones(6, np.float32)}, "head has dtype"),
        ({"head": np.array(HEAD, np.int32), "pairs": np.ones(6)}, "pairs has dtype float64"),
        ({"head": np.array(HEAD, np.int32), "pairs": np.full(6, np.nan, np.float32)}, "not finite"),
        ({"head": np.array(HEAD, np.int32), "pairs": np.ones(6, np.float32)}, "as signed"),
        (
            {"head": np.array(HEAD, np.int32), "pairs": np.ones(500_000, np.float32)},
            "bytes of pairs, must have at most",
        ),
    ],
)
def test_other_content_than_was_signed_for_is_refused(
    pair: Pair, arrays: dict[str, Any], message: str
) -> None:
    file = save(arrays)
    digest = {"sha256": hashlib.sha256(file).hexdigest()}
    manifest = pair.pairs().manifest.model_copy(update=digest)
    signature = sign_manifest(SigningKey.load(pair.server.signing_key), manifest)
    with pytest.raises(ModelError, match=message):
        install(pair.node, content=manifest.content(), signature=signature, file=file)
    assert current(pair) == {}


@pytest.mark.parametrize("std", [None, -1.0])
def test_sums_whose_noise_is_not_known_are_refused(pair: Pair, std: float | None) -> None:
    statistics = {} if std is None else {"noise_std": std}
    for release in (pair.counts(statistics=statistics), pair.pairs(statistics=statistics)):
        with pytest.raises(ModelError, match=r"noise_std=.* must be a number"):
            pair.install(release)
    assert current(pair) == {}


def test_refused_pairs_are_not_replaced_by_those_of_another_run(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    counts, _, adapter = a_run(pair, 2)
    pair.install(counts)
    with pytest.raises(ModelError):
        pair.install(pair.pairs(head=(4, 1), run=2))
    assert current(pair) == {"counts": 1, "pairs": 2, "adapter": 3}
    pair.install(adapter)
    assert current(pair) == {"counts": 4, "adapter": 6}


def test_a_run_without_pairs_is_not_served_beside_those_of_the_run_before(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    pair.install(pair.counts(run=2, scale=2.0))
    pair.install(pair.release(2.0, run=2, parents=(4,)))
    served = load_federated_model(pair.node)
    assert served.releases == {"counts": 4, "adapter": 5}
    assert served.pairs is None


def test_statistics_wait_for_the_adapter_that_was_trained_beside_them(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    before = current(pair)
    counts, pairs, adapter = a_run(pair, 2)
    for release in (counts, pairs):
        pair.install(release)
        assert current(pair) == before
    assert load_federated_model(pair.node).releases == before
    pair.install(adapter)
    assert current(pair) == {"counts": 4, "pairs": 5, "adapter": 6}


def test_statistics_that_come_after_their_adapter_are_served_at_once(pair: Pair) -> None:
    counts, pairs, adapter = a_run(pair, 1)
    for release in (adapter, counts, pairs):
        pair.install(release)
    assert current(pair) == {"counts": 1, "pairs": 2, "adapter": 3}


def test_a_run_that_is_sent_again_to_a_new_shop_is_served_whole(pair: Pair) -> None:
    pair.allow_older()
    for release in a_run(pair, 1):
        pair.install(ReleaseRegistry(pair.server).send_again(release.manifest.number))
    assert current(pair) == {"counts": 4, "pairs": 5, "adapter": 6}


def test_what_is_served_is_kept_although_newer_statistics_wait(pair: Pair) -> None:
    for release in a_run(pair, 1):
        pair.install(release)
    for run in range(2, 9):  # runs whose adapters never came
        pair.install(pair.counts(run=run, scale=float(run)))
    assert InstalledReleases(pair.node).numbers() == [1, 2, 3, 6, 7, 8, 9, 10]
    assert load_federated_model(pair.node).releases == {"counts": 1, "pairs": 2, "adapter": 3}


def test_the_owner_goes_back_to_a_whole_run(pair: Pair) -> None:
    for number in (1, 2):
        for release in a_run(pair, number):
            pair.install(release)
    pair.install(pair.release(3.0, run=3))  # a run without statistics
    adapters = InstalledReleases(pair.node)
    assert current(pair) == {"adapter": 7}
    assert adapters.rollback().number == 6
    assert current(pair) == {"counts": 4, "pairs": 5, "adapter": 6}
    adapters.rollback()
    assert current(pair) == {"counts": 1, "pairs": 2, "adapter": 3}
    assert adapters.use(5).kind == "pairs"
    assert current(pair) == {"counts": 1, "pairs": 5, "adapter": 3}
    adapters.use(7)
    assert current(pair) == {"adapter": 7}
