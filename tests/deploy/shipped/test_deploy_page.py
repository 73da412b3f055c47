"""The commands of docs/deploy.md, typed as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable

import pytest

from simulation.bench.deployment.processes import wait_until
from tests import ROOT
from tests.deploy.federations import WAIT, Federation

pytestmark = pytest.mark.slow
BLOCK = re.compile(r"^```text(?P<kind>[a-z-]*)\n(?P<lines>.*?)^```", re.MULTILINE | re.DOTALL)

FINGERPRINT = re.compile(r"^fingerprint (\S+)$", re.MULTILINE)


def test_following_the_page_trains_and_installs_an_adapter(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation()
    federation.write_data()
    shutil.copy(federation.catalogue, federation.root / "catalogue.csv")
    port, output = str(federation.port), ""
    for block in BLOCK.finditer((ROOT / "docs" / "deploy.md").read_text()):
        for line in block["lines"].splitlines():
            for shop in federation.shops if "each" in block["kind"] else ("",):
                text = line.replace("SHOP", shop).replace("8443", port)
                if "FINGERPRINT" in text:
                    text = text.replace("FINGERPRINT", FINGERPRINT.findall(output)[-1])
                first, *words = shlex.split(text)
                assert first == "fedprofile"
                if words[:2] == ["server", "init"]:  # the page's encoder takes minutes here
                    small = {"model.encoder": federation.encoder, "training.rounds": 1}
                    words += [w for n, v in small.items() for w in ("--set", f"{n}={v}")]
                if "background" in block["kind"]:
                    federation.start(shop or "server", *words)
                    if not shop:
                        wait_until(federation.answers, seconds=WAIT, name="server")
                else:
                    output += federation.run(*words).stdout
    assert "of sums over at least 3 of 3 shops; the noise is shared under the roster" in output
    assert "run 1 finished after 1 rounds; releases 1, 2, 3" in output
    assert output.count("* 3 adapter run 1 round 1 verified") == 3
    assert output.count("events of 14 users") == 3
    assert output.count("14 users of at most") == 3
    assert output.count("next: nothing; all shops signed") == 2
