"""Which addresses are public, and what the allow-list opens."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_egress.addresses import AllowList, is_public, literal


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "168.63.129.16",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "2002:7f00:1::", "2001:0:7f00:1::", "example.com", "", "127.1",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))
    assert is_public(f"::ffff:{address}") == is_public(str(nat64)) == is_public(str(address))


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "100.64.0.0/10"]), st.data())
def test_private_networks(network: str, data: st.DataObject) -> None:
    assert not is_public(str(data.draw(st.ip_addresses(network=network))))


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1", "017700000001"])
def test_spellings_of_loopback(host: str) -> None:
    assert literal(host) == "127.0.0.1"


@pytest.mark.parametrize("host", ["example.com", "a.1", "", "[", "127.0.0.1.nip.io"])
def test_names_are_no_literals(host: str) -> None:
    assert literal(host) is None


def test_allow_list() -> None:
    allow = AllowList.parse(" Media.Example , cdn.example:8443,[::1]:80, fd00::1,127.0.0.1:1 ")
    assert allow.permits("media.example.", 1)
    assert allow.permits("CDN.example", 8443)
    assert not allow.permits("cdn.example", 443)
    assert allow.permits("::1", 80)
    assert not allow.permits("::1", 81)
    assert allow.permits("fd00::1", 9)
    assert not allow.permits("sub.media.example", 1)
    assert not AllowList.parse("").permits("", 80)


@pytest.mark.parametrize("text", ["http://a", "a:0", "a:99999", "a:b", ":80", "[::1]:x"])
def test_wrong_allow_list(text: str) -> None:
    with pytest.raises(ValueError, match="neither a host nor host:port"):
        AllowList.parse(text)
