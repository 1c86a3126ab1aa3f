import pytest

from brigade.web.etag import is_current, is_known


@pytest.mark.parametrize("given", ['"a"', 'W/"a"', '"b", "a"', '"b",W/"a"', '"b,c" ,\t"a"', "*", " * ", '"",, "a"'])
@pytest.mark.parametrize("etag", ['"a"', 'W/"a"'])
def test_a_tag_is_known_by_weak_comparison(given: str, etag: str) -> None:
    assert is_known(given, etag)


@pytest.mark.parametrize("given", ["", '"b"', "a", '"*"', '"b", *', '"A"', '"aa"', '"b, a"', "W/a"])
def test_another_tag_is_not(given: str) -> None:
    assert not is_known(given, '"a"')


@pytest.mark.parametrize("given", ['"a"', '"b", "a"', 'W/"a","a"', "*"])
def test_a_tag_is_current_by_strong_comparison(given: str) -> None:
    assert is_current(given, '"a"')


@pytest.mark.parametrize(("given", "etag"), [('W/"a"', '"a"'), ('W/"a"', 'W/"a"'), ('"a"', 'W/"a"'), ("", '"a"')])
def test_a_weak_tag_is_never_current(given: str, etag: str) -> None:
    assert not is_current(given, etag)
