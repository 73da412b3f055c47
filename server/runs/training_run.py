"""What the coordinator keeps of one run: its public plan, checkpoints and how it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import read_base
from server.federation.federated_run import Federation
from server.federation.public_plan import CandidateSource, make_plan, mechanisms_of
from shared.errors import ConfigError, RunError
from shared.keys.signing import canonical
from shared.model.text_vectors import encode_texts
from shared.protocol.invitation import PublicBase
from shared.protocol.messages import FloatArray, trainable_names
from shared.runtime.file_store import write_atomic
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.roster_file import read_roster
from shared.settings.run_settings import RunSettings, Settings

Noise = Literal["shop", "shared"]


class TrainingRunState(Settings):
    """How a run stands, `state.json`: what `server run` trusts instead of Flower's exit status."""

    number: int
    """From 1."""
    status: Literal["running", "failed", "finished", "abandoned"]
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
    remedy: str = ""
    """What to do then, for who reads `server run`."""
    releases: tuple[int, ...] = ()
    """Releases that it made."""
    updated: str = ""
    """Time, ISO 8601, UTC."""


@dataclass(frozen=True)
class TrainingRun:
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

    def state(self) -> TrainingRunState:
        """Reads how it stands.

        Raises:
            RunError: `state.json` is missing or damaged.
        """
        try:
            return TrainingRunState.model_validate_json((self.path / "state.json").read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                "has no readable state.json",
                name="run",
                value=self.path,
                remedy="restore it from a backup, or end it with `fedprofile server abandon`",
            ) from error

    @property
    def roster_file(self) -> Path:
        """Roster under which the noise is shared; missing where each shop adds all of it."""
        return self.path / "roster.json"

    def roster(self) -> Roster | None:
        """Reads the run's roster.

        Raises:
            ConfigError: It is damaged.
        """
        remedy = "restore it from its backup, or end the run with `fedprofile server abandon`"
        return read_roster(self.roster_file, Roster, remedy=remedy)

    def note(self, **changes: object) -> TrainingRunState:
        """Writes how it stands now."""
        state = self.state().model_copy(update={**changes, "updated": utc_now()})
        write_atomic(
            self.path / "state.json",
            canonical(state.model_dump(mode="json")),
            durable=True,
            private=True,
        )
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
                "has no readable settings.json",
                name="run",
                value=self.path,
                remedy="restore it from a backup, or end it with `fedprofile server abandon`",
            ) from error

    def price(self) -> str:
        """Says in one line what the run costs each shop."""
        privacy, roster = self.settings().privacy, self.roster()
        cost = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} in each shop"
        if roster is None:
            return f"{cost}; each shop adds all of the noise"
        return (
            f"{cost}, of sums over at least {roster.threshold} of {roster.size} shops; the noise "
            f"is shared under the roster {roster.digest()[:16]}"
        )

    def federation(self) -> tuple[Federation, PublicBase]:
        """Builds what is to be run; the same after every crash.

        Raises:
            FedprofileError: The budget cannot be met, or the encoder changed.
        """
        # They bring torch, and whoever only looks at a run builds none.
        from shared.model.adapter import adapter_arrays, attach
        from shared.model.profile_model import build_base

        settings, public, roster = self.settings(), read_base(self.server), self.roster()
        base = build_base(settings.model, public.whitening())
        if base.base_hash != public.base_hash:
            raise ConfigError(
                f"gives base {base.base_hash[:16]}…, the invitations say {public.base_hash[:16]}…",
                name="encoder",
                value=settings.model.encoder,
                remedy="restore the encoder's files",
            )
        adapter = adapter_arrays(attach(base, settings.model, seed=settings.seed))
        names = trainable_names(adapter, aggregation=settings.federation.aggregation)
        plan = make_plan(
            settings,
            mechanisms_of(settings),
            n_shops=self.state().nodes,
            n_trained=sum(adapter[name].size for name in names),
            base_hash=base.base_hash,
            roster=roster,
        )
        federation = Federation(
            plan=plan,
            roster=roster,
            settings=settings.federation,
            adapter=adapter,
            n_items=len(public.item_ids),
            candidates=CandidateSource(plan, public_vectors(public), n_items=len(public.item_ids)),
            checkpoints=self.path / "checkpoints",
            resume=True,
        )
        return federation, public


def public_vectors(public: PublicBase) -> Callable[[], FloatArray]:
    """Returns a function that encodes the public catalogue: `(n_items, dim)`."""
    return lambda: public.whitening().apply(encode_texts(public.texts, settings=public.model))


def list_runs(server: ServerFolder) -> list[TrainingRun]:
    """Returns all runs, oldest first."""
    numbers = sorted(int(path.name) for path in server.runs.glob("[0-9]*") if path.is_dir())
    return [TrainingRun(server, number) for number in numbers]


def utc_now() -> str:
    """Returns the time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
