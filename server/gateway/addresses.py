"""Which network addresses may be fetched from: the public internet's, and nothing of our own.

`server.gateway.fetch` asks for every address it is about to connect to.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Ranges that lead back inside, whatever this Python's `is_private` thinks of them: carrier-grade
# NAT, benchmarking, documentation, site-local, and the ones that carry an IPv4 address within.
_REFUSED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and relatives
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)


def is_public(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """True when `address` belongs to the public internet, or to a network of `allowed`.

    IPv4 inside IPv6 (::ffff:127.0.0.1, ::127.0.0.1) counts as what it carries.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False  # a link's own
        carried = address.ipv4_mapped
        if carried is None and int(address) >> 32 == 0 and int(address) > 1:
            carried = IPv4Address(int(address))
        if carried is not None:
            return is_public(carried, allowed)
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if any(address in network for network in _REFUSED if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def read_address(text: str) -> Address:
    """The address that a resolver gave as text.

    Raises:
        ValueError: it is none.
    """
    return ip_address(text)
