"""Which addresses a URL that a caller gave may lead to: public ones, and nothing else.

Pure functions over tables. This module must never resolve a name or open a socket: the dialler resolves once,
asks here, and connects to the very address that was checked, so that a second look-up cannot give another.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

PORTS = frozenset({80, 443})

# IANA's IPv4 special-purpose registry (RFC 6890 and updates) plus multicast. Written out, because what
# `ipaddress` calls global differs between Python's patch releases.
_V4_REFUSED = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform endpoint: a public number that answers inside the machine only
        "169.254.0.0/16",  # link-local, the clouds' metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_REFUSED = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries any IPv4 address
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def refused_address(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address is anything but a public unicast one; an unreadable address is refused.

    IPv6 forms that carry an IPv4 address (mapped, NAT64) are judged by that one.
    """
    if isinstance(ip, str):
        try:
            ip = ip_address(ip)
        except ValueError:
            return True
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            return ip.scope_id is not None or ip not in _V6_GLOBAL or any(ip in net for net in _V6_REFUSED)
    return any(ip in net for net in _V4_REFUSED)
