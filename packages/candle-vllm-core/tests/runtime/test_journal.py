import itertools
import threading
import time

import pytest
from harness import Harness

from candle_vllm_core.events import (
    EngineEvent,
    FirstToken,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestStarted,
    StepFinished,
    Subscribers,
)
from candle_vllm_core.runtime import journal
from candle_vllm_core.runtime.journal import Durations
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.stats import DURATION_BOUNDS, STUCK_SECONDS, EngineStats, Histogram
from candle_vllm_core.types import FinishReason, GenerationParams


def test_durations_are_counted_up_to_each_bound_and_in_all() -> None:
    durations = Durations()
    for seconds in (0.0, 0.001, 0.0011, 0.5, 7.0, 1e6):
        durations.add(seconds)
    histogram = durations.histogram()
    assert histogram.sum == pytest.approx(1000007.5021)
    assert dict(zip((*DURATION_BOUNDS, "all"), histogram.counts, strict=True)) == {
        **{0.001: 2, 0.0025: 3, 0.005: 3, 0.01: 3, 0.025: 3, 0.05: 3, 0.1: 3, 0.25: 3, 0.5: 4, 1.0: 4, 2.5: 4, 5.0: 4},
        **{10.0: 5, 25.0: 5, 50.0: 5, 100.0: 5, "all": 6},
    }
    assert histogram.count == 6
    assert Histogram() == Durations().histogram()


def test_each_token_is_counted_once_and_waiting_for_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(batch=1)
    first, second = (harness.add([number], GenerationParams(max_tokens=3)) for number in (1, 2))
    first.arrived = second.arrived = 100.0
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    while harness.stepper.has_work:
        seconds[0] += 1
        harness.step()
    stats = harness.stepper.stats()
    assert (stats.queue_seconds.count, stats.queue_seconds.sum) == (2, 1 + 4)
    assert (stats.first_token_seconds.count, stats.first_token_seconds.sum) == (2, 1 + 4)
    assert (stats.inter_token_seconds.count, stats.inter_token_seconds.sum) == (4, 4)
    assert (stats.generated_tokens, stats.prompt_tokens, stats.steps, stats.step_seconds) == (6, 2, 6, 0.0)
    assert harness.output(second).stats.queue_time_ms == 4000


def test_events_come_in_the_order_in_which_things_happen() -> None:
    harness = Harness(num_blocks=4, block_size=2, cache=False)
    for number in (1, 2):
        harness.add([number] * 3, GenerationParams(max_tokens=3, priority=number))
    harness.run()
    told = [(type(event), getattr(event, "request_id", None)) for event in harness.events]
    assert told[:2] == [(RequestQueued, 1), (RequestQueued, 2)]
    steps = [
        list(group) for last, group in itertools.groupby(told[2:], lambda pair: pair[0] is StepFinished) if not last
    ]
    assert steps == [
        [(RequestStarted, 1), (RequestStarted, 2), (FirstToken, 1), (FirstToken, 2)],
        [(RequestPreempted, 2), (RequestFinished, 1)],
        [(RequestFinished, 2)],
    ]
    assert [event.num_tokens for event in harness.events if isinstance(event, StepFinished)] == [6, 2, 1, 5]
    ended = [event for event in harness.events if isinstance(event, RequestFinished)]
    assert [(event.finish_reason, event.stats.generated_tokens) for event in ended] == [(FinishReason.LENGTH, 3)] * 2


def test_a_failed_step_is_told_with_its_error() -> None:
    harness = Harness()
    harness.add([1])

    def fault(step: Step) -> None:
        raise ValueError("no such luck")

    harness.runner.fault = fault
    harness.run()
    *_, ended, step = harness.events
    assert isinstance(ended, RequestFinished) and isinstance(step, StepFinished)
    assert (ended.finish_reason, ended.error) == (FinishReason.ERROR, "ValueError: no such luck")
    assert step.error == "ValueError: no such luck" and harness.stepper.stats().steps == 1


def test_a_step_that_does_not_end_is_seen_from_another_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness()
    harness.add([1], GenerationParams(max_tokens=1))
    begun, may_end = threading.Event(), threading.Event()

    def fault(step: Step) -> None:
        begun.set()
        may_end.wait(30)

    harness.runner.fault = fault
    thread = threading.Thread(target=harness.step)
    thread.start()
    assert begun.wait(30)
    stats = harness.stepper.stats()
    assert stats.step_seconds >= 0.0 and not stats.stuck
    late = time.monotonic() + STUCK_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(journal.time, "monotonic", lambda: late)
        stuck = harness.stepper.stats()
        may_end.set()
        thread.join(30)
    assert stuck.stuck and stuck.step_seconds > STUCK_SECONDS and stuck.running == 1
    assert "a step of 1 requests took" in caplog.text
    assert (harness.stepper.stats().stuck, harness.stepper.stats().step_seconds) == (False, 0.0)


def test_shares_of_nothing_are_nothing() -> None:
    assert (EngineStats().kv_usage, EngineStats().prefix_hit_rate) == (0.0, 0.0)
    stats = EngineStats(kv_blocks_total=8, kv_blocks_used=2, prefix_lookup_tokens=10, prefix_hit_tokens=4)
    assert (stats.kv_usage, stats.prefix_hit_rate) == (0.25, 0.4)


def test_a_subscriber_is_told_until_it_goes_and_not_again_once_it_raised(caplog: pytest.LogCaptureFixture) -> None:
    subscribers = Subscribers()
    assert not subscribers
    heard: dict[str, list[EngineEvent]] = {"first": [], "twice": [], "raising": []}

    def raising(event: EngineEvent) -> None:
        heard["raising"].append(event)
        raise ValueError("this one is broken")

    leave = subscribers.add(heard["first"].append)
    subscribers.add(raising)
    twice = [subscribers.add(heard["twice"].append) for _ in range(2)]
    event = RequestPreempted(request_id=1)
    subscribers.tell(event)
    leave()
    leave()
    twice[0]()
    subscribers.tell(event)
    assert {name: len(events) for name, events in heard.items()} == {"first": 1, "twice": 3, "raising": 1}
    assert "this one is broken" in caplog.text
    twice[1]()
    assert not subscribers
