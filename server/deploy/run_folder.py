"""What the coordinator keeps of one run: its public plan, checkpoints and how it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from server.candidates import draw_candidates
from server.deploy.folder import ServerFolder
from server.deploy.shops import read_base, read_shops
from server.federation import Federation
from server.planning import make_plan, mechanisms_of
from shared.config import RunSettings, Settings
from shared.deploy.invitation import PublicBase
from shared.deploy.owner_files import make_folder, write_owner_file
from shared.errors import ConfigError, RunError
from shared.messages import CodesArray, FloatArray, trainable_names
from shared.model.adapter import adapter_arrays, attach
from shared.model.popularity import denoise_counts
from shared.model.profile_model import build_base
from shared.model.text_cache import encode_texts
from shared.plan import Plan
from shared.privacy.ledger.entries import canonical


class RunState(Settings):
    """How a run stands, `state.json`: what `server run` trusts instead of Flower's exit status."""

    number: int
    """From 1."""
    status: Literal["running", "failed", "finished"]
    """`running` also after a crash."""
    round: int = 0
    """Rounds that are checkpointed."""
    attempts: int = 0
    """Flower runs so far."""
    flower_run: int | None = None
    """Id of the last Flower run."""
    nodes: int = 0
    """Shops in the federation when the run was made (public)."""
    message: str = ""
    """Why it failed."""
    releases: tuple[int, ...] = ()
    """Releases that it made."""
    updated: str = ""
    """Time, ISO 8601, UTC."""


@dataclass(frozen=True)
class Run:
    """One run of a coordinator.

    Attributes:
        server: The coordinator's folder.
        number: From 1.
    """

    server: ServerFolder
    number: int

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.server.runs / f"{self.number:04d}"

    def state(self) -> RunState:
        """Reads how it stands.

        Raises:
            RunError: `state.json` is missing or damaged.
        """
        try:
            return RunState.model_validate_json((self.path / "state.json").read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                f"run={self.path} has no readable state.json; start a new one with --new"
            ) from error

    def note(self, **changes: object) -> RunState:
        """Writes how it stands now."""
        state = self.state().model_copy(update={**changes, "updated": now()})
        write_owner_file(self.path / "state.json", canonical(state.model_dump(mode="json")))
        return state

    def settings(self) -> RunSettings:
        """Reads the settings that the run was made with.

        Raises:
            RunError: `settings.json` is missing or of another version.
        """
        try:
            return RunSettings.model_validate_json((self.path / "settings.json").read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                f"run={self.path} has no readable settings.json; start a new one with --new"
            ) from error

    def federation(self) -> tuple[Federation, PublicBase]:
        """Builds what is to be run; the same after every crash.

        Raises:
            FedprofileError: The budget cannot be met, or the encoder changed.
        """
        settings, public = self.settings(), read_base(self.server)
        base = build_base(settings.model, public.whitening())
        if base.base_hash != public.base_hash:
            raise ConfigError(
                f"encoder={settings.model.encoder} gives base {base.base_hash[:16]}…, the "
                f"invitations say {public.base_hash[:16]}…; restore the encoder's files"
            )
        adapter = adapter_arrays(attach(base, settings.model, seed=settings.seed))
        names = trainable_names(adapter, aggregation=settings.federation.aggregation)
        plan = make_plan(
            settings,
            mechanisms_of(settings),
            n_shops=self.state().nodes,
            n_trained=sum(adapter[name].size for name in names),
            base_hash=base.base_hash,
        )
        federation = Federation(
            plan=plan,
            settings=settings.federation,
            adapter=adapter,
            n_items=len(public.item_ids),
            candidates=Candidates(public, plan, n_shops=self.state().nodes),
            checkpoints=self.path / "checkpoints",
            resume=True,
        )
        return federation, public


class Candidates:
    """Draws the rounds' candidates from the noisy counts; the same after every crash."""

    def __init__(self, public: PublicBase, plan: Plan, *, n_shops: int) -> None:
        self._public, self._plan, self._n_shops = public, plan, n_shops
        self._popularity: FloatArray | None = None

    def __call__(self, number: int, counts: FloatArray | None) -> CodesArray:
        """Returns item codes for a round."""
        if counts is not None and self._popularity is None:
            public = self._public
            vectors = public.whitening().apply(encode_texts(public.texts, settings=public.model))
            std = self._plan.counts_noise_multiplier * float(np.sqrt(self._n_shops))
            self._popularity = denoise_counts(counts, vectors, std=std)
        return draw_candidates(
            len(self._public.item_ids),
            size=self._plan.candidates,
            seed=self._plan.seed,
            server_round=number,
            popularity=None if counts is None else self._popularity,
        )


def runs(server: ServerFolder) -> list[Run]:
    """Returns all runs, oldest first."""
    found = sorted(int(path.name) for path in server.runs.glob("[0-9]*") if path.is_dir())
    return [Run(server, number) for number in found]


def open_run(server: ServerFolder, *, new: bool) -> Run:
    """Returns the run to be taken up, or a new one.

    Args:
        server: The coordinator's folder.
        new: Make a new one although the last is not finished.

    Raises:
        ConfigError: Too few shops are invited.
        FedprofileError: The budget cannot be met.
    """
    known = runs(server)
    if known and not new and known[-1].state().status != "finished":
        return known[-1]
    settings, public, invited = server.settings(), read_base(server), read_shops(server)
    least = settings.federation.min_replies
    if len(invited) < least:
        raise ConfigError(
            f"shops={len(invited)} must be at least min_replies={least}; invite more with "
            "`fedprofile server invite`"
        )
    run = Run(server, known[-1].number + 1 if known else 1)
    chosen = settings.of_run(run.number, public.model)
    mechanisms_of(chosen)
    make_folder(run.path)
    write_owner_file(run.path / "settings.json", canonical(json.loads(chosen.model_dump_json())))
    state: dict[str, Any] = {"number": run.number, "status": "running", "nodes": len(invited)}
    write_owner_file(run.path / "state.json", canonical(RunState(**state).model_dump(mode="json")))
    return run


def now() -> str:
    """Returns the time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
