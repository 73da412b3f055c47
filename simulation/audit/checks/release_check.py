"""What a run saved of its shops' replies: as the ledgers committed it, and with the stated noise.

The clean sums are not known here. Whatever they are, with independent noise sums are at least as
large, residues as uniform and coincidences at most as frequent as in the noise; that is tested.

What left under masks shows nothing of its noise: there the masks are tested, and the finding says
so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from shared.errors import FedprofileError
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Round
from shared.privacy.ledger.log.shop_files import digest_arrays, find_ledgers
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.noise import grid_variance
from shared.protocol.secure_sums import asked_in
from shared.releases.pair_sums import n_pairs
from shared.secure_aggregation.masks import NUMBER_BYTES
from simulation.audit.checks.masked_bytes import (
    MaskedNumbers,
    masked_p_values,
    shared_mask_p_values,
)
from simulation.audit.checks.residual_tests import (
    Residual,
    named,
    repetition_p_values,
    smallest,
    unknown_sum_p_values,
)
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import LEDGERS, Subject
from simulation.runs.saved_releases import SavedRelease, read_releases

ALARM = 1e-3
"""Probability that the check fails on honest releases, over all of its tests."""
NAMED = 3
"""Faults that the finding spells out; all are among its figures."""
MOST_COMPARED = 400
"""Releases at most that are compared with each other; bounds the time."""
UNSEEN = (
    "under masks, uniform bytes: their noise cannot be seen from outside; to test it, run with "
    "--secure-aggregation ideal --save-releases"
)
"""What of a secure run's releases can be said."""


def check_releases(subject: Subject) -> Finding:
    """Holds saved releases against the ledgers, and tests their noise as far as it can be seen."""
    if subject.releases is None:
        return Finding(True, "the run saved no releases", {})
    try:
        saved = read_releases(subject.releases)
    except FedprofileError as error:
        return Finding(False, str(error), {})
    faults = list(_ledger_faults(saved, subject.releases / LEDGERS))
    faults += _length_faults(saved)
    tests = _noise_tests(saved) | _mask_tests(saved)
    oddest, p = smallest(tests) if tests else ("", 1.0)
    if p < ALARM:
        faults.append(f"{oddest}: p = {p:.1g}")
    masked = sum(release.masked for release in saved)
    figures = {"saved": len(saved), "masked": masked, "faults": faults}
    figures |= {"oddest": oddest, "p": p, "tests": len(tests)}
    if faults:
        more = f" (and {len(faults) - NAMED} more)" if len(faults) > NAMED else ""
        return Finding(False, "; ".join(faults[:NAMED]) + more, figures)
    shops = len({release.asked.shop for release in saved})
    text = f"{len(saved)} releases of {shops} shops are what their ledgers committed, "
    return Finding(True, text + _how(masked, len(saved)), figures)


def _how(masked: int, saved: int) -> str:
    if not masked:
        return "with noise"
    return UNSEEN if masked == saved else f"with noise; {masked} of them {UNSEEN}"


def _noise_tests(saved: Sequence[SavedRelease]) -> dict[str, float]:
    residuals = [_residual(release) for release in saved if not release.masked and _typed(release)]
    tests: dict[str, float] = {}
    for residual in residuals:
        tests |= named(residual.name, unknown_sum_p_values(residual))
    return tests | repetition_p_values(residuals[:MOST_COMPARED])


def _mask_tests(saved: Sequence[SavedRelease]) -> dict[str, float]:
    releases = [_masked(release) for release in saved if release.masked and _typed(release)]
    tests: dict[str, float] = {}
    for release in releases:
        tests |= named(release.name, masked_p_values(release))
    return tests | shared_mask_p_values(releases[:MOST_COMPARED])


def _ledger_faults(saved: Sequence[SavedRelease], ledgers: Path) -> Iterator[str]:
    """Compares each file with the line that its digest was committed for."""
    chains = [read_ledger(path)[0] for path in find_ledgers(ledgers)]
    by_shop = {chain.start.shop: chain for chain in chains}
    kept: dict[str, list[SavedRelease]] = {shop: [] for shop in by_shop}
    for release in saved:
        if release.asked.shop not in by_shop:
            yield f"{release.asked.shop} has releases and no ledger"
        else:
            kept[release.asked.shop].append(release)
    for shop, chain in by_shop.items():
        committed = _committed(chain)
        files = Counter(digest_arrays(release.arrays) for release in kept[shop])
        missing = set(committed) - set(files)
        if missing:
            yield f"{shop}: {len(missing)} of {len(committed)} committed releases are not saved"
        for release in kept[shop]:
            line = committed.get(digest_arrays(release.arrays))
            fault = (
                "is not what the ledger committed"
                if line is None
                else _beside(release, line, chain)
            )
            if fault:
                yield f"{shop}/{release.path.name} {fault}"


def _committed(chain: Chain) -> Mapping[str, Round]:
    return {
        digest: chain.bodies[line] for line, digests in chain.commits.items() for digest in digests
    }


def _beside(release: SavedRelease, line: Round, chain: Chain) -> str:
    """Returns what the file says otherwise than the ledger's line, if anything."""
    if release.masked and line.run not in chain.aggregations:
        return "left under masks of a run without a set-up"
    asked, mechanism = release.asked, line.mechanism
    variance = mechanism.steps * grid_variance(
        mechanism.noise_multiplier, shops=mechanism.shared_by
    )
    said = {
        "grid": (asked.grid, mechanism.grid),
        "variance": (int(asked.variance), variance),
        "inputs": (_inputs(release, chain), line.inputs),
        "plan": (asked.plan, line.plan_digest),
        "run": (asked.run, line.run),
        "round": (asked.round, line.round),
    }
    wrong = [name for name, (here, there) in said.items() if here != there]
    return f"states another {', '.join(wrong)} than the ledger" if wrong else ""


def _inputs(release: SavedRelease, chain: Chain) -> str:
    """Returns the digest of what was asked as the ledger holds it: under masks, of one set-up."""
    asked = release.asked
    if not release.masked:
        return asked.inputs
    aggregation = chain.aggregations.get(asked.run)
    return "" if aggregation is None else asked_in(aggregation.setup, asked.inputs)


def _length_faults(saved: Sequence[SavedRelease]) -> Iterator[str]:
    """Every shop answers a question with the same number of whole numbers."""
    lengths: dict[tuple[str, str], set[int]] = {}
    for release in saved:
        if not _typed(release):
            what = f"not uint8, {NUMBER_BYTES} a number" if release.masked else "not int64"
            yield f"{release.asked.shop}/{release.path.name} holds numbers that are {what}"
        lengths.setdefault((release.asked.run, release.asked.kind), set()).add(release.length)
    for (run, kind), found in lengths.items():
        if len(found) > 1:
            yield f"{kind} of run {run} have {len(found)} different lengths"
        h = round((1 + (1 + 8 * max(found)) ** 0.5) / 2)
        if kind == "pairs" and n_pairs(h) != max(found):
            yield f"pairs of run {run} are {max(found)}, which no head gives"


def _typed(release: SavedRelease) -> bool:
    """Whether it holds whole numbers, or bytes of them where they are masked."""
    if release.masked:
        return release.numbers.dtype == np.uint8 and len(release.numbers) % NUMBER_BYTES == 0
    return all(array.dtype == np.int64 for array in release.arrays.values())


def _residual(release: SavedRelease) -> Residual:
    asked = release.asked
    return Residual(_name(release), asked.kind, release.numbers, int(asked.variance))


def _masked(release: SavedRelease) -> MaskedNumbers:
    return MaskedNumbers(_name(release), release.asked.run, release.numbers.tobytes())


def _name(release: SavedRelease) -> str:
    return f"{release.asked.shop}/{release.path.stem}"
