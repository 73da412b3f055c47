"""What the coordinator keeps of one run: its public plan, checkpoints and how it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from server.coordinator.folder import ServerFolder, ServerSettings
from server.coordinator.invited_shops import read_base, read_shops
from server.coordinator.roster import signed_roster
from server.federation.federated_run import Federation
from server.federation.public_plan import CandidateSource, make_plan, mechanisms_of
from shared.errors import ConfigError, RunError
from shared.keys.signing import canonical
from shared.model.text_vectors import encode_texts
from shared.protocol.invitation import PublicBase
from shared.protocol.messages import FloatArray, trainable_names
from shared.runtime.file_store import make_folder, write_atomic
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.roster_file import read_roster, write_roster
from shared.settings.run_settings import RunSettings, Settings

Noise = Literal["shop", "shared"]


class TrainingRunState(Settings):
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
                remedy="start a new one with `fedprofile server run --new`",
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
        remedy = "restore it from its backup, or begin a new run with `fedprofile server run --new`"
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
                remedy="start a new one with `fedprofile server run --new`",
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


@dataclass(frozen=True)
class RunOptions:
    """What differs in one run from `server.toml`.

    Attributes:
        noise: Who adds it; None takes that of the settings, or `shared` where these leave it open
            and all shops have signed a roster.
        only: `adapter` releases no statistics, and gives the whole budget to the adapter.
    """

    noise: Noise | None = None
    only: Literal["adapter"] | None = None

    def apply(self, settings: ServerSettings) -> ServerSettings:
        """Returns the settings of the run."""
        if self.only is None:
            return settings
        shares = {"counts_share": 0.0, "pairs_share": 0.0, "adapter_share": 1.0}
        privacy = settings.privacy.model_copy(update=shares)
        return settings.model_copy(update={"privacy": privacy})


AS_SET = RunOptions()
"""Nothing differs."""


def open_run(server: ServerFolder, *, new: bool, options: RunOptions = AS_SET) -> TrainingRun:
    """Returns the run to be taken up, or a new one.

    Args:
        server: The coordinator's folder.
        new: Make a new one although the last is not finished.
        options: Of a new one.

    Raises:
        ConfigError: Too few shops are invited, no roster is signed that shared noise needs, or
            options are given for a run that has begun.
        FedprofileError: The budget cannot be met.
    """
    earlier = list_runs(server)
    if earlier and not new and earlier[-1].state().status != "finished":
        if options != AS_SET:
            raise ConfigError(
                "goes on as it was begun",
                name="run",
                value=earlier[-1].number,
                remedy="leave out --noise and --only, or begin a new one with --new",
            )
        return earlier[-1]
    settings, public, invited = server.settings(), read_base(server), read_shops(server)
    least = settings.federation.min_replies
    if len(invited) < least:
        raise ConfigError(
            f"must be at least min_replies={least}",
            name="shops",
            value=len(invited),
            remedy="invite more with `fedprofile server invite`",
        )
    settings.federation.check_robust(len(invited))
    run = TrainingRun(server, earlier[-1].number + 1 if earlier else 1)
    roster = _roster_of(server, settings, options)
    noise: Noise = "shop" if roster is None else "shared"
    run_settings = options.apply(settings).of_run(run.number, public.model, noise=noise)
    if roster is not None:
        RunSettings.model_validate(run_settings.model_dump())  # what looks at single updates
    mechanisms_of(run_settings)  # refuses before anything is written
    make_folder(run.path)
    write_atomic(
        run.path / "settings.json",
        canonical(json.loads(run_settings.model_dump_json())),
        durable=True,
        private=True,
    )
    if roster is not None:
        write_roster(run.roster_file, roster)
    nodes = len(invited) if roster is None else roster.size
    state: dict[str, Any] = {"number": run.number, "status": "running", "nodes": nodes}
    write_atomic(
        run.path / "state.json",
        canonical(TrainingRunState(**state).model_dump(mode="json")),
        durable=True,
        private=True,
    )
    return run


def _roster_of(
    server: ServerFolder, settings: ServerSettings, options: RunOptions
) -> Roster | None:
    """Returns the roster under which a new run shares its noise; None where each shop adds all.

    Raises:
        ConfigError: Shared noise is asked for, and not all shops have signed a roster.
    """
    noise = options.noise or settings.privacy.noise
    single = settings.federation.robust != "none" or settings.training.local_steps > 1
    if noise == "shop" or (noise is None and single):
        return None
    try:
        return signed_roster(server).roster
    except ConfigError:
        if noise == "shared":
            raise
        return None


def utc_now() -> str:
    """Returns the time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
