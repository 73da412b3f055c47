"""Processes that end: every answer comes again, the same to the byte, from what is on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.secure_aggregation.decisions import FolderDecisions
from shared.secure_aggregation.messages import ConfirmRequest, InputRequest, KeyList, OpenRequest
from shared.secure_aggregation.server import ServerSide
from tests.shared.secure_aggregation.parties import ASKED, Federation, N, federation


class Process:
    """Kills a shop at its n-th decision: before it is on disk, or just after."""

    def __init__(self, decisions: FolderDecisions, *, at: int, after: bool) -> None:
        self._decisions, self._left, self._after = decisions, at, after

    def read(self, name: str) -> bytes | None:
        return self._decisions.read(name)

    def decide(self, name: str, content: bytes) -> bytes:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KeyboardInterrupt
        decided = self._decisions.decide(name, content)
        if self._left == 0:
            raise KeyboardInterrupt
        return decided

    def forget(self, *, keep: tuple[str, ...]) -> None:
        self._decisions.forget(keep=keep)


def answers(f: Federation, shop: str) -> list[bytes]:
    """All answers of a shop whose every message is a new process (`Federation.shop`)."""
    side, keys = f.shop(shop), f.server.key_list()
    confirm = ConfirmRequest(release="counts", survivors=f.names)
    signatures = {n: f.shop(n).confirm(confirm) for n in f.names}
    request = f.server.input_request(shop, "counts")
    return [
        side.publish_keys(f.terms).content(),
        side.deal_shares(keys).content(),
        side.mask(request, f.contribution(shop)),
        side.confirm(confirm).encode(),
        side.open_shares(OpenRequest(release="counts", signatures=signatures)).content(),
    ]


def test_every_answer_comes_again_the_same(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    f.deal()
    f.add_all()
    first = answers(f, "shop-000")
    f.numbers["shop-000"] = f.numbers["shop-000"] + 1  # noise drawn anew would show
    assert answers(f, "shop-000") == first
    assert [name for name, _ in f.drawn].count("shop-000") == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_shop_killed_at_any_decision_answers_after_a_restart(
    tmp_path: Path, at: int, *, after: bool
) -> None:
    """Terms, seed, the same again and keys, letters, asked, masked; the survivors are a ninth."""
    f = federation(4, folder=tmp_path)
    killed = 0

    def answer(kind: str, *arguments: object) -> object:
        nonlocal killed
        side = f.shop("shop-000")
        if not killed:
            decisions = Process(side.decisions, at=at - answer.decided, after=after)
            try:
                shop = type(side)(side.shop, side.key, side.roster, decisions)
                result = getattr(shop, kind)(*arguments)
            except KeyboardInterrupt:
                killed += 1
            else:
                answer.decided = at - decisions._left
                return result
        return getattr(side, kind)(*arguments)

    answer.decided = 0
    f.server.add_keys(answer("publish_keys", f.terms))
    for name in f.names[1:]:
        f.server.add_keys(f.shop(name).publish_keys(f.terms))
    keys = f.server.key_list()
    f.server.add_shares(answer("deal_shares", keys))
    for name in f.names[1:]:
        f.server.add_shares(f.shop(name).deal_shares(keys))
    f.server.fix_dealers()
    total = f.sum()
    request = f.server.input_request("shop-000", "counts")
    total.add("shop-000", answer("mask", request, f.contribution("shop-000")))
    for name in f.names[1:]:
        total.add(name, f.masked(name))
    confirm = total.confirm_request()
    total.add_signature("shop-000", answer("confirm", confirm))
    for name in f.names[1:]:
        total.add_signature(name, f.shop(name).confirm(confirm))
    opening = total.open_request()
    for name in f.names:
        total.add_shares(f.shop(name).open_shares(opening))
    assert killed == 1
    assert total.total().tolist() == f.true_sum(f.names).tolist()


def restarted(f: Federation) -> ServerSide:
    f.server = ServerSide(f.roster, f.terms, f.decisions("server"))
    return f.server


def test_a_server_that_restarts_between_all_messages_opens_the_sum(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    f.send_keys()
    keys = restarted(f).key_list()
    for name in f.names:
        f.server.add_shares(f.shop(name).deal_shares(keys))
    f.server.fix_dealers()
    f.add_all(shops=f.names[:2])
    restarted(f)  # within the inputs: they are asked for again
    f.add_all(shops=f.names[1:]).confirm_request()
    restarted(f)
    total = f.sum()
    assert total.survivors == f.names[1:]
    assert f.opened(total).tolist() == f.true_sum(f.names[1:]).tolist()
    assert sorted(name for name, _ in f.drawn) == list(f.names)


def test_a_server_that_forgot_the_set_cannot_ask_for_another(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    f.deal()
    first = f.add_all(shops=f.names[1:])
    request = first.confirm_request()
    f.shop("shop-001").confirm(request)
    again = restarted(f).masked_sum("counts", asked=ASKED, size=N)
    with pytest.raises(PrivacyError, match="shop=shop-000 cannot be added"):
        again.add("shop-000", f.masked("shop-000"))
    assert again.confirm_request() == request


def test_a_kept_set_of_another_question_is_refused(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    f.deal()
    f.add_all().confirm_request()
    for asked, size in (("b" * 64, N), (ASKED, N + 1)):
        with pytest.raises(PrivacyError, match="what is asked for counts: must be what"):
            f.server.masked_sum("counts", asked=asked, size=size)


def test_a_list_of_keys_stays_as_it_was_asked_with(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    first = f.send_keys(f.names[:3])
    server = restarted(f)
    server.add_keys(f.shop("shop-003").publish_keys(f.terms))  # too late for this run
    assert server.key_list() == first
    assert isinstance(first, KeyList)
    for name in f.names[:3]:
        server.add_shares(f.shop(name).deal_shares(first))
    server.fix_dealers()
    late = InputRequest(release="counts", letters={}, commitments={})
    with pytest.raises(PrivacyError, match="keys: not known in this run"):
        f.shop("shop-003").mask(late, f.contribution("shop-003"))
    assert f.opened(f.add_all(shops=f.names[:3])).tolist() == f.true_sum(f.names[:3]).tolist()


def test_nothing_secret_is_left_of_a_run_that_ended(tmp_path: Path) -> None:
    f = federation(4, folder=tmp_path)
    f.deal()
    f.opened(f.add_all())
    folder = tmp_path / "shop-000" / f.run
    assert {"seed", "letters", "counts.masked"} <= {p.name for p in folder.iterdir()}
    f.shop("shop-000").end()
    assert {p.name for p in folder.iterdir()} == {"terms", "ended"}
