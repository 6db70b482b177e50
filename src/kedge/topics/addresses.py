"""Which addresses a message may be sent to: the server must not reach for its caller what the caller may not. PURE.

The setting `subscriber_addresses` says it:

    all        whatever this machine reaches, the loopback and private networks that people have at home among it
    public     only addresses of the public internet
    10.0.0.0/8,127.0.0.1    these networks and addresses alone

Link-local addresses, where clouds keep the credentials of a machine, are never reached unless a network names them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from kedge.config import SettingError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Allowed = Callable[[str], bool]
"""(address as a number) -> whether it may be reached."""


def parse(setting: str) -> Allowed:
    """Raises SettingError."""
    if setting == "all":
        return lambda text: not _is_special(_address(text))
    if setting == "public":
        return lambda text: (address := _address(text)).is_global and not _is_special(address)
    try:
        networks = [ipaddress.ip_network(part.strip(), strict=False) for part in setting.split(",")]
    except ValueError as error:
        raise SettingError(
            f'subscriber_addresses is "{setting}"; it has to be all, public or networks ({error})'
        ) from None
    return lambda text: any(_address(text) in network for network in networks)


def is_address(host: str) -> bool:
    try:
        _address(host)
    except ValueError:
        return False
    return True


def _address(text: str) -> Address:
    """An IPv4 address that is written as one of IPv6 is that IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return mapped or address


def _is_special(address: Address) -> bool:
    if address.is_loopback:
        return False
    return address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
