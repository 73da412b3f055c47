"""What a shop has decided in one run, read back by the process that gives its next answer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from shared.errors import PrivacyError
from shared.keys.signing import canonical
from shared.secure_aggregation.dealing import ShopSetup
from shared.secure_aggregation.decisions import Decisions, decide_same, require
from shared.secure_aggregation.messages import (
    ConfirmRequest,
    InputRequest,
    KeyList,
    SumBinding,
    Terms,
    read_message,
)
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.run_secrets import RunSecrets

_SEED, _TERMS, _KEYS, _LETTERS, _ENDED = "seed", "terms", "keys", "letters", "ended"
_NEW_RUN = "start a new run"
_ORDER = "ask in the order of the protocol"


@dataclass(frozen=True)
class ShopRecord:
    """A shop's decisions in one run.

    A method that decides refuses whatever differs from what stands.

    Attributes:
        shop: Its name.
        roster: Checked.
        decisions: Of this run alone.
    """

    shop: str
    roster: Roster
    decisions: Decisions

    def decide_terms(self, terms: Terms) -> RunSecrets:
        """Decides the terms, draws the run's seed once, and returns its secrets.

        Raises:
            PrivacyError: Other terms stand, or the run has ended.
        """
        self._refuse_ended()
        self._decide(_TERMS, terms.content(), what="terms")
        return RunSecrets.of(self.decisions.decide(_SEED, os.urandom(32)), terms.digest())

    def terms(self) -> Terms:
        """Returns the terms.

        Raises:
            PrivacyError: There are none.
        """
        return read_message(Terms, require(self.decisions, _TERMS, remedy=_ORDER))

    def decide_keys(self, keys: KeyList) -> ShopSetup:
        """Decides whose keys count, and returns the set-up that follows."""
        self._decide(_KEYS, keys.content(), what="keys")
        return self.setup()

    def setup(self) -> ShopSetup:
        """Returns the set-up.

        Raises:
            PrivacyError: There is none, or the run has ended.
        """
        self._refuse_ended()
        terms = self.terms()
        # A lost seed is not drawn anew here: shares of the first one are with the other shops.
        seed = require(self.decisions, _SEED, remedy=_NEW_RUN)
        secrets = RunSecrets.of(seed, terms.digest())
        keys = read_message(KeyList, require(self.decisions, _KEYS, remedy=_ORDER))
        return ShopSetup(self.shop, roster=self.roster, terms=terms, keys=keys, secrets=secrets)

    def decide_letters(self, request: InputRequest, setup: ShopSetup) -> None:
        """Decides which letters count, the first time after all of them were read."""
        if self.decisions.read(_LETTERS) is None:
            setup.check_letters(request)
        letters = {dealer: letter.hex() for dealer, letter in request.letters.items()}
        self._decide(_LETTERS, canonical(letters), what="letters")

    def letters(self) -> dict[str, bytes]:
        """Returns the letters to this shop by dealer."""
        written = json.loads(require(self.decisions, _LETTERS, remedy=_ORDER))
        return {dealer: bytes.fromhex(letter) for dealer, letter in written.items()}

    def decide_asked(self, release: str, asked: str) -> None:
        """Decides what this shop is asked for a release."""
        self._decide(f"{release}.asked", asked.encode(), what=f"what is asked for {release}")

    def masked(self, release: str) -> bytes | None:
        """Returns the input that this shop sent, None where it sent none."""
        return self.decisions.read(f"{release}.masked")

    def keep_masked(self, release: str, masked: bytes) -> bytes:
        """Keeps an input before it is sent; returns another process's where that was faster."""
        return self.decisions.decide(f"{release}.masked", masked)

    def binding(self, release: str, setup: ShopSetup) -> SumBinding:
        """Returns what the masks of a release are bound to.

        Raises:
            PrivacyError: It was not asked of this shop.
        """
        asked = require(self.decisions, f"{release}.asked", remedy=_ORDER).decode()
        dealers = tuple(sorted((*self.letters(), self.shop)))
        return SumBinding(setup.digest, dealers, release, asked)

    def decide_survivors(self, request: ConfirmRequest) -> None:
        """Decides who is in a sum, before it is signed."""
        name = f"{request.release}.survivors"
        self._decide(name, request.content(), what=f"survivors of {request.release}")

    def survivors(self, release: str) -> tuple[str, ...]:
        """Returns who is in a sum.

        Raises:
            PrivacyError: This shop confirmed none.
        """
        content = require(self.decisions, f"{release}.survivors", remedy=_ORDER)
        return read_message(ConfirmRequest, content).survivors

    def end(self) -> None:
        """Ends the run; see `end_run`."""
        end_run(self.decisions)

    def _refuse_ended(self) -> None:
        if self.decisions.read(_ENDED) is not None:
            raise PrivacyError("ended at this shop", name="run", remedy=_NEW_RUN)

    def _decide(self, name: str, content: bytes, *, what: str) -> None:
        decide_same(self.decisions, name, content, what=what, remedy=_NEW_RUN)


def end_run(decisions: Decisions) -> None:
    """Removes all of a run but its terms, and notes that it has ended: it is not set up again."""
    decisions.decide(_ENDED, b"")
    decisions.forget(keep=(_TERMS, _ENDED))
