"""When two texts whose vectors are near say the same, and when a small word makes them two statements."""

import pytest

from tunery.memory.merging import says_the_same

SAME = [
    ("likes tea", "Likes tea."),
    ("The user likes tea", "user likes tea"),
    ("He doesn\u2019t eat meat", "he doesn't eat meat!"),
    ("\u201cVery\u201d fond of dogs", "fond of dogs"),
    ("wohnt in Köln", "Wohnt in Ko\u0308ln!"),
    ("really likes  the tea", "likes tea"),
    ("", ""),
]
DIFFERENT = [
    ("has 2 cats", "has 3 cats"),
    ("has two cats", "has three cats"),
    ("has 2 cats", "has cats"),
    ("pays 1.50 a day", "pays 1.05 a day"),
    ("works from 3 to 5", "works from 5 to 3"),
    ("born 1990-01-02", "born 1990-02-01"),
    ("eats meat", "does not eat meat"),
    ("eats meat", "never eats meat"),
    ("eats meat", "no longer eats meat"),
    ("isst Fleisch", "isst kein Fleisch"),
    ("mange de la viande", "ne mange pas de viande"),
    ("likes tea", "dislikes tea"),
    ("unmarried", "married"),
    ("Anna likes tea", "Bertha likes tea"),
    ("Anna loves Bert", "Bert loves Anna"),
    ("lives in Paris", "lives in Rome"),
    ("lives in Paris", "lives in Paris, Texas"),
    ("was at home on Monday", "was at home on Tuesday"),
    ("can't swim", "can swim"),
    ("isn't very ill", "isn't ill"),
    ("used to smoke", "smokes"),
    ("writes C++", "writes C"),
    ("does she like tea?", "does she like tea"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_they_say_the_same(one: str, other: str):
    assert says_the_same(one, other)
    assert says_the_same(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_they_are_two_statements(one: str, other: str):
    assert not says_the_same(one, other)
    assert not says_the_same(other, one)
