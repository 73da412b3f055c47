"""Rosters: their bounds, defaults, signatures and fingerprint."""

from __future__ import annotations

import itertools
import math

import pytest

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.secure_aggregation.decisions import MemoryDecisions
from shared.secure_aggregation.roster import Roster, SignedRoster, make_roster, sign_roster
from shared.secure_aggregation.shop import ShopSide
from tests.shared.secure_aggregation.parties import federation, shop_names


def keys(k: int) -> dict[str, str]:
    return {name: f"{i:064x}" for i, name in enumerate(shop_names(k))}


@pytest.mark.parametrize(
    ("k", "missing", "colluding", "noise"),
    [(3, 0, 1, 1.22), (8, 1, 2, 1.26), (19, 1, 6, 1.26), (57, 2, 19, 1.26), (20, 2, 6, 1.29)],
)
def test_default_roster(k: int, missing: int, colluding: int, noise: float) -> None:
    roster = make_roster(keys(k))
    assert (roster.max_missing, roster.max_colluding) == (missing, colluding)
    assert roster.threshold == k - missing
    assert math.sqrt(k / roster.noise_shops) == pytest.approx(noise, abs=0.005)


def test_what_a_roster_admits_has_two_honest_shops_and_no_two_sets_that_open() -> None:
    for k, d, t in itertools.product(range(1, 12), range(5), range(6)):
        m, n = k - d, k - d - t
        # Two sets of m signers each, of which t sign both and an honest shop signs one.
        two_sets_open = 2 * (m - t) <= k - t
        if k >= 3 and n >= 2 and not two_sets_open:
            roster = make_roster(keys(k), max_missing=d, max_colluding=t)
            assert (roster.threshold, roster.noise_shops) == (m, n)
        else:
            with pytest.raises(PrivacyError) as refused:
                make_roster(keys(k), max_missing=d, max_colluding=t)
            assert refused.value.remedy.text


@pytest.mark.parametrize("d", [1, 2])
def test_three_shops_cannot_spare_one(d: int) -> None:
    with pytest.raises(PrivacyError, match="list more shops"):
        make_roster(keys(3), max_missing=d, max_colluding=1)


def test_one_owner_is_listed_once() -> None:
    twice = {**keys(4), "sybil": keys(4)["shop-000"]}
    with pytest.raises(PrivacyError, match="one key for two shops"):
        make_roster(twice)


def test_fingerprint_is_of_every_word_and_of_no_order() -> None:
    roster = make_roster(keys(8))
    backwards = Roster(keys=dict(reversed(roster.keys.items())), max_missing=1, max_colluding=2)
    assert backwards.digest() == roster.digest()
    others = [
        make_roster(keys(9)),
        make_roster(keys(8), max_missing=0),
        make_roster(keys(8), max_colluding=1),
        make_roster({**keys(8), "shop-000": "f" * 64}),
    ]
    assert len({roster.digest(), *(other.digest() for other in others)}) == 5


def test_a_roster_counts_when_all_have_signed_it() -> None:
    f = federation(4)
    signed = f.signed()
    assert signed.check() == f.roster
    without = dict(list(signed.signatures.items())[1:])
    with pytest.raises(PrivacyError, match="shop=shop-000 has not signed"):
        SignedRoster(roster=f.roster, signatures=without).check()
    by_server = {**signed.signatures, "shop-000": sign_roster(SigningKey.generate(), f.roster)}
    with pytest.raises(PrivacyError, match="shop=shop-000 has not signed"):
        SignedRoster(roster=f.roster, signatures=by_server).check()


def test_sybils_need_the_honest_shops_signature() -> None:
    """A server that replaces shops by its own cannot use the signatures of the roster before."""
    f = federation(4)
    sybils = {name: SigningKey.generate() for name in f.names[1:]}
    all_keys = {"shop-000": f.keys["shop-000"].public} | {n: k.public for n, k in sybils.items()}
    roster = make_roster(all_keys)
    signatures = {name: sign_roster(key, roster) for name, key in sybils.items()}
    signatures["shop-000"] = f.signed().signatures["shop-000"]
    forged = SignedRoster(roster=roster, signatures=signatures)
    with pytest.raises(PrivacyError, match="has not signed"):
        ShopSide("shop-000", f.keys["shop-000"], forged, MemoryDecisions())


def test_a_shop_takes_part_under_its_own_name_and_key_alone() -> None:
    f = federation(4)
    with pytest.raises(PrivacyError, match="is not in the roster"):
        ShopSide("stranger", f.keys["shop-000"], f.signed(), MemoryDecisions())
    with pytest.raises(PrivacyError, match="another key in the roster"):
        ShopSide("shop-001", f.keys["shop-000"], f.signed(), MemoryDecisions())
