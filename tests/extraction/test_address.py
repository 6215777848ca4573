from __future__ import annotations

import pytest

from extraction.address import AddressPolicy, resolve
from extraction.errors import AddressRefused, SourceUnreachable

LOCAL = AddressPolicy(allow_loopback=True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "::1", "::ffff:127.0.0.1"],
)
def test_loopback_in_any_spelling_needs_permission(host: str) -> None:
    with pytest.raises(AddressRefused, match="loopback"):
        resolve(host, 5432, AddressPolicy())
    assert resolve(host, 5432, LOCAL)


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "fe80::1", "0.0.0.0", "0", "::", "224.0.0.1", "ff02::1"),
        *("255.255.255.255", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"),
        *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe", "168.63.129.16"),
        *("fd20:ce::254", "fd00:ec2::23", "::ffff:168.63.129.16"),
    ],
)
def test_some_addresses_are_never_a_source(host: str) -> None:
    for policy in (AddressPolicy(), LOCAL):
        with pytest.raises(AddressRefused):
            resolve(host, 5432, policy)


@pytest.mark.parametrize("host", ["", "a,b", "/tmp", "a b", "user@host", "-x", "a%b", "a\nb", "ä"])
def test_a_host_is_one_name_or_one_address(host: str) -> None:
    with pytest.raises(AddressRefused):
        resolve(host, 5432, LOCAL)


def test_denied_endpoints_are_refused_under_every_name_they_have() -> None:
    policy = AddressPolicy(True, frozenset({"127.0.0.1:7233", "10.1.2.3:6379"}))
    for host in ("127.0.0.1", "localhost", "127.0.0.2", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(AddressRefused, match="own servers"):
            resolve(host, 7233, policy)
        assert resolve(host, 7234, policy)
    with pytest.raises(AddressRefused):
        resolve("::ffff:10.1.2.3", 6379, policy)


def test_at_the_port_of_a_denied_name_that_is_unknown_nothing_is_let_through() -> None:
    policy = AddressPolicy(True, frozenset({"nowhere.invalid:7233"}))
    for host in ("127.0.0.1", "203.0.113.5"):
        with pytest.raises(SourceUnreachable, match="own servers"):
            resolve(host, 7233, policy)
        assert resolve(host, 7234, policy) == [host]


def test_one_forbidden_address_among_several_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [(2, 1, 6, "", ("203.0.113.5", 1)), (2, 1, 6, "", ("169.254.169.254", 1))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: answers)
    with pytest.raises(AddressRefused):
        resolve("two.example", 5432, AddressPolicy())
    answers.pop()
    assert resolve("two.example", 5432, AddressPolicy()) == ["203.0.113.5"]


def test_an_unknown_name_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable):
        resolve("nowhere.invalid", 5432, AddressPolicy())
