"""Clients inside and outside the allowed networks."""

import pytest

from tests.proxy.policies.asking import asked, status


@pytest.mark.parametrize(
    ("network", "peer", "expected"),
    [
        ("10.0.0.0/8", "10.255.0.1", 200),
        ("10.0.0.0/8", "11.0.0.1", 403),
        ("10.1.2.3/8", "10.0.0.1", 200),
        ("192.0.2.1", "192.0.2.1", 200),
        ("192.0.2.1", "192.0.2.2", 403),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 200),
        ("10.0.0.0/8", "::ffff:11.0.0.1", 403),
        ("::ffff:10.0.0.0/104", "10.0.0.1", 200),
        ("::ffff:10.0.0.0/104", "11.0.0.1", 403),
        ("2001:db8::/32", "2001:db8::1", 200),
        ("2001:db8::/32", "2001:db9::1", 403),
        ("fe80::/10", "fe80::1%eth0", 200),
        ("::/0", "10.0.0.1", 403),
    ],
)
def test_only_clients_of_the_network_pass(network: str, peer: str, expected: int) -> None:
    assert status({"allow": ["203.0.113.0/24", network]}, asked(peer=peer)) == expected


@pytest.mark.parametrize("peer", ["", "unix:", "10.0.0.1\0", "10.1", "10.0.0.1 ", "x" * 1000, "\ud800", "::%::"])
def test_an_address_that_is_none_is_refused(peer: str) -> None:
    assert status({"allow": ["0.0.0.0/0"]}, asked(peer=peer)) == 403


def test_an_empty_list_lets_nobody_in() -> None:
    assert status({"allow": []}, asked()) == 403


@pytest.mark.parametrize("value", ["10.0.0.0/8", [10], ["10.0.0.0/33"], ["example.com"], [""], {"10.0.0.0/8": 1}])
def test_what_is_no_list_of_networks_lets_nobody_in(value: object) -> None:
    assert status({"allow": value}, asked(peer="10.0.0.1")) == 503
