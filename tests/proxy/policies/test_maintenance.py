"""The answer while an app is being worked on."""

import pytest

from tests.proxy.policies.asking import answer, asked, status


@pytest.mark.parametrize(
    ("value", "visitor", "html"),
    [
        ({"message": "Back at noon."}, "Back at noon.", ""),
        ({"html": "<h1>Soon</h1>"}, "This app is being worked on. Try again in a few minutes.", "<h1>Soon</h1>"),
        ({"message": "Soon.", "html": "<b>"}, "Soon.", "<b>"),
        ({}, "This app is being worked on. Try again in a few minutes.", ""),
    ],
)
def test_everybody_gets_the_owners_words(value: object, visitor: str, html: str) -> None:
    found = answer({"maintenance": value}, asked())
    assert found is not None
    assert (found.status, found.visitor, found.html) == (503, visitor, html)
    assert b"Retry-After" in dict(found.fields)


@pytest.mark.parametrize("value", [True, "soon", {"message": 7}, {"html": ["x"]}, {"message": "\ud800"}])
def test_a_bad_value_is_503_too(value: object) -> None:
    assert status({"maintenance": value}, asked()) == 503
