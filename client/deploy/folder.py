"""A node's folder: its settings, `node.toml`, and the paths of all its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from client.federation.node_interface import DEFAULT_RULES, PlanRules
from shared.errors import ConfigError
from shared.privacy.accounting.accountants import MIN_NOISE
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import KEY, KEYS, NEXT_KEY
from shared.protocol.invitation import INVITATION, Invitation, read_invitation
from shared.settings.plan_bounds import MAX_HEAD
from shared.settings.run_settings import DataSettings, Settings
from shared.settings.service_file import read_settings

INIT_COMMAND = "`fedprofile node init`"


class NodeSettings(Settings):
    """Settings of a node, `node.toml`."""

    shop: str
    """The shop's public name."""
    data: str | None = None
    """File or folder of the shop's events; None where `store` is trained on."""
    store: str | None = None
    """URL of the shop's database, which is trained on; None for `data`."""
    order_column: str | None = None
    """Column that stands for time where there are no dates."""
    unit: Literal["user"]
    """What is protected: everything of one user."""
    limits: LifetimeLimits
    """What the shop will never pass; fixed in the ledger's first line."""
    min_noise_multiplier: Annotated[float, Field(ge=MIN_NOISE)] = MIN_NOISE
    """Least noise of any mechanism that a plan may ask for."""
    max_sample_rate: Annotated[float, Field(gt=0, le=1)] = DEFAULT_RULES.max_sample_rate
    """Largest probability that a user takes part in a step."""
    max_steps: Annotated[int, Field(ge=1)] = DEFAULT_RULES.max_steps
    """Most noisy steps of a plan."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest clip norm of a plan."""
    max_head_items: Annotated[int, Field(ge=2, le=MAX_HEAD)] = MAX_HEAD
    """Most items whose co-purchase pairs a plan may ask for."""
    max_adapter_norm: Annotated[float, Field(gt=0)] = 1000.0
    """Largest L2 norm of a global adapter that is installed."""
    max_own_epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest epsilon of what the shop guarantees by its own noise alone, should all others work
    together; None for any."""
    allow_older: bool = False
    """Whether an older adapter that the server sends again on purpose is installed."""
    keep: Annotated[int, Field(ge=2)] = 5
    """Installed releases that are kept of each kind."""
    bundles: tuple[str, ...]
    """SHA-256 of the app bundles that may start the installed code."""
    package: str
    """SHA-256 of the installed code; another one does not start."""
    encoder: str | None = None
    """Folder or name of the encoder here; None takes the invitation's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training runs."""

    def rules(self) -> PlanRules:
        """Returns what the owner accepts in a plan."""
        return PlanRules(
            min_noise_multiplier=self.min_noise_multiplier,
            max_sample_rate=self.max_sample_rate,
            max_steps=self.max_steps,
            max_grad_norm=self.max_grad_norm,
            max_head_items=self.max_head_items,
            max_own_epsilon=self.max_own_epsilon,
        )

    def reading(self) -> DataSettings:
        """Returns how the data are read: one user's row must not end a request."""
        return DataSettings(
            source=self.data or "", order_column=self.order_column, malformed_rows="drop"
        )


@dataclass(frozen=True)
class NodeFolder:
    """Paths of a node.

    Attributes:
        root: The folder.
    """

    root: Path

    def settings(self) -> NodeSettings:
        """Reads `node.toml`.

        Raises:
            ConfigError: It is missing, of another version, or a value is out of its bounds.
        """
        return read_settings(self.config, NodeSettings, made_by=INIT_COMMAND)

    def invitation(self) -> Invitation:
        """Reads the invitation, with this machine's encoder in it.

        Raises:
            ConfigError: It is missing or damaged.
        """
        invitation = read_invitation(self.root / INVITATION)
        encoder = self.settings().encoder
        if encoder is None:
            return invitation
        base = invitation.base
        model = base.model.model_copy(update={"encoder": encoder, "revision": None})
        return invitation.model_copy(update={"base": base.model_copy(update={"model": model})})

    def require(self) -> NodeFolder:
        """Refuses a folder without a node.

        Raises:
            ConfigError: There is none.
        """
        if not self.config.exists():
            raise ConfigError(
                "holds no node",
                name="folder",
                value=self.root,
                remedy=f"make it with {INIT_COMMAND}",
            )
        return self

    @property
    def config(self) -> Path:
        """Settings."""
        return self.root / "node.toml"

    @property
    def key(self) -> Path:
        """The node's private key towards the server, PKCS 8 or OpenSSH."""
        return self.root / "node.key"

    @property
    def public_key(self) -> Path:
        """Its public part, for the server's owner."""
        return self.root / "node.pub"

    @property
    def ledgers(self) -> Path:
        """The shop's ledger; its key and anchor are in `keys`."""
        return self.root / "ledger"

    def private_keys(self) -> list[Path]:
        """Returns all private keys: towards the server, and of the ledger."""
        keys = self.ledgers / KEYS
        return [self.key, *sorted(p for e in (KEY, NEXT_KEY) for p in keys.glob(f"*{e}"))]

    @property
    def store(self) -> Path:
        """Copies of the releases that left."""
        return self.root / "store"

    @property
    def own_pairs(self) -> Path:
        """What the shop itself put into released pair sums, without noise."""
        return self.root / "own_pairs"

    @property
    def roster(self) -> Path:
        """Who adds up: what the server offered, what the owner accepted, what all have signed."""
        return self.root / "roster"

    @property
    def sums(self) -> Path:
        """What the shop decided in secure sums; secrets of a run that has not ended among it."""
        return self.root / "sums"

    @property
    def adapters(self) -> Path:
        """Installed releases."""
        return self.root / "adapters"

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.root / "cache"

    @property
    def lock(self) -> Path:
        """Held by the node's process while it runs."""
        return self.root / "node.lock"

    @property
    def log(self) -> Path:
        """The log."""
        return self.root / "node.jsonl"

    @property
    def data_report(self) -> Path:
        """What was read and dropped when the data were last read; stays here."""
        return self.root / "data.json"

    @property
    def counters(self) -> Path:
        """Counters for Prometheus."""
        return self.root / "tally.json"

    @property
    def flower_home(self) -> Path:
        """Flower's own folder."""
        return self.root / "flower"

    @property
    def empty(self) -> Path:
        """Working directory of the node's processes."""
        return self.root / "empty"
