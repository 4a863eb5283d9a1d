"""The addresses that a caller-given URL may lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from perquery.outbound import refused_address

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"]
PUBLIC += ["168.63.129.15", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8"]
PUBLIC += ["64:ff9b::8.8.8.8"]
REFUSED = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1"]
REFUSED += ["127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1"]
REFUSED += ["192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"]
REFUSED += ["203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]
REFUSED += ["::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"]
REFUSED += ["64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1"]
REFUSED += ["2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "5f00::1", "fc00::1"]
REFUSED += ["fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1111%1"]
REFUSED += ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5", "1.1.1.1 "]


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_address_is_allowed(ip: str) -> None:
    assert not refused_address(ip)


@pytest.mark.parametrize("ip", REFUSED)
def test_other_address_is_refused(ip: str) -> None:
    assert refused_address(ip)


@pytest.mark.parametrize(("ip", "refused"), [("8.8.8.8", False), ("::1", True), ("::ffff:10.0.0.1", True)])
def test_parsed_address_is_judged_alike(ip: str, refused: bool) -> None:
    assert refused_address(ip_address(ip)) is refused
