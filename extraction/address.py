"""Which addresses may be connected to, and where files lie that may be read.

A name is resolved once, every address it has is checked, and the connection is
made to a checked address: a second answer of the resolver changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

from extraction.errors import AddressRefused, SourceUnreachable

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

# Services of cloud providers that hand out credentials and are not link-local.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Some network's own NAT64: which IPv4 address is meant, nobody else can tell.
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")


@dataclass(frozen=True)
class AddressPolicy:
    """`denied` holds `host:port` of servers that are never a source, such as our own.
    Below `files` lie those that may be one."""

    allow_loopback: bool = False
    denied: frozenset[str] = field(default_factory=frozenset)
    files: Path | None = None


def resolve(host: str, port: int, policy: AddressPolicy, timeout: float = 5.0) -> list[str]:
    """Every address of a host, checked. Raises AddressRefused if one may not be used."""
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise AddressRefused("The host must be one name or one IP address.")
    addresses = _look_up(host, port, timeout)
    forbidden = _denied_addresses(port, policy, timeout)
    for address in addresses:
        reason = _refusal(ipaddress.ip_address(address), policy, forbidden)
        if reason or f"{host.lower().rstrip('.')}:{port}" in policy.denied:
            raise AddressRefused(f"{host}, port {port}, {reason or 'is not allowed as a source'}.")
    return addresses


def _refusal(address: IP, policy: AddressPolicy, forbidden: set[IP]) -> str:
    for form in _forms(address):
        if form in forbidden or (form.is_loopback and any(f.is_loopback for f in forbidden)):
            return "is one of Surveyor's own servers"
        if form.is_loopback:
            if not policy.allow_loopback:
                return "is a loopback address"
        elif _never(form):
            return "is an address that is never a source"
    return ""


def _never(address: IP) -> bool:
    return (
        address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
        or address in _LOCAL_NAT64
        or (address.version == 4 and (address in _THIS_NETWORK or address.is_reserved))
    )


def _forms(address: IP) -> list[IP]:
    """The address and the IPv4 address it may stand for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo:
        inner = address.teredo[1]
    if inner is None:
        return [address]
    # An IPv4 address in its IPv6 form is judged as IPv4 alone.
    return [inner] if address.ipv4_mapped else [address, inner]


def _denied_addresses(port: int, policy: AddressPolicy, timeout: float) -> set[IP]:
    """Addresses that are denied at this port."""
    found: set[IP] = set()
    for entry in policy.denied:
        host, _, denied_port = entry.rpartition(":")
        if denied_port != str(port):
            continue
        try:
            names = _look_up(host.strip("[]"), port, timeout)
        except SourceUnreachable:
            # Not knowing where our own server is, nothing at its port can be let through.
            raise SourceUnreachable(
                f"Whether this is one of Surveyor's own servers cannot be told: {host!r}, which is "
                f"denied at port {port}, cannot be resolved.",
                "Check the resolver of the workers, and DENIED_ENDPOINTS.",
            ) from None
        found.update(ipaddress.ip_address(name) for name in names)
    return found


def _look_up(host: str, port: int, timeout: float) -> list[str]:
    """getaddrinfo under a deadline, which the C library does not offer."""
    answers: list[str] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        answers.extend(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos))

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout)
    if not answers:
        raise SourceUnreachable(
            f"The host name {host!r} cannot be resolved.",
            "Check the host name of the connection and the resolver of the workers.",
        )
    return list(answers)
