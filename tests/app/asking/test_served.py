"""Who is served, from what the broker says of a group."""

import pytest
from aiokafka.protocol.admin import DescribeGroupsResponse_v3

from app.asking.served import members

MEMBER = ("id", "client", "host", b"", b"")


def said(error: int, *members: object) -> DescribeGroupsResponse_v3:
    return DescribeGroupsResponse_v3(0, [(error, "millrace.eta.requests", "Stable", "", "", list(members), 0)])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_group_has_the_members_it_is_said_to_have(count: int) -> None:
    assert members([said(0, *[MEMBER] * count)]) == count


@pytest.mark.parametrize("error", [14, 15, 16], ids=["loading", "no coordinator", "moved"])
def test_a_broker_that_cannot_say_says_nothing_of_the_members(error: int) -> None:
    assert members([said(error)]) is None
