import pytest

from brigade.web.etag import is_known


@pytest.mark.parametrize("given", ['"a"', 'W/"a"', '"b", "a"', '"b",W/"a"', '"b,c" ,\t"a"', "*", " * ", '"",, "a"'])
@pytest.mark.parametrize("etag", ['"a"', 'W/"a"'])
def test_a_tag_is_known_by_weak_comparison(given: str, etag: str) -> None:
    assert is_known(given, etag)


@pytest.mark.parametrize("given", ["", '"b"', "a", '"*"', '"b", *', '"A"', '"aa"', '"b, a"', "W/a"])
def test_another_tag_is_not(given: str) -> None:
    assert not is_known(given, '"a"')
