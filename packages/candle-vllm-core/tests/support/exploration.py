"""Everything that can happen in a small world: every order of arrivals, steps, cancels and failing steps.

A world has a few blocks, a menu of requests and a bound on how many come. Two histories after which the books are the
same (but for the names of blocks) are one state; so there are finitely many, and all of them are visited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import Harness

from candle_vllm_core.runtime.ahead import AheadStepper
from candle_vllm_core.runtime.kv import FREED
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.types import GenerationParams

Action = tuple[str, int]
"""`add` and the place on the menu, `cancel` and the request's number, `step` and 0, `fail` and 0."""

State = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class World:
    """What there is, and what may happen."""

    menu: Sequence[tuple[Sequence[int], GenerationParams]]
    """The prompts that may come, and how they are answered."""
    most: int
    """How many requests come at most."""
    size: Mapping[str, Any]
    """See `Harness`."""


@dataclass
class Explored:
    """What was seen."""

    states: int = 0
    transitions: int = 0
    preemptions: int = 0
    returns: int = 0
    """From the host's memory."""
    hits: int = 0
    """Starts that found a prefix."""
    waits: int = 0
    """Steps that filled blocks which a request that waits begins with."""
    longest_way: int = 0
    """Steps to the end from the state that is farthest from it, if nothing else happens."""


class Planted(Exception):
    """What a failing step throws."""


def explore(world: World) -> Explored:
    """Visit every state of a world; what must hold and does not is an AssertionError that tells the way there."""
    seen = Explored()
    start = state_of(Harness(**world.size))
    ways: dict[State, tuple[Action, ...]] = {start: ()}
    after_step: dict[State, State] = {}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for action in actions(world, ways[state]):
            way = (*ways[state], action)
            harness = play(world, way, seen)
            reached = state_of(harness)
            seen.transitions += 1
            if action[0] == "step":
                after_step[state] = reached
            if reached not in ways:
                ways[reached] = way
                waiting.append(reached)
    seen.states = len(ways)
    seen.longest_way = max(way_to_the_end(state, after_step) for state in after_step)
    return seen


def actions(world: World, way: Sequence[Action]) -> Iterator[Action]:
    """What may happen after a way."""
    added = sum(kind == "add" for kind, _ in way)
    if added < world.most:
        yield from (("add", place) for place in range(len(world.menu)))
    harness = Harness(**world.size)
    for action in way:
        perform(world, harness, action)
    if harness.stepper.has_work:
        yield "step", 0
        yield "fail", 0
        yield from (("cancel", request.id) for request in harness.scheduler.requests())


def play(world: World, way: Sequence[Action], seen: Explored) -> Harness:
    """Go a way anew; what must hold is checked after its last action."""
    harness = Harness(**world.size)
    watch, harness.runner.watch = harness.runner.watch, lambda step: None
    for action in way[:-1]:
        perform(world, harness, action)
    harness.runner.watch = watch
    before, back = harness.scheduler.preemptions, harness.stepper.stats().swaps_in
    perform(world, harness, way[-1])
    try:
        harness.check()
        harness.check_answers()
    except (AssertionError, RuntimeError) as error:
        raise AssertionError(f"{error} after {way} in {world}") from error
    seen.preemptions += harness.scheduler.preemptions - before
    seen.returns += harness.stepper.stats().swaps_in - back
    if way[-1][0] == "step":
        seen.hits += any(request.num_cached for request in harness.scheduler.started)
        seen.waits += any(waits(harness, request) for request in harness.scheduler.waiting)
    return harness


def waits(harness: Harness, request: Request) -> bool:
    """Whether a request did not start because the last step has filled blocks that it begins with."""
    step = harness.runner.steps[-1]
    filled = {key for part in step for key in harness.kv.filled_keys(part.request, part.start, part.stop)}
    return request.num_cached is None and bool(filled & set(request.block_keys))


def perform(world: World, harness: Harness, action: Action) -> None:
    kind, number = action
    if kind == "add":
        prompt, params = world.menu[number]
        harness.add(prompt, params)
    elif kind == "cancel":
        request = harness.scheduler.find(number)
        if request is not None:
            harness.cancel(request)
    else:
        harness.runner.fault = fail if kind == "fail" else lambda step: None
        harness.step()


def fail(step: Step) -> None:
    raise Planted("a step")


def state_of(harness: Harness) -> State:
    """All that the future depends on; blocks are numbered in the order in which they are met."""
    harness.runner.sync()
    pools = [group.pool for group in harness.kv._groups]
    names: list[dict[int, int]] = [{} for _ in pools]
    requests = []
    for request in sorted(harness.scheduler.requests(), key=lambda request: request.id):
        tables = tuple(
            tuple(block if block == FREED else names[index].setdefault(block, len(names[index])) for block in table)
            for index, table in enumerate(request.block_tables)
        )
        requests.append((*of_request(request), tables, state_in(harness, request), kept(harness, request)))
    free = tuple(
        tuple(names[index].setdefault(block, len(names[index])) for block in pool._free)
        for index, pool in enumerate(pools)
    )
    return (
        len(harness.prompts),
        under_way(harness),
        tuple(requests),
        free,
        tuple(contents(harness, index, names) for index in range(len(pools))),
    )


def under_way(harness: Harness) -> tuple[Any, ...]:
    """What the step that was launched computes."""
    flight = harness.stepper._flight if isinstance(harness.stepper, AheadStepper) else None
    return tuple((p.request.id, p.start, p.stop, p.is_alive) for p in flight.step) if flight else ()


def of_request(request: Request) -> tuple[Any, ...]:
    at = request.num_computed, request.num_cached, len(request.generated)
    return request.id, tuple(request.prompt), request.params.priority, request.params.max_tokens, *at


def state_in(harness: Harness, request: Request) -> int | None:
    return None if request.state_slot is None else harness.runner.states[request.state_slot]


def kept(harness: Harness, request: Request) -> tuple[Any, ...]:
    """What the host has of a request that was preempted."""
    if (swapped := request.swapped) is None:
        return ()
    hosts = [
        [None if host is None else tuple(harness.runner.host[group, host]) for host in table]
        for group, table in enumerate(swapped.tables)
    ]
    state = None if swapped.state is None else harness.runner.host_states[swapped.state]
    return swapped.num_tokens, *map(tuple, hosts), state


def contents(harness: Harness, index: int, names: Sequence[Mapping[int, int]]) -> tuple[Any, ...]:
    """What lies in the blocks that somebody holds or may find, and what they stand for."""
    size, pool = harness.sizes.block_size, harness.kv._groups[index].pool
    found = []
    for block, name in names[index].items():
        key = pool._key_of.get(block)
        if key is not None or pool._references[block]:
            found.append((name, key, tuple(harness.runner.slots[index][block * size : (block + 1) * size])))
    return tuple(sorted(found))


def way_to_the_end(state: State, after_step: Mapping[State, State]) -> int:
    """How many steps follow a state if nothing else happens: they must end, and nobody be left."""
    count = 0
    while state in after_step:
        state, count = after_step[state], count + 1
        if count > len(after_step):
            raise AssertionError(f"steps without end, somebody starves: {state}")
    if state[1] or state[2]:
        raise AssertionError(f"left at the end: {state}")
    return count


def _ask(count: int, priority: int = 0) -> GenerationParams:
    return GenerationParams(max_tokens=count, priority=priority)


ALIKE = (([0, 0, 0], _ask(2)), ([0, 0, 1], _ask(3)), ([1], _ask(4, priority=1)))
WORLDS: dict[str, World] = {
    "no window": World(menu=ALIKE, most=3, size={"num_blocks": 4, "chunk": 2}),
    "three at once": World(menu=ALIKE, most=3, size={"num_blocks": 5, "chunk": 5, "batch": 3}),
    "prompts uncut": World(menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": None}),
    "no prefix cache": World(menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": 2, "cache": False}),
    "one token a block": World(menu=ALIKE, most=2, size={"num_blocks": 7, "chunk": 3, "block_size": 1}),
    "a window beside": World(menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": 2, "more": {2: 3}}),
    "a window alone": World(menu=ALIKE, most=2, size={"chunk": 2, "more": {3: 3}, "whole": False}),
    "two windows": World(menu=ALIKE, most=2, size={"num_blocks": 6, "chunk": 5, "batch": 3, "more": {2: 5, 4: 5}}),
    "recurrent states": World(menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": 2, "recurrent": True}),
    "the host keeps blocks": World(
        menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": 2, "cache": False, "host_blocks": 3}
    ),
    "the host keeps states": World(
        menu=ALIKE, most=2, size={"num_blocks": 4, "chunk": 2, "recurrent": True, "host_blocks": 3, "host_states": 1}
    ),
    "states alone": World(menu=ALIKE, most=2, size={"chunk": 2, "recurrent": True, "whole": False}),
}
"""Small worlds of every kind of memory; if not said otherwise, blocks have two tokens and two requests run at once."""


def small(world: World, most: int, *, ahead: bool = False) -> World:
    """A world in which so many requests come."""
    size = {"block_size": 2, "batch": 2, "longest": 8, "ahead": ahead, **world.size}
    return World(menu=world.menu, most=most, size=size)
