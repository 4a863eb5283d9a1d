"""URLs in, request heads out."""

from __future__ import annotations

import pytest

from perquery.outbound import OutboundError
from perquery.outbound.target import check_given, head, parse, parse_proxy

BAD = ["", "example.org", "//example.org", "ftp://example.org", "file:///etc/passwd", "http://", "http:///x"]
BAD += ["http://a..b/", f"http://{'a' * 64}.org/", "http://x:99999/", "http://x:y/", "http://[::1/", "http://x/ä"]
BAD += ["http://x/a b", "http://a b/", "http://x\x00/", "http://x/\x7f"]


@pytest.mark.parametrize(
    ("url", "host", "port", "shown", "path"),
    [
        ("http://example.org", "example.org", 80, "example.org", "/"),
        ("https://Example.ORG/a?b=c#d", "example.org", 443, "example.org", "/a?b=c"),
        ("http://example.org:8080?x", "example.org", 8080, "example.org:8080", "/?x"),
        ("http://example.org:80/", "example.org", 80, "example.org", "/"),
        ("https://[2606:4700::1111]:8443/", "2606:4700::1111", 8443, "[2606:4700::1111]:8443", "/"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
    ],
)
def test_parse(url: str, host: str, port: int, shown: str, path: str) -> None:
    target = parse(url)
    assert (target.host, target.port, target.host_header, target.path) == (host, port, shown, path)


@pytest.mark.parametrize(
    "url",
    BAD,
)
def test_bad_url_is_refused_unsent(url: str) -> None:
    with pytest.raises(OutboundError) as caught:
        parse(url)
    assert (caught.value.kind, caught.value.sent) == ("refused", False)


@pytest.mark.parametrize("url", ["http://u:p@example.org/", "http://@example.org/", "https://example.org:8443/"])
def test_given_url_is_refused(url: str) -> None:
    with pytest.raises(OutboundError, match="the URL"):
        check_given(parse(url))


@pytest.mark.parametrize("url", ["http://example.org/", "https://example.org:443/", "http://example.org:443/"])
def test_given_url_is_allowed(url: str) -> None:
    check_given(parse(url))


def test_error_repeats_nothing_of_the_url() -> None:
    with pytest.raises(OutboundError) as caught:
        parse("http://user:secret@host/ä?key=secret")
    assert "secret" not in caught.value.message


def test_head_of_a_post() -> None:
    text = head("POST", parse("http://h:81/p?q"), {"x-a": "1", "user-agent": "mine"}, 5)
    assert text == (
        b"POST /p?q HTTP/1.1\r\nhost: h:81\r\naccept-encoding: identity\r\nx-a: 1\r\nuser-agent: mine\r\n"
        b"content-length: 5\r\n\r\n"
    )


def test_head_of_a_get_has_no_length_and_says_who_asks() -> None:
    text = head("GET", parse("http://h/"), {}, 0)
    assert text == b"GET / HTTP/1.1\r\nhost: h\r\naccept-encoding: identity\r\nuser-agent: perquery\r\n\r\n"


def test_head_of_an_empty_post_says_so() -> None:
    assert b"content-length: 0\r\n" in head("POST", parse("http://h/"), {}, 0)


def test_head_of_a_single_use() -> None:
    assert head("GET", parse("http://h/"), {}, 0, keep=False).endswith(b"connection: close\r\n\r\n")


def test_head_for_a_proxy() -> None:
    text = head("GET", parse("http://h:81/p"), {}, 0, absolute=True, proxy_authorization="Basic eA==")
    assert text.startswith(b"GET http://h:81/p HTTP/1.1\r\nhost: h:81\r\n")
    assert b"proxy-authorization: Basic eA==\r\n" in text


def test_userinfo_becomes_a_credential() -> None:
    assert b"authorization: Basic dXNlcjpwQHNz\r\n" in head("GET", parse("http://user:p%40ss@h/"), {}, 0)


def test_given_authorization_wins_over_userinfo() -> None:
    text = head("GET", parse("http://user:pass@h/"), {"Authorization": "Bearer x"}, 0)
    assert text.lower().count(b"authorization:") == 1


@pytest.mark.parametrize("value", ["a\r\nx: b", "a\nx: b", "a\rb", "a\r\n\r\nGET / HTTP/1.1", "a\0b", "€"])
def test_value_that_would_break_out_is_refused(value: str) -> None:
    with pytest.raises(OutboundError, match="value") as caught:
        head("GET", parse("http://h/"), {"x": value}, 0)
    assert (caught.value.kind, caught.value.sent) == ("refused", False)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä", "a\n"])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OutboundError, match="name"):
        head("GET", parse("http://h/"), {name: "x"}, 0)


@pytest.mark.parametrize("method", ["", "get", "GET /x HTTP/1.1\r\n", "G T"])
def test_method_that_is_none_is_refused(method: str) -> None:
    with pytest.raises(OutboundError):
        head(method, parse("http://h/"), {}, 0)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection", "accept-encoding"])
def test_header_of_the_client_itself_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match=name.lower()):
        head("GET", parse("http://h/"), {name: "x"}, 0)


def test_proxy_with_credentials() -> None:
    proxy = parse_proxy("http://us%65r:p%40ss@proxy.example:3128")
    assert (proxy.scheme, proxy.host, proxy.port) == ("http", "proxy.example", 3128)
    assert (proxy.user, proxy.password, proxy.authorization) == ("user", "p@ss", "Basic dXNlcjpwQHNz")


@pytest.mark.parametrize("url", ["socks5://127.0.0.1", "socks5h://127.0.0.1:1080"])
def test_socks_proxy(url: str) -> None:
    proxy = parse_proxy(url)
    assert (proxy.scheme, proxy.port, proxy.user) == ("socks5", 1080, None)


@pytest.mark.parametrize("url", ["https://proxy", "socks4://proxy", "proxy:3128", "http://"])
def test_unknown_proxy_is_refused(url: str) -> None:
    with pytest.raises(OutboundError):
        parse_proxy(url)
