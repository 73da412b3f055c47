"""Which `Host` a node answers to, and which pages may ask it from a browser.

A page of anybody can make a browser send requests to this machine. What tells them apart is what
the browser adds and no script can change: `Origin` and `Sec-Fetch-Site`. A page may also point a
name of its own at 127.0.0.1 (DNS rebinding): then the origin looks like the node's own, but `Host`
is that name, which is on no list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_OWN_SITE = (b"same-origin", b"none")
"""Values of Sec-Fetch-Site for the node's own pages and for what a person opened."""


class AllowedHosts:
    """The names that a node answers to.

    Addresses in numbers are always answered to: no name resolves to them, so that no rebinding can
    bring them about.

    Args:
        names: Names beyond `localhost`, without a port; `*.shop.example` stands for all below it.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        listed = [name.lower().rstrip(".") for name in names if name]
        self._names = {"localhost", *(name for name in listed if not name.startswith("*."))}
        self._endings = tuple(name[1:] for name in listed if name.startswith("*."))

    def refuse(self, headers: Mapping[bytes, bytes]) -> tuple[str, str, str] | None:
        """Returns code, message and remedy for a request of a foreign host or page, else None."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._answers_to(host):
            return (
                "host_not_allowed",
                "the node does not answer to this Host",
                "ask it by its address, or name the host with --allow-host where it is started",
            )
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site")
        foreign = origin is not None and not _is_own(origin.decode("latin-1").lower(), host)
        if foreign or (site is not None and site.lower() not in _OWN_SITE):
            return (
                "foreign_page",
                "another page asked for this",
                "open the node by its own address; a shop's server asks without a browser",
            )
        return None

    def _answers_to(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".")
        if name in self._names or (self._endings and name.endswith(self._endings)):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _is_own(origin: str, host: str) -> bool:
    """Says whether an origin is the host itself, over HTTP or behind a proxy with TLS."""
    scheme, _, place = origin.partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    return port is not None and place.removesuffix(port) == host.removesuffix(port)
