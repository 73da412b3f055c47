"""Runs the checks one by one; a check that cannot finish has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata

import torch

from shared.errors import ConfigError, PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair
from simulation.audit.checks.masks_check import check_masks
from simulation.audit.checks.noise_checks import check_independence, check_noise
from simulation.audit.checks.one_run_bound import check_one_run
from simulation.audit.checks.release_check import check_releases
from simulation.audit.checks.reply_checks import check_one_user, check_reply
from simulation.audit.checks.result import AuditResult, Check, Finding
from simulation.audit.checks.sampling_check import check_poisson
from simulation.audit.checks.spending_records import check_records
from simulation.audit.checks.subject import Subject

CHECKS: dict[str, tuple[str, Callable[[Subject], Finding]]] = {
    "accounts": (
        "Is every recorded epsilon right, and is everything in it?",
        lambda subject: check_records(subject.records),
    ),
    "releases": ("Is what left the shops what their ledgers say?", check_releases),
    "reply": ("Does a reply hold the release and nothing else?", check_reply),
    "masks": (
        "Does a shop in a secure sum send the same, with its share of the noise?",
        check_masks,
    ),
    "one-user": ("Does no user move a release by more than the noise is for?", check_one_user),
    "noise": ("Is every number of every release as noisy as claimed?", check_noise),
    "independence": (
        "Is noise new in every release and impossible to draw again?",
        check_independence,
    ),
    "one-run": ("Does one whole run give away more than claimed?", check_one_run),
    "poisson": ("Is each user sampled by an own coin?", check_poisson),
}
"""Name -> question, function."""
OF_TRAINING = frozenset({"one-run", "poisson"})
"""Checks that have nothing to look at where a plan trains nothing."""


def run_audit(
    subject: Subject,
    *,
    checks: Collection[str] = tuple(CHECKS),
    progress: Callable[[str, int, int], None] | None = None,
) -> AuditResult:
    """Audits the installed code on a plan, and records of what was spent.

    Args:
        subject: Plan, records and randomness.
        checks: Names among `CHECKS`; all by default.
        progress: Called with a check's question, its number and how many there are.

    Returns:
        All findings; nothing that a check meets ends the audit.

    Raises:
        ConfigError: A check is not known.
        PrivacyError: The plan has no noise, or no accountant can bound it.
    """
    unknown = sorted(set(checks) - set(CHECKS))
    if unknown:
        raise ConfigError(
            f"is not one of {', '.join(CHECKS)}",
            name="check",
            value=unknown[0],
            remedy="choose one",
        )
    quiet = any(mechanism.noise_multiplier == 0 for mechanism in subject.mechanisms)
    if not subject.plan.private or not subject.mechanisms or quiet:
        raise PrivacyError(
            "must be above 0: without privacy there is nothing to audit",
            name="noise_multiplier",
            value="0",
            remedy="audit a private run or set --epsilon",
        )
    epsilon, _ = epsilon_pair(subject.mechanisms, subject.delta)
    done = []
    with _one_thread():
        for number, name in enumerate(n for n in CHECKS if n in checks):
            if progress is not None:
                progress(CHECKS[name][0], number, len(set(checks)))
            done.append(_run(name, subject))
    return AuditResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fedprofile_version=metadata.version("fedprofile"),
        epsilon=epsilon,
        delta=subject.delta,
        mechanisms=subject.mechanisms,
        checks=tuple(done),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """The steps are small: threads would only wait for each other, for long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(name: str, subject: Subject) -> Check:
    question, function = CHECKS[name]
    start = time.perf_counter()
    try:
        idle = name in OF_TRAINING and subject.training is None
        finding = Finding(True, "the plan trains nothing", {}) if idle else function(subject)
    except Exception as error:  # the audited code may do anything
        text = f"the audited code raised {type(error).__name__}: {error}"
        finding = Finding(False, text, {"error": type(error).__name__})
    seconds = time.perf_counter() - start
    return Check(name, question, finding.passed, finding.text, finding.figures, seconds)
