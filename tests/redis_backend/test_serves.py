"""The scripts judge who serves a route as the rules do."""

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd.backends.redis import scripts
from meshd.tasks.model import Claimer
from meshd.tasks.routing import offered, route_of, serves
from tests.redis_backend.raw import Raw

SERVES = """
-- #include "clock"
-- #include "serves"
local answers = {}
for at = 3, #ARGV do
  answers[#answers + 1] = serves(cjson.decode(ARGV[2]), ARGV[at]) and 1 or 0
end
return answers
"""
LABELS = st.sampled_from(["zone", "gb", "a.b", "x-1"])
VALUES = st.sampled_from(
    ["eu", "us", "64", "64.0", "7", "-3", "-3.5", "1e3", "0x10", "inf", "nan", "1_000", ".5", "5."]
)
NAMES = st.sampled_from(["gpu", "python", "zone", "german"])
LEVELS = st.sampled_from(["novice", "advanced", "expert"])
TERMS = st.one_of(
    NAMES,
    st.builds("{}>={}".format, NAMES, LEVELS),
    st.builds("{}{}{}".format, LABELS, st.sampled_from(["=", "!=", ">=", "<=", ">", "<"]), VALUES),
)


def a_claimer_of(types: frozenset[str], names: frozenset[str], labels: dict[str, str]) -> Claimer:
    return Claimer(node_id="n1", incarnation=1, task_types=types, capabilities=offered(names, labels=labels))


CLAIMERS = st.builds(
    a_claimer_of,
    st.frozensets(st.sampled_from(["work", "rank"]), min_size=1),
    st.frozensets(NAMES),
    st.dictionaries(LABELS, VALUES),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(claimer=CLAIMERS, required=st.lists(st.lists(TERMS, max_size=3), min_size=1, max_size=8))
def test_a_script_and_the_rules_agree_on_who_serves_a_route(
    raw: Raw, claimer: Claimer, required: list[list[str]]
) -> None:
    routes = [route_of("work", terms) for terms in required]
    spec = msgspec.json.encode([sorted(claimer.task_types), sorted(claimer.capabilities)])
    answers = raw("EVAL", scripts.expanded(SERVES), 1, "mesh:{serves:p0}:clock", "1", spec, *routes)
    assert answers == [int(serves(claimer, route)) for route in routes]
