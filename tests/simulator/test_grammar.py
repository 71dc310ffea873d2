from random import Random

import pytest

from app.errors import ConfigurationError
from simulator.grammar import Writer, parse, upload_rules

GRAMMAR = """
# a comment
[greeting]
{NAME} greets {NAME} with {2..4} {thing}
[name]
Ann | Bob | Cy
[thing]
things
[sea/thing]
shells
"""


def test_what_is_named_in_capitals_stays_the_same_and_the_topic_has_its_own_words() -> None:
    rules = parse(GRAMMAR)
    told = {Writer(rules, "sea", Random(n)).write("greeting") for n in range(200)}
    assert told == {f"{name} greets {name} with {n} shells" for name in ("Ann", "Bob", "Cy") for n in (2, 3, 4)}
    assert Writer(rules, "hills", Random(0)).write("thing") == "things"


def test_several_are_different_and_never_more_than_there_are() -> None:
    writer = Writer(parse(GRAMMAR), "", Random(0))
    assert sorted(writer.several("name", 9)) == ["Ann", "Bob", "Cy"]
    assert len(set(writer.several("name", 2))) == 2


def test_a_slot_without_a_rule_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no rule for \{nmae\}"):
        parse("[greeting]\nHello {nmae}")


def test_every_topic_of_the_uploads_says_what_is_its_own() -> None:
    rules = upload_rules()
    for (topic,) in rules["topic"]:
        for symbol in ("thing", "did", "detail", "tag"):
            assert len(rules[f"{topic}/{symbol}"]) >= 8
