from __future__ import annotations

import pytest

from client.serving.access.origins import AllowedHosts

HOSTS = AllowedHosts(["0.0.0.0", "Node.Shop.example", "*.cluster.local"])


def code(host: str, **headers: str) -> str | None:
    named = {
        key.replace("_", "-").encode(): value.encode("latin-1") for key, value in headers.items()
    }
    refused = HOSTS.refuse({b"host": host.encode("latin-1"), **named})
    return None if refused is None else refused[0]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "10.0.0.7:8080"),
        *("node.shop.example", "NODE.shop.EXAMPLE.:443", "serve.fedprofile.cluster.local:8080"),
    ],
)
def test_addresses_and_listed_names_are_answered(host: str) -> None:
    assert code(host) is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ),
        *("shop.example", "xnode.shop.example", "cluster.local.evil", "evilcluster.local"),
        *(
            "localhost@evil.example",
            "evil.example@localhost",
            "[::1",
            "[::1]evil",
            "ü",
            "127.1.evil",
        ),
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert code(host) == "host_not_allowed"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("node.shop.example", "https://node.shop.example"),
        ("node.shop.example:443", "https://node.shop.example"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_node_s_own_page_may_ask(host: str, origin: str) -> None:
    assert code(host, origin=origin, sec_fetch_site="same-origin") is None


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.example", "http://127.0.0.1:9090", "http://localhost:8080"),
        *("ftp://127.0.0.1:8080", "http://127.0.0.1:8080.evil.example", "chrome-extension://abc"),
        *("https://127.0.0.1", "http://127.0.0.1"),
    ],
)
def test_other_pages_may_not(origin: str) -> None:
    assert code("127.0.0.1:8080", origin=origin) == "foreign_page"


def test_sites_as_browsers_name_them() -> None:
    assert code("localhost", sec_fetch_site="none") is None
    for site in ("cross-site", "same-site", "", "x"):
        assert code("localhost", sec_fetch_site=site) == "foreign_page"
