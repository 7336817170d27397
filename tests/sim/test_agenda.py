"""The heap against a sorted list, and the random numbers' range."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.sim import agenda
from kvbench.sim.records import EVENTS_MAX, World, new_world
from tests.naive.agenda import Agenda

WORLD = new_world()


def empty() -> World:
    WORLD.state[0]["scheduled"] = 0
    WORLD.state[0]["order"] = 0
    WORLD.heap[:] = range(EVENTS_MAX)
    return WORLD


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.integers(0, 20), st.none()), max_size=60))
def test_events_come_by_time_and_order(steps: list[int | None]) -> None:
    world, naive = empty(), Agenda()
    for number, at_ns in enumerate(steps):
        if at_ns is not None:
            assert agenda.schedule(world, at_ns, 1, 2, number, 0) == 0
            naive.schedule(at_ns, number)
            continue
        slot = agenda.take_next(world)
        assert (None if slot < 0 else int(world.events[slot]["a"])) == naive.take_next()


def test_an_agenda_has_an_end() -> None:
    world = empty()
    assert all(agenda.schedule(world, number, 1, 0, 0, 0) == 0 for number in range(EVENTS_MAX))
    assert agenda.schedule(world, 0, 1, 0, 0, 0) == agenda.AGENDA_FULL


def test_random_numbers_are_a_function_of_the_seed() -> None:
    state = new_world().state[0]

    def numbers(seed: int) -> list[int]:
        state["seed"], state["draws"] = seed, 0
        return [agenda.draw(state, 7) for _ in range(200)]

    assert numbers(1) == numbers(1) != numbers(2)
    assert set(numbers(3)) == set(range(7))


def test_the_trace_depends_on_order() -> None:
    state = new_world().state[0]

    def traced(*happenings: tuple[int, int]) -> int:
        state["trace"] = 0
        for what, detail in happenings:
            agenda.trace(state, what, detail)
        return int(state["trace"])

    assert traced((1, 5), (2, 6)) == traced((1, 5), (2, 6)) != traced((2, 6), (1, 5))
