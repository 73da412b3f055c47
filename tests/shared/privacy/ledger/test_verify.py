"""Every way to change a ledger behind its owner's back is named by `verify`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey, canonical, read_public_key
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.line_format import line_hash, signed_bytes
from shared.privacy.ledger.log.receipts import keep_receipts, sign_last_line
from shared.privacy.ledger.log.shop_files import digest_arrays, keep_release, release_path
from shared.privacy.ledger.reporting.evidence import Evidence, EvidenceSources, PinnedKey
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.reporting.verify import Verdict, verify, verify_all
from simulation.experiments.single.output import countersign
from tests.shared.privacy.ledger.shop_ledgers import LIMITS, full_run, open_ledger, request

SERVER = SigningKey.generate()
PINNED = PinnedKey(SERVER.public, "of the test")


def with_receipts(path: Path) -> EvidenceSources:
    """Names the server's receipts and its key."""
    return EvidenceSources(receipts=path, server_key=PINNED)


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A folder with the ledger of a run that the server countersigned, and its receipts."""
    folder: Path = tmp_path_factory.mktemp("honest") / "ledgers"
    ledger, server = open_ledger(folder), SERVER
    full_run(ledger, rounds=3)
    entry, head = ledger.last_line
    receipt = sign_last_line(server, shop="north", entry=entry, head=head)
    ledger.countersign(receipt)
    ledger.commit(ledger.reserve(request(4)), "4" * 64)
    entry, head = ledger.last_line
    keep_receipts(
        folder.parent / "receipts.jsonl",
        [receipt, sign_last_line(server, shop="north", entry=entry, head=head)],
    )
    return folder


def verdict_of(content: bytes, folder: Path, *, anchored: bool = False) -> Verdict:
    """Verifies other bytes in the place of the honest ledger, with nothing else known."""
    path = folder.parent / "changed" / "north.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    trust = folder / "keys" if anchored else None
    (verdict,) = verify_all(path, EvidenceSources(trust=trust))
    return verdict


def test_honest_ledger_holds(honest) -> None:
    (verdict,) = verify_all(honest, with_receipts(honest.parent / "receipts.jsonl"))
    assert verdict.ok, verdict.fault
    assert verdict.lines == 13
    assert f"2 heads that the {PINNED.words} signed" in verdict.checked
    assert (verdict.server_key, verdict.signed) == (SERVER.public, 12)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_caught_without_any_evidence(honest, data) -> None:
    content = bytearray((honest / "north.jsonl").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    line = bytes((honest / "north.jsonl").read_bytes())[:place].count(b"\n")
    verdict = verdict_of(bytes(content), honest)
    assert not verdict.ok
    assert f"line {line}" in verdict.fault or f"line {line + 1}" in verdict.fault


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"digest":"4', b'"digest":"5', "signature is not of the shop's key"),
        (b'"signature":"', b'"signature":"0', "signature"),
        (b'"seq":12', b'"seq": 12', "not in canonical form"),
        (b'{"body"', b'{"body":0,"body"', "not in canonical form"),
        (b'"clock":null', b'"clock":nul', "is not JSON"),
    ],
)
def test_the_last_line_which_no_hash_covers_is_held_by_its_signature(
    honest, old, new, message
) -> None:
    *lines, last = (honest / "north.jsonl").read_bytes().splitlines(keepends=True)
    assert old in last
    fault = verdict_of(b"".join([*lines, last.replace(old, new, 1)]), honest).fault
    assert fault.startswith("line 12")
    assert message in fault


def test_a_line_signed_by_another_key_is_caught(honest) -> None:
    *lines, last = (honest / "north.jsonl").read_bytes().splitlines(keepends=True)
    fields = json.loads(last)
    fields["signature"] = SigningKey.generate().sign(signed_bytes(fields))
    forged = b"".join([*lines, canonical(fields) + b"\n"])
    assert "signature is not of the shop's key" in verdict_of(forged, honest).fault


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_removed_or_swapped_lines_are_caught_without_any_evidence(honest, data) -> None:
    lines = (honest / "north.jsonl").read_bytes().splitlines(keepends=True)
    first = data.draw(st.integers(0, len(lines) - 2))
    second = data.draw(st.integers(first + 1, len(lines) - 1))
    removed = lines[:first] + lines[first + 1 :]
    assert f"line {first}:" in verdict_of(b"".join(removed), honest).fault
    lines[first], lines[second] = lines[second], lines[first]
    assert f"line {first}:" in verdict_of(b"".join(lines), honest).fault


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_cut_tail_is_caught_by_the_anchor_and_by_the_receipts(honest, data) -> None:
    content = (honest / "north.jsonl").read_bytes()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    assert not verdict_of(cut, honest, anchored=True).ok
    path = honest.parent / "changed" / "north.jsonl"
    (verdict,) = verify_all(path, with_receipts(honest.parent / "receipts.jsonl"))
    assert not verdict.ok


def test_a_whole_tail_cut_is_only_reported_as_unchecked_without_evidence(honest) -> None:
    lines = (honest / "north.jsonl").read_bytes().splitlines(keepends=True)
    verdict = verdict_of(b"".join(lines[:-2]), honest)
    assert verdict.ok
    assert any("whether the tail is missing" in text for text in verdict.unchecked)


def resigned(folder: Path, number: int, **body: object) -> bytes:
    """Rewrites a line and all after it with the shop's own key."""
    key = SigningKey.load(folder / "keys" / "north.key")
    lines = [json.loads(line) for line in (folder / "north.jsonl").read_bytes().splitlines()]
    changed = lines[number] if "time" in body else lines[number]["body"]
    changed |= body
    written: list[bytes] = []
    for fields in lines:
        if written:
            fields["previous"] = line_hash(written[-1])
        fields["signature"] = key.sign(signed_bytes(fields))
        written.append(canonical(fields))
    return b"".join(line + b"\n" for line in written)


def test_history_rewritten_with_the_shops_own_key_is_caught_by_countersignature_or_receipt(
    honest,
) -> None:
    assert resigned(honest, 0) == (honest / "north.jsonl").read_bytes()
    rewritten = resigned(honest, 5, digest="f" * 64)
    assert "signed another line" in verdict_of(rewritten, honest).fault
    last = resigned(honest, 12, digest="f" * 64)
    assert verdict_of(last, honest).ok
    (verdict,) = verify_all(
        honest.parent / "changed" / "north.jsonl",
        with_receipts(honest.parent / "receipts.jsonl"),
    )
    assert "line 12 is not the one that the server signed" in verdict.fault


def test_time_that_goes_back_and_a_filter_that_grows_are_caught_although_they_are_signed(
    tmp_path,
) -> None:
    ledger, path = open_ledger(tmp_path), tmp_path / "north.jsonl"
    full_run(ledger, rounds=1)
    ledger.reserve(request(1, run="adaptive"))
    ledger.reserve(request(2, run="adaptive"))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    number = max(i for i, line in enumerate(lines) if line["body"]["kind"] == "reservation")
    wider = {**lines[number]["body"]["filter"], "budget": 99.0}
    earlier = resigned(tmp_path, 3, time="2020-01-01T00:00:00Z")
    path.write_bytes(resigned(tmp_path, number, filter=wider))
    assert "whose filter is fixed" in verify(path, Evidence()).fault
    path.write_bytes(earlier)
    assert "must not be before" in verify(path, Evidence()).fault


def test_a_rotation_to_a_key_that_its_owner_does_not_hold_is_caught(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    old = SigningKey.load(tmp_path / "keys" / "north.key")
    ledger.rotate_key()
    *lines, last = (tmp_path / "north.jsonl").read_bytes().splitlines(keepends=True)
    fields = json.loads(last)
    fields["body"]["public_key"] = SigningKey.generate().public
    fields["signature"] = old.sign(signed_bytes(fields))
    (tmp_path / "north.jsonl").write_bytes(b"".join([*lines, canonical(fields) + b"\n"]))
    assert "did not sign for itself" in verify(tmp_path / "north.jsonl", Evidence()).fault


def test_the_end_of_a_run_is_recorded_and_countersigned_in_every_ledger(tmp_path) -> None:
    ledgers, adapter = tmp_path / "ledgers", tmp_path / "adapter_model.safetensors"
    adapter.write_bytes(b"weights")
    for name in ("north", "south"):
        full_run(open_ledger(ledgers, name))
    for _ in range(2):
        receipts = countersign(
            ledgers,
            run="r1",
            adapter=adapter,
            folder=tmp_path,
            server_key=tmp_path / "server.key",
        )
    assert [receipt.shop for receipt in receipts] == ["north", "south"]
    chain, _ = read_ledger(ledgers / "north.jsonl")
    assert [body.file for body in chain.adapters] == ["adapter_model.safetensors"]
    assert chain.countersigned == [12, 13]
    key = read_public_key(tmp_path / "server.pub", name="server-key")
    kept = EvidenceSources(
        receipts=tmp_path / "receipts.jsonl", server_key=PinnedKey(key, "of the run")
    )
    assert [verdict.ok for verdict in verify_all(ledgers, kept)] == [True, True]
    shutil.rmtree(ledgers / "keys")
    lines = (ledgers / "north.jsonl").read_bytes().splitlines(keepends=True)
    (ledgers / "north.jsonl").write_bytes(b"".join(lines[:12]))
    assert "which the server signed" in verify_all(ledgers, kept)[0].fault


def test_a_release_that_nobody_paid_for_is_caught_although_it_is_signed(honest) -> None:
    assert "spent already" in verdict_of(resigned(honest, 11, round=3), honest).fault
    mechanism = json.loads((honest / "north.jsonl").read_bytes().splitlines()[11])["body"]
    quieter = mechanism["mechanism"] | {"noise_multiplier": 1.0}
    assert "0 are reserved" in verdict_of(resigned(honest, 11, mechanism=quieter), honest).fault


def test_lines_of_two_continuations_do_not_mix(tmp_path) -> None:
    open_ledger(tmp_path / "a").reserve(request(1))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name, digest in (("a", "1"), ("b", "2")):
        ledger = Ledger.open(tmp_path / name / "north.jsonl")
        ledger.commit(ledger.reserve(request(2)), digest * 64)
    mine, other = (
        (tmp_path / name / "north.jsonl").read_bytes().splitlines(keepends=True) for name in "ab"
    )
    (tmp_path / "north.jsonl").write_bytes(b"".join([*mine[:-1], other[-1]]))
    fault = verify(tmp_path / "north.jsonl", Evidence()).fault
    assert "line 4: `previous` is not the hash of the line before" in fault


def test_yesterdays_copy_is_caught_by_verify_and_by_the_shop_itself(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1))
    yesterday = (tmp_path / "north.jsonl").read_bytes()
    ledger.reserve(request(2))
    (tmp_path / "north.jsonl").write_bytes(yesterday)
    (verdict,) = verify_all(tmp_path, EvidenceSources())
    assert "went back" in verdict.fault
    for writer in (lambda: ledger, lambda: Ledger.open(tmp_path / "north.jsonl")):
        with pytest.raises(PrivacyError, match=r"replaced while it was open|went back"):
            writer().reserve(request(3))


def test_another_shops_ledger_is_caught(tmp_path) -> None:
    full_run(open_ledger(tmp_path, "north"))
    full_run(open_ledger(tmp_path, "south"))
    shutil.copy(tmp_path / "south.jsonl", tmp_path / "north.jsonl")
    north, south = verify_all(tmp_path, EvidenceSources())
    assert south.ok
    assert "another shop's ledger" in north.fault
    with pytest.raises(PrivacyError, match="another"):
        Ledger.open(tmp_path / "north.jsonl")
    (tmp_path / "south.jsonl").unlink()
    assert [v.shop for v in verify_all(tmp_path, EvidenceSources()) if "missing" in v.fault] == [
        "south"
    ]


def test_an_exchanged_key_is_caught(tmp_path) -> None:
    full_run(open_ledger(tmp_path / "a"))
    full_run(open_ledger(tmp_path / "b"))  # the same history under another key
    shutil.copy(tmp_path / "b" / "north.jsonl", tmp_path / "a" / "north.jsonl")
    (verdict,) = verify_all(tmp_path / "a", EvidenceSources())
    assert "the key was exchanged" in verdict.fault
    key = read_ledger(tmp_path / "b" / "north.jsonl")[0].start.public_key
    alone = tmp_path / "b" / "north.jsonl"
    assert verify_all(alone, EvidenceSources(public_key=key))[0].ok
    assert not verify_all(alone, EvidenceSources(public_key="0" * 64))[0].ok
    keys = (tmp_path / "a" / "keys" / "north.key").read_bytes()
    (tmp_path / "b" / "keys" / "north.key").write_bytes(keys)
    with pytest.raises(PrivacyError, match="does not fit"):
        open_ledger(tmp_path / "b")


def test_a_replaced_adapter_or_release_is_caught(tmp_path) -> None:
    ledgers, adapter = tmp_path / "ledgers", tmp_path / "adapter" / "adapter_model.safetensors"
    adapter.parent.mkdir()
    adapter.write_bytes(b"weights")
    ledger, update = open_ledger(ledgers), {"B": np.ones((2, 3), dtype=np.float32)}
    reservation = ledger.reserve(request(1))
    kept = keep_release(tmp_path, "north", reservation.entry, update)
    ledger.commit(reservation, digest_arrays(update))
    ledger.record_adapter("r1", adapter, folder=tmp_path)
    (verdict,) = verify_all(ledgers, EvidenceSources())
    assert verdict.ok
    assert "digests of 2 released files" in verdict.checked
    adapter.write_bytes(b"weighty")
    for releases in (None, tmp_path, adapter.parent):
        (verdict,) = verify_all(ledgers, EvidenceSources(releases=releases))
        assert "replaced after release" in verdict.fault
    adapter.write_bytes(b"weights")
    keep_release(tmp_path, "north", reservation.entry, {"B": 2 * update["B"]})
    assert f"line {reservation.entry} committed" in verify_all(ledgers, EvidenceSources())[0].fault
    kept.rename(release_path(tmp_path, "north", 99))
    assert "never paid for" in verify_all(ledgers, EvidenceSources())[0].fault
    release_path(tmp_path, "north", 99).unlink()
    adapter.unlink()
    assert verify_all(ledgers, EvidenceSources())[0].ok
    assert "cannot be read" in verify_all(ledgers, EvidenceSources(releases=tmp_path))[0].fault


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 2}, "schema version v=2 is not known"),
        ({"body": {"kind": "refund"}}, "kind='refund' is not known"),
        ({"extra": 1}, "extra: extra inputs"),
        ({"seq": True}, "line 0"),
    ],
)
def test_unknown_versions_and_kinds_are_never_guessed(tmp_path, change, message) -> None:
    open_ledger(tmp_path)
    path = tmp_path / "north.jsonl"
    path.write_bytes(canonical(json.loads(path.read_bytes()) | change) + b"\n")
    assert message in verify(path, Evidence()).fault
    with pytest.raises(PrivacyError, match=message):
        read_ledger(path)
    with pytest.raises(PrivacyError, match=message):
        open_ledger(tmp_path, limits=LIMITS)


def test_empty_and_truncated_ledgers_are_named(tmp_path) -> None:
    path = tmp_path / "north.jsonl"
    path.write_bytes(b"")
    assert "the ledger is empty" in verify(path, Evidence()).fault
    with pytest.raises(PrivacyError, match="the ledger is empty"):
        read_ledger(path)
    path.unlink()
    full_run(open_ledger(tmp_path))
    path.write_bytes(path.read_bytes()[:-10])
    assert "is torn" in verify(path, Evidence()).fault
    with pytest.raises(PrivacyError, match="went back"):  # its line was acknowledged
        open_ledger(tmp_path)


def test_damaged_evidence_is_no_evidence(tmp_path) -> None:
    full_run(open_ledger(tmp_path))
    receipts = tmp_path / "receipts"
    receipts.write_text('{"shop": "north"}\n')
    with pytest.raises(PrivacyError, match="line 1: not a receipt"):
        verify_all(tmp_path, EvidenceSources(receipts=receipts))
    receipt = sign_last_line(SigningKey.generate(), shop="north", entry=0, head="0" * 64)
    receipts.write_text(receipt.model_copy(update={"entry": 1}).model_dump_json() + "\n")
    with pytest.raises(PrivacyError, match="does not fit its key"):
        verify_all(tmp_path, EvidenceSources(receipts=receipts))
    with pytest.raises(PrivacyError, match="does not exist"):
        verify_all(tmp_path, EvidenceSources(trust=tmp_path / "none"))
