"""An actively malicious server: every request that would open more than one sum is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.secure_aggregation.masks import unpack
from shared.secure_aggregation.messages import (
    ConfirmRequest,
    InputRequest,
    KeyList,
    OpenRequest,
    ShopKeys,
    SumBinding,
    Terms,
)
from shared.secure_aggregation.run_secrets import RunSecrets, public_key
from shared.secure_aggregation.shamir import combine, lagrange
from tests.shared.secure_aggregation.parties import (
    ASKED,
    OTHER,
    RELEASES,
    Federation,
    N,
    federation,
)


def own_keys(f: Federation, key: SigningKey, shop: str, terms: Terms | None = None) -> ShopKeys:
    """Keys whose private halves the server knows, in the name of a shop."""
    secrets, terms = RunSecrets(bytes(32)), terms or f.terms
    masks = tuple(public_key(secrets.mask_key(release)) for release in terms.releases)
    channel = public_key(secrets.channel_key())
    return ShopKeys.signed(key, terms, shop=shop, channel=channel, masks=masks)


def replaced(keys: KeyList, other: ShopKeys) -> KeyList:
    return KeyList(keys=tuple(other if k.shop == other.shop else k for k in keys.keys))


def without(keys: KeyList, *shops: str) -> KeyList:
    return KeyList(keys=tuple(k for k in keys.keys if k.shop not in shops))


def refused(request: Callable[[], object], match: str) -> None:
    with pytest.raises(PrivacyError, match=match) as error:
        request()
    assert error.value.exit_code == 2
    assert error.value.remedy.text


def test_a_key_in_another_shops_name_is_refused() -> None:
    f = federation(4)
    forged = own_keys(f, SigningKey.generate(), "shop-001")
    keys = replaced(f.send_keys(), forged)
    refused(lambda: f.shop("shop-000").deal_shares(keys), "shop=shop-001 has not signed these keys")


def test_a_member_cannot_stand_for_another_member() -> None:
    f = federation(4)
    forged = own_keys(f, f.keys["shop-002"], "shop-001")
    keys = replaced(f.send_keys(), forged)
    refused(lambda: f.shop("shop-000").deal_shares(keys), "shop=shop-001 has not signed these keys")


def test_keys_with_one_part_exchanged_are_refused() -> None:
    f = federation(4)
    keys = f.send_keys()
    honest, mine = keys.keys[1], own_keys(f, SigningKey.generate(), "shop-001")
    for part in ("channel", "masks"):
        forged = honest.model_copy(update={part: getattr(mine, part)})
        request = replaced(keys, forged)
        refused(lambda r=request: f.shop("shop-000").deal_shares(r), "has not signed these keys")


def test_keys_of_another_run_are_refused() -> None:
    f = federation(4)
    before = Federation(f.roster, f.keys, run="run-0")
    replayed = before.send_keys().keys[1]
    keys = replaced(f.send_keys(), replayed)
    refused(lambda: f.shop("shop-000").deal_shares(keys), "shop=shop-001 has not signed these keys")


def test_a_stranger_among_the_keys_is_refused() -> None:
    f = federation(4)
    keys = f.send_keys()
    sybil = own_keys(f, SigningKey.generate(), "sybil")
    request = KeyList(keys=(*keys.keys, sybil))
    refused(lambda: f.shop("shop-000").deal_shares(request), "shop=sybil is not in the roster")


def test_one_shop_listed_twice_is_refused() -> None:
    f = federation(4)
    keys = f.send_keys()
    request = KeyList(keys=(*keys.keys[:3], keys.keys[2]))
    refused(lambda: f.shop("shop-000").deal_shares(request), "must name each shop once")


def test_too_few_keys_and_a_list_without_ones_own_are_refused() -> None:
    f = federation(4)
    keys = f.send_keys()
    few = without(keys, "shop-001", "shop-002")
    refused(
        lambda: f.shop("shop-000").deal_shares(few), "shops that sent keys=2 must be at least 3"
    )
    others = without(keys, "shop-000")
    refused(lambda: f.shop("shop-000").deal_shares(others), "must hold this shop's own")


def test_a_second_list_of_keys_is_refused() -> None:
    f = federation(4)
    f.deal()
    fewer = without(f.server.key_list(), "shop-003")
    refused(lambda: f.shop("shop-000").deal_shares(fewer), "keys: must be what this shop answered")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"plan": "d" * 64}, "terms: must be what this shop answered before"),
        ({"releases": ("counts",)}, "terms: must be what this shop answered before"),
        ({"run": "run-2"}, "terms: must be what this shop answered before"),
        ({"roster": "d" * 64}, "roster=d+ must be .* as all shops signed it"),
        ({"noise_shops": 4}, "noise_shops=4 must be 2 as all shops signed it"),
    ],
)
def test_other_terms_are_refused(change: dict[str, object], match: str) -> None:
    f = federation(4)
    shop = f.shop("shop-000")
    shop.publish_keys(f.terms)
    other = f.terms.model_copy(update=change)
    refused(lambda: shop.publish_keys(other), match)


def test_shops_that_got_other_terms_do_not_take_each_others_keys() -> None:
    f = federation(4)
    other = f.terms.model_copy(update={"plan": "d" * 64})
    odd = f.shop("shop-003").publish_keys(other)
    keys = replaced_or_added(f, odd)
    refused(lambda: f.shop("shop-000").deal_shares(keys), "shop=shop-003 has not signed these keys")


def replaced_or_added(f: Federation, odd: ShopKeys) -> KeyList:
    honest = [f.shop(name).publish_keys(f.terms) for name in f.names if name != odd.shop]
    return KeyList(keys=tuple(sorted((*honest, odd), key=lambda k: k.shop)))


def test_letters_that_were_changed_swapped_or_forged_are_refused_before_the_input() -> None:
    f = federation(4)
    f.deal()
    honest = f.server.input_request("shop-000", "counts")
    letters = honest.letters
    flipped = letters["shop-001"][:-1] + bytes([letters["shop-001"][-1] ^ 1])
    of_another = f.server.input_request("shop-002", "counts").letters["shop-001"]
    for forged in (flipped, of_another, letters["shop-002"], b""):
        request = honest.model_copy(update={"letters": letters | {"shop-001": forged}})
        mask = lambda r=request: f.shop("shop-000").mask(r, f.contribution("shop-000"))  # noqa: E731
        refused(mask, "shop=shop-000 cannot read the shares that shop-001 sent")
    assert f.drawn == []
    f.masked("shop-000")  # the right ones are taken afterwards
    assert len(f.drawn) == 1


def test_too_few_dealers_and_letters_from_nowhere_are_refused() -> None:
    f = federation(4)
    f.deal()
    honest = f.server.input_request("shop-000", "counts")
    letters = honest.letters
    for chosen, match in (
        ({"shop-001": letters["shop-001"]}, "shops that dealt shares=2 must be at least 3"),
        ({**letters, "shop-000": b"x"}, "letters: must be of other shops"),
        ({**letters, "sybil": b"x"}, "letters: must be of other shops"),
    ):
        request = honest.model_copy(update={"letters": chosen})
        mask = lambda r=request: f.shop("shop-000").mask(r, f.contribution("shop-000"))  # noqa: E731
        refused(mask, match)
    assert f.drawn == []


def test_a_second_question_or_an_unknown_sum_is_refused() -> None:
    f = federation(4)
    f.deal()
    f.masked("shop-000")
    refused(lambda: f.masked("shop-000", asked=OTHER), "what is asked for counts: must be what")
    refused(lambda: f.masked("shop-000", "adapter-9"), "release=adapter-9 is not of this run")
    assert len(f.drawn) == 1


def test_other_inputs_for_one_shop_open_nothing() -> None:
    """Its masks do not cancel, and it signs another statement than the rest."""
    f = federation(4)
    f.deal()
    total = f.sum()
    for name in f.names:
        total.add(name, f.masked(name, asked=OTHER if name == "shop-000" else ASKED))
    request = total.confirm_request()
    for name in f.names[1:]:
        total.add_signature(name, f.shop(name).confirm(request))
    odd = f.shop("shop-000").confirm(request)
    refused(lambda: total.add_signature("shop-000", odd), "shop=shop-000 has not signed this set")
    signatures = total.open_request()
    refused(
        lambda: f.shop("shop-000").open_shares(signatures),
        "shops that signed this set=0 must be at least 3",
    )
    for name in f.names[1:]:
        total.add_shares(f.shop(name).open_shares(signatures))
    garbage = total.total()
    assert np.abs(garbage).max() > 2**44
    assert not np.any(garbage == f.true_sum(f.names))


def test_two_sets_of_survivors_are_never_both_signed() -> None:
    f = federation(4)
    f.deal()
    f.add_all()
    everyone = ConfirmRequest(release="counts", survivors=f.names)
    fewer = ConfirmRequest(release="counts", survivors=f.names[:3])
    f.shop("shop-000").confirm(everyone)
    refused(lambda: f.shop("shop-000").confirm(fewer), "survivors of counts: must be what")


def test_two_views_cannot_both_collect_the_signatures() -> None:
    """The server shows one set to half of the shops and another to the rest, with t helpers."""
    f = federation(8)
    f.deal()
    f.add_all()
    sets = (f.names, f.names[:7])
    helpers = f.names[:2]  # sign whatever they are asked
    binding = statement_of(f)
    signatures: list[dict[str, str]] = [
        {name: f.keys[name].sign(binding.statement(s)) for name in helpers} for s in sets
    ]
    for i, name in enumerate(f.names[2:]):
        request = ConfirmRequest(release="counts", survivors=sets[i % 2 if name in sets[1] else 0])
        signatures[sets.index(request.survivors)][name] = f.shop(name).confirm(request)
    mixed = signatures[1] | signatures[0]
    assert set(mixed) == set(f.names)
    for view, survivors in zip(signatures, sets, strict=True):
        assert len(view) < f.roster.threshold
        for name, signed in itertools.product(survivors[2:], (view, mixed)):
            request = OpenRequest(release="counts", signatures=signed)
            refused(lambda n=name, r=request: f.shop(n).open_shares(r), "must be at least 7")


def statement_of(f: Federation) -> SumBinding:
    return SumBinding(f.server.key_list().setup(f.terms), f.names, "counts", ASKED)


@pytest.mark.parametrize(
    ("survivors", "match"),
    [
        (("shop-000",), "survivors=1 must be at least 3"),
        (("shop-000", "shop-001"), "survivors=2 must be at least 3"),
        (("shop-001", "shop-002", "shop-003"), "this one among them"),
        (("shop-000", "shop-001", "sybil"), "must be shops that dealt shares"),
        (("shop-000", "shop-001", "shop-001"), "must be shops that dealt shares"),
        (("shop-001", "shop-000", "shop-002"), "must be shops that dealt shares, in order"),
    ],
)
def test_sums_of_few_are_not_confirmed(survivors: tuple[str, ...], match: str) -> None:
    f = federation(4)
    f.deal()
    f.add_all()
    request = ConfirmRequest(release="counts", survivors=survivors)
    refused(lambda: f.shop("shop-000").confirm(request), match)


def test_nothing_is_opened_without_the_signatures() -> None:
    f = federation(4)
    f.deal()
    total = f.add_all()
    request = f.confirmed(total)
    good = request.signatures
    statement = statement_of(f).statement(f.names)
    forged = {name: SigningKey.generate().sign(statement) for name in f.names}
    other_sum = ConfirmRequest(release="adapter-1", survivors=f.names)
    f.add_all("adapter-1")
    of_other_sum = {name: f.shop(name).confirm(other_sum) for name in f.names}
    few = dict(list(good.items())[:2])
    again = few | {"sybil": good["shop-002"], "shop-002": good["shop-001"]}
    for signatures in ({}, few, forged, again, of_other_sum):
        opening = OpenRequest(release="counts", signatures=signatures)
        refused(lambda r=opening: f.shop("shop-000").open_shares(r), "must be at least 3")
    assert f.shop("shop-000").open_shares(request).shares.keys() == set(f.names)


def test_opening_again_opens_the_same_and_never_the_other_secret() -> None:
    f = federation(4)
    f.deal()
    total = f.add_all(shops=f.names[:3])
    request = f.confirmed(total)
    first = f.shop("shop-000").open_shares(request)
    assert f.shop("shop-000").open_shares(request).content() == first.content()
    # The one that came too late: its input may arrive, its self-mask stays closed.
    late = f.masked("shop-003")
    assert len(late) == 6 * N
    for survivors in (f.names, ("shop-000", "shop-001", "shop-003")):
        wider = ConfirmRequest(release="counts", survivors=survivors)
        refused(lambda r=wider: f.shop("shop-000").confirm(r), "survivors of counts: must be what")
    missing = OpenRequest(release="counts", signatures=request.signatures)
    refused(
        lambda: f.shop("shop-003").open_shares(missing), "counts.survivors: not known in this run"
    )


def test_messages_out_of_order_are_refused() -> None:
    f = federation(4)
    shop = f.shop("shop-000")
    refused(lambda: shop.deal_shares(KeyList(keys=())), "terms: not known in this run")
    empty = InputRequest(release="counts", letters={}, commitments={})
    refused(lambda: shop.mask(empty, f.contribution("shop-000")), "terms: not known in this run")
    f.send_keys()
    refused(lambda: shop.mask(empty, f.contribution("shop-000")), "keys: not known in this run")
    f.deal()
    confirm = ConfirmRequest(release="counts", survivors=f.names)
    refused(lambda: shop.confirm(confirm), "not known in this run")
    opening = OpenRequest(release="counts", signatures={})
    refused(lambda: shop.open_shares(opening), "counts.survivors: not known in this run")
    f.masked("shop-000")
    refused(
        lambda: shop.confirm(confirm.model_copy(update={"release": "adapter-1"})),
        "adapter-1.asked: not known in this run",
    )


def test_an_input_whose_mechanism_refused_is_not_confirmed() -> None:
    f = federation(4)
    f.deal()
    request = f.server.input_request("shop-000", "counts")

    def refuses(setup: str) -> np.ndarray:  # noqa: ARG001
        raise PrivacyError("is spent", name="budget", remedy="raise it")

    paid = f.contribution("shop-000")
    broke = type(paid)("counts", ASKED, refuses)
    refused(lambda: f.shop("shop-000").mask(request, broke), "budget: is spent")
    confirm = ConfirmRequest(release="counts", survivors=f.names)
    refused(lambda: f.shop("shop-000").confirm(confirm), "has not sent its input")
    assert len(f.masked("shop-000")) == 6 * N


def test_a_kept_vector_is_sent_again_under_the_same_masks_only() -> None:
    """What would happen otherwise: two sums of one vector differ by another shop's vector."""
    f = federation(4)
    f.deal()
    first = f.opened(f.add_all())
    # The attack: shops without their decisions send the same vectors again, without shop-003.
    forgetful = Federation(f.roster, f.keys, run=f.run, numbers=f.numbers)
    forgetful.deal()
    second = forgetful.opened(forgetful.add_all(shops=f.names[:3]))
    assert (first - second).tolist() == f.numbers["shop-003"].tolist()
    # A new set-up for the run is refused,
    fewer = without(f.server.key_list(), "shop-003")
    refused(lambda: f.shop("shop-000").deal_shares(fewer), "keys: must be what this shop answered")
    # with fewer dealers too,
    honest = f.server.input_request("shop-000", "counts")
    letters = {d: letter for d, letter in honest.letters.items() if d != "shop-003"}
    request = honest.model_copy(update={"letters": letters})
    refused(
        lambda: f.shop("shop-000").mask(request, f.contribution("shop-000")),
        "letters: must be what this shop answered",
    )
    # and a shop whose decisions are lost pays under the name of another set-up.
    assert {setup for _, setup in forgetful.drawn}.isdisjoint(setup for _, setup in f.drawn)


def test_a_run_that_ended_is_never_set_up_again() -> None:
    f = federation(4)
    f.deal()
    f.opened(f.add_all())
    f.shop("shop-000").end()
    left = [
        n for n in ("seed", "keys", "letters", "counts.masked") if f.decisions("shop-000").read(n)
    ]
    assert left == []
    refused(lambda: f.shop("shop-000").publish_keys(f.terms), "run: ended at this shop")
    refused(lambda: f.masked("shop-000"), "run: ended at this shop")


def test_a_folder_of_another_run_is_refused() -> None:
    f = federation(4)
    f.send_keys()
    f.run = "run-2"
    refused(lambda: f.shop("shop-000").publish_keys(f.terms), "terms: must be what this shop")


def test_a_lost_seed_is_not_drawn_anew_within_the_run() -> None:
    f = federation(4)
    f.deal()
    f.decisions("shop-000").forget(keep=("terms", "keys"))
    refused(lambda: f.masked("shop-000"), "seed: not known in this run")
    refused(
        lambda: f.shop("shop-000").deal_shares(f.server.key_list()), "must hold this shop's own"
    )


def test_what_is_opened_for_one_sum_says_nothing_of_the_next() -> None:
    """A shop's mask key of one release is opened when it is gone; its other secrets stay closed."""
    f = federation(4)
    f.deal()
    opened = f.confirmed(f.add_all("counts", f.names[1:]))
    shares = {n: f.shop(n).open_shares(opened).shares["shop-000"] for n in f.names[1:]}
    factors = lagrange([f.roster.place(n) for n in shares])
    mask_key = combine({f.roster.place(n): s for n, s in shares.items()}, factors)
    assert mask_key is not None
    published = f.server.key_list().keys[0]
    assert public_key(mask_key) == published.masks[0]
    assert len({*published.masks, published.channel}) == len(RELEASES) + 1
    everyone = f.confirmed(f.add_all("adapter-1"))
    of_next = f.shop("shop-001").open_shares(everyone).shares
    assert not set(of_next.values()) & set(f.shop("shop-001").open_shares(opened).shares.values())


def test_two_shops_and_two_releases_never_share_a_mask() -> None:
    f = federation(4)
    f.deal()
    setups = [f.shop(name)._record.setup() for name in f.names]
    keys = [
        key
        for setup in setups
        for release in RELEASES
        for binding in (ASKED, OTHER)
        for key, _ in setup.pair_keys(f.names, release=release, binding=binding)
    ]
    pairs = 4 * 3 // 2
    assert len(keys) == 2 * len(set(keys)) == 2 * pairs * len(RELEASES) * 2


def test_input_of_one_shop_alone_cannot_be_read_by_the_server_and_its_helpers() -> None:
    """With all but one other shop's secrets the server still sees uniform numbers."""
    f = federation(8)
    f.numbers["shop-007"] = np.zeros(N, np.int64)
    f.deal()
    masked = unpack(f.masked("shop-007")) % np.uint64(2**48)
    assert np.unique(masked >> np.uint64(44)).size > 8
