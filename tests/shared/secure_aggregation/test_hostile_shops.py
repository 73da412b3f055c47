"""Malicious shops: what they send is refused by name, and no number of another shop is shown."""

from __future__ import annotations

import pytest

from shared.errors import PrivacyError
from shared.secure_aggregation.messages import ShopKeys, read_message
from shared.secure_aggregation.run_secrets import RunSecrets, public_key
from shared.secure_aggregation.shamir import PRIME, SHARE_BYTES
from tests.shared.secure_aggregation.parties import Federation, N, federation


def opening(k: int = 8, gone: int = 0) -> tuple[Federation, object, object]:
    f = federation(k)
    f.deal()
    total = f.add_all(shops=f.names[gone:])
    return f, total, f.confirmed(total)


def changed(share: bytes) -> bytes:
    return ((int.from_bytes(share) + 1) % PRIME).to_bytes(SHARE_BYTES)


@pytest.mark.parametrize("gone", [0, 1])
@pytest.mark.parametrize("of", [0, 3])
def test_a_false_share_names_both_shops(of: int, gone: int) -> None:
    f, total, request = opening(gone=gone)
    liar, dealer = f.names[2], f.names[of]
    answer = f.shop(liar).open_shares(request)
    false = answer.model_copy(
        update={"shares": {**answer.shares, dealer: changed(answer.shares[dealer])}}
    )
    with pytest.raises(PrivacyError, match=f"shop={liar} has opened a share that {dealer} did not"):
        total.add_shares(false)
    # The others still open the sum where enough are left.
    others = [s for s in total.survivors if s != liar]
    for name in others:
        total.add_shares(f.shop(name).open_shares(request))
    if gone:
        with pytest.raises(PrivacyError, match="shops that opened shares=6 must be at least 7"):
            total.total()
    else:
        assert total.total().tolist() == f.true_sum(total.survivors).tolist()


def test_a_dealer_whose_shares_give_another_key_is_named() -> None:
    """It deals and commits to shares of another secret than the key that it published."""
    f = federation(4)
    keys = f.send_keys()
    for name in f.names:
        f.server.add_shares(f.shop(name).deal_shares(keys))
    record = f.shop("shop-000")._record  # a shop that breaks the protocol has its own state
    setup = record.setup()
    setup.secrets = RunSecrets(bytes(32))
    setup._agreed = record.setup()._agreed  # type: ignore[method-assign]
    f.server.add_shares(setup.deal())
    f.server.fix_dealers()
    total = f.add_all(shops=f.names[1:])  # and is gone, so that its mask key is opened
    with pytest.raises(PrivacyError, match="shop=shop-000 has dealt shares that do not fit"):
        f.opened(total)


def test_a_letter_that_nobody_can_read_stops_its_recipient_before_it_spends() -> None:
    f = federation(4)
    keys = f.send_keys()
    for name in f.names:
        dealt = f.shop(name).deal_shares(keys)
        if name == "shop-003":
            letters = {**dealt.letters, "shop-000": b"nothing"}
            dealt = dealt.model_copy(update={"letters": letters})
        f.server.add_shares(dealt)
    f.server.fix_dealers()
    with pytest.raises(PrivacyError, match="shop=shop-000 cannot read the shares that shop-003"):
        f.masked("shop-000")
    assert f.drawn == []
    total = f.add_all(shops=f.names[1:])  # it counts as missing, and d=1 may be
    assert f.opened(total).tolist() == f.true_sum(f.names[1:]).tolist()


def test_a_dealer_that_commits_to_other_shares_stops_their_reader_before_it_spends() -> None:
    f = federation(4)
    keys = f.send_keys()
    for name in f.names:
        dealt = f.shop(name).deal_shares(keys)
        if name == "shop-003":
            swapped = {**dealt.commitments, "shop-000": dealt.commitments["shop-001"]}
            dealt = dealt.model_copy(update={"commitments": swapped})
        f.server.add_shares(dealt)
    f.server.fix_dealers()
    with pytest.raises(PrivacyError, match="shop=shop-003 has dealt other shares to shop-000"):
        f.masked("shop-000")
    assert f.drawn == []
    assert f.opened(f.add_all(shops=f.names[1:])).tolist() == f.true_sum(f.names[1:]).tolist()


def test_letters_with_another_number_of_shares_are_refused() -> None:
    f = federation(4)
    keys = f.send_keys()
    for name in f.names:
        f.server.add_shares(f.shop(name).deal_shares(keys))
    setup = f.shop("shop-003")._record.setup()
    setup.terms = f.terms.model_copy(update={"releases": ("counts",)})
    few = setup.deal()
    with pytest.raises(PrivacyError, match="shop=shop-003 has dealt no share to each shop"):
        f.server.add_shares(few)
    full = f.shop("shop-003").deal_shares(keys)
    f.server.add_shares(full.model_copy(update={"letters": few.letters}))
    f.server.fix_dealers()
    with pytest.raises(PrivacyError, match="shop=shop-003 has dealt another number of shares"):
        f.masked("shop-000")
    assert f.drawn == []


def test_a_key_that_agrees_on_nothing_names_its_shop() -> None:
    for part in ("channel", "masks"):
        f = federation(4)
        masks = tuple(public_key(bytes(32)) for _ in f.terms.releases)
        low_order = ShopKeys.signed(
            f.keys["shop-003"],
            f.terms,
            shop="shop-003",
            channel=bytes(32) if part == "channel" else masks[0],
            masks=masks if part == "channel" else (bytes(32),) * len(masks),
        )
        for name in f.names[:3]:
            f.server.add_keys(f.shop(name).publish_keys(f.terms))
        f.server.add_keys(low_order)
        keys = f.server.key_list()
        with pytest.raises(PrivacyError, match="shop=shop-003 has sent a key that is none"):  # noqa: PT012
            for name in f.names[:3]:
                f.server.add_shares(f.shop(name).deal_shares(keys))
            f.server.fix_dealers()
            setup = f.shop("shop-000")._record.setup()
            setup.pair_keys(f.names, release="counts", binding="")
        assert f.drawn == []


def test_the_server_takes_no_keys_in_another_shops_name() -> None:
    f = federation(4)
    keys = f.shop("shop-003").publish_keys(f.terms)
    other_run = Federation(f.roster, f.keys, run="run-0").shop("shop-003")
    forged = keys.model_copy(update={"shop": "shop-002"})
    replayed = other_run.publish_keys(f.terms.model_copy(update={"run": "run-0"}))
    for false in (forged, replayed):
        with pytest.raises(PrivacyError, match="has not signed these keys for this run"):
            f.server.add_keys(false)
    with pytest.raises(PrivacyError, match="shops that sent keys=0 must be at least 3"):
        f.server.key_list()


def test_the_server_takes_whole_dealings_of_enough_shops_alone() -> None:
    f = federation(4)
    keys = f.send_keys(f.names[:3])
    dealt = {name: f.shop(name).deal_shares(keys) for name in f.names[:3]}
    honest = dealt["shop-000"]
    fewer = {n: c for n, c in honest.commitments.items() if n != "shop-000"}
    shorter = {n: c[:-1] for n, c in honest.commitments.items()}
    for change in (
        {"shop": "shop-003"},
        {"letters": {"shop-001": honest.letters["shop-001"]}},
        {"letters": {**honest.letters, "shop-003": b""}},
        {"commitments": fewer},
        {"commitments": shorter},
    ):
        with pytest.raises(PrivacyError, match="has dealt no share to each shop"):
            f.server.add_shares(honest.model_copy(update=change))
    for name in f.names[:2]:
        f.server.add_shares(dealt[name])
    with pytest.raises(PrivacyError, match="shops that dealt shares=2 must be at least 3"):
        f.server.fix_dealers()
    f.server.add_shares(dealt["shop-002"])
    assert f.server.fix_dealers() == f.names[:3]


@pytest.mark.parametrize("masked", [b"", bytes(6 * N - 1), bytes(6 * N + 6), bytes(8 * N)])
def test_inputs_of_another_length_are_refused(masked: bytes) -> None:
    f = federation(4)
    f.deal()
    with pytest.raises(PrivacyError, match=f"input={len(masked)} must have {6 * N} bytes"):
        f.sum().add("shop-000", masked)


def test_inputs_twice_late_or_from_outside_are_refused() -> None:
    f = federation(4)
    f.deal()
    total = f.add_all(shops=f.names[:3])
    for shop in ("shop-000", "stranger"):
        with pytest.raises(PrivacyError, match=f"shop={shop} cannot be added"):
            total.add(shop, bytes(6 * N))
    total.confirm_request()
    with pytest.raises(PrivacyError, match="shop=shop-003 cannot be added"):
        total.add("shop-003", f.masked("shop-003"))


def test_a_message_that_is_none_is_refused_in_one_line() -> None:
    for content in (b"", b"{}", b"[1]", b"\xff", b'{"shop": 1}'):
        with pytest.raises(PrivacyError, match="message: is no ShopKeys of this version"):
            read_message(ShopKeys, content)


def test_the_server_asks_nobody_to_open_before_enough_have_signed() -> None:
    f = federation(4)
    f.deal()
    total = f.add_all()
    with pytest.raises(PrivacyError, match="survivors: not fixed yet"):
        total.add_signature("shop-000", "0" * 128)
    request = total.confirm_request()
    for name in f.names[:2]:
        total.add_signature(name, f.shop(name).confirm(request))
    with pytest.raises(PrivacyError, match="shops that signed this set=2 must be at least 3"):
        total.open_request()


def test_signatures_and_shares_from_outside_the_sum_are_refused() -> None:
    f, total, request = opening(4, gone=1)
    with pytest.raises(PrivacyError, match="shop=shop-000 has not signed"):
        total.add_signature("shop-000", request.signatures["shop-001"])
    answer = f.shop("shop-001").open_shares(request)
    outside = answer.model_copy(update={"shop": "shop-000"})
    few = answer.model_copy(update={"shares": {"shop-001": answer.shares["shop-001"]}})
    for forged in (outside, few):
        with pytest.raises(PrivacyError, match="must open one share of each dealer"):
            total.add_shares(forged)
