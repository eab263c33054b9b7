import dataclasses
import logging
from collections.abc import Callable, Iterator

import pytest
from exploration import WORLDS, explore, small

AHEAD = ("no window", "a window beside", "recurrent states", "the host keeps states")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every failing step is logged with its traceback, and there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("name", "ahead"), [*((name, False) for name in WORLDS), *((name, True) for name in AHEAD)])
def test_whatever_happens_in_a_small_world_nothing_is_lost_nobody_starves_and_answers_are_right(
    name: str, ahead: bool, record_property: Callable[[str, object], None]
) -> None:
    world = WORLDS[name]
    seen = explore(small(world, 2 if ahead else world.most, ahead=ahead))
    record_property("exploration", {"world": name, **{key: str(n) for key, n in dataclasses.asdict(seen).items()}})
    assert seen.states >= 100 and seen.transitions > seen.states
    assert (seen.returns > 0) is ("host_blocks" in world.size)
    assert seen.hits > 0 or not world.size.get("cache", True) or world.size.get("recurrent")
