"""The server's folder: its settings and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shared.keys.signing import SigningKey
from shared.privacy.accounting.calibration import check_delta
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import (
    HEAD_ITEMS,
    FederationSettings,
    ModelSettings,
    PrivacySettings,
    RunSettings,
    Settings,
    TrainingSettings,
)
from shared.settings.service_file import read_settings

MADE_BY = "`fedprofile server init`"


class ServerSettings(Settings):
    """Settings of a coordinator, `server.toml`."""

    name: str
    """Public name."""
    address: str
    """`host:port` that nodes connect to."""
    host: str = "127.0.0.1"
    """Address that the SuperLink binds; anything but loopback opens the control interface too."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port that the SuperLink binds."""
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    """Host names and IP addresses in the certificate."""
    wait: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a run waits for `nodes` before its first round."""
    nodes: Annotated[int, Field(ge=1)] | None = None
    """Nodes to wait for; None waits for all invited ones. `federation.min_replies` is enough when
    the time is over."""
    attempts: Annotated[int, Field(ge=1)] = 10
    """Times that a run is taken up again after crashes."""
    time_unit: str = "days"
    """`days` or `order`: what the shops' events count time in."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Public seed; each run adds its number. No noise comes from it."""
    model: ModelSettings = ModelSettings()
    """Profile model."""
    training: TrainingSettings = TrainingSettings()
    """Local training."""
    federation: FederationSettings = FederationSettings(round_timeout=600.0, max_update_norm=10.0)
    """Aggregation."""
    privacy: PrivacySettings = PrivacySettings()
    """Budget of one run in each shop, and its split into counts, pairs and adapter."""

    def of_run(
        self, number: int, model: ModelSettings, *, noise: Literal["shop", "shared"] = "shop"
    ) -> RunSettings:
        """Returns the settings of a run.

        Args:
            number: From 1.
            model: Model settings that fit the base.
            noise: Who adds it. Where it is shared no update of a single shop is seen, and none is
                clipped to `max_update_norm`.

        Raises:
            PrivacyError: Delta is too large for the stated users of a shop.
            ConfigError: Something else looks at single updates.
        """
        max_users = self.federation.max_shop_users
        check_delta(self.privacy.delta, max_users, users_name="max_shop_users")
        head = self.privacy.head_items or HEAD_ITEMS[self.time_unit]
        federation = self.federation
        if noise == "shared":
            federation = federation.model_copy(update={"max_update_norm": None})
        return RunSettings(
            seed=self.seed + number,
            model=model,
            training=self.training,
            federation=federation,
            privacy=self.privacy.model_copy(update={"head_items": head, "noise": noise}),
        )


@dataclass(frozen=True)
class ServerFolder:
    """Paths of a coordinator.

    Attributes:
        root: The folder.
    """

    root: Path

    def settings(self) -> ServerSettings:
        """Reads `server.toml`.

        Raises:
            ConfigError: It is missing, of another version, or a value is out of its bounds.
        """
        return read_settings(self.root / "server.toml", ServerSettings, made_by=MADE_BY)

    @property
    def authority(self) -> Path:
        """Certificate of the authority; its key has the ending `.key`."""
        return self.root / "authority.pem"

    @property
    def certificate(self) -> Path:
        """Certificate of the server; its key has the ending `.key`."""
        return self.root / "server.pem"

    @property
    def signing_key(self) -> Path:
        """Key of releases and receipts."""
        return self.root / "signing.key"

    @property
    def signing_public(self) -> Path:
        """Its public part, so that reading needs no passphrase."""
        return self.root / "signing.pub"

    def private_keys(self) -> list[Path]:
        """Returns all private keys: authority, TLS, releases and receipts."""
        return [
            self.authority.with_suffix(".key"),
            self.certificate.with_suffix(".key"),
            self.signing_key,
        ]

    def server_key(self) -> str:
        """Returns the public key of releases and receipts, 64 hexadecimal digits."""
        if self.signing_public.exists():
            return self.signing_public.read_text().strip()
        return SigningKey.load(self.signing_key).public

    def keep_server_key(self) -> None:
        """Writes the public key where an earlier version did not.

        Who lists or invites later may not have the passphrase.

        Raises:
            FedprofileError: The private key cannot be opened, or the disk refused.
        """
        if self.signing_key.exists() and not self.signing_public.exists():
            write_atomic(
                self.signing_public, self.server_key().encode() + b"\n", durable=True, private=True
            )

    @property
    def executor_secret(self) -> Path:
        """What a process must know to take up a run of the SuperLink."""
        return self.root / "executor.secret"

    @property
    def base(self) -> Path:
        """The public catalogue and base."""
        return self.root / "base.json"

    @property
    def shops(self) -> Path:
        """Who was invited."""
        return self.root / "shops.json"

    @property
    def roster(self) -> Path:
        """Keys of the shops, the roster made of them, and the owners' signatures."""
        return self.root / "roster"

    @property
    def database(self) -> Path:
        """The SuperLink's database."""
        return self.root / "superlink.db"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.root / "runs"

    @property
    def lock(self) -> Path:
        """Held by the command that works with the nodes: a run, a sending, a roster."""
        return self.root / "server.lock"

    @property
    def log(self) -> Path:
        """The log of all commands that work with the nodes."""
        return self.logs / "server.jsonl"

    @property
    def releases(self) -> Path:
        """One folder a release."""
        return self.root / "releases"

    @property
    def receipts(self) -> Path:
        """One file of signed heads a shop."""
        return self.root / "receipts"

    @property
    def logs(self) -> Path:
        """Logs."""
        return self.root / "logs"

    @property
    def tally(self) -> Path:
        """Counters for Prometheus."""
        return self.root / "tally.json"

    @property
    def flower_home(self) -> Path:
        """Flower's own folder."""
        return self.root / "flower"

    @property
    def empty(self) -> Path:
        """Working directory of the SuperLink: Flower looks for code there."""
        return self.root / "empty"


def reachable_host(host: str) -> str:
    """Returns the address under which this machine reaches a bound host."""
    return "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104
