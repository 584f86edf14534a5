"""From an address to the host that is connected to, and to what the request says."""

import pytest

from incident_process.delivery.endpoint import parse_address


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "target", "authority"),
    [
        ("http://here", "here", 80, False, "/", "here"),
        ("https://Here/a/b?c=d", "here", 443, True, "/a/b?c=d", "here"),
        ("http://here:80/", "here", 80, False, "/", "here"),
        ("http://here:443/", "here", 443, False, "/", "here:443"),
        ("https://here:8443/x", "here", 8443, True, "/x", "here:8443"),
        ("http://[::1]:8000/x", "::1", 8000, False, "/x", "[::1]:8000"),
        ("http://here?a=b", "here", 80, False, "/?a=b", "here"),
        ("http://here/a%2Fb/%zz", "here", 80, False, "/a%2Fb/%zz", "here"),
        ('http://here/\N{LATIN SMALL LETTER U WITH DIAERESIS}"<>', "here", 80, False, "/%C3%BC%22%3C%3E", "here"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80, False, "/", None),
    ],
)
def test_parts(url: str, host: str, port: int, tls: bool, target: str, authority: str | None) -> None:
    address = parse_address(url)
    assert (address.host, address.port, address.tls, address.target) == (host, port, tls, target)
    assert address.authority == (authority or host)


@pytest.mark.parametrize(
    "url",
    [
        "here",
        "ftp://here/",
        "http://",
        "http://here:70000/",
        "http://[::1/",
        "http://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(url)
