"""What an engine counts and measures, as frozen data: `EngineStats`. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

STUCK_SECONDS = 300.0
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations were no longer than each bound, in the manner of Prometheus."""

    bounds: tuple[float, ...] = DURATION_BOUNDS
    """Seconds, rising; the same for every histogram and for ever."""
    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS) + 1)
    """Cumulative: how many were no longer than each bound, and last how many there were in all."""
    sum: float = 0.0
    """All durations together, in seconds."""

    @property
    def count(self) -> int:
        """How many durations there were."""
        return self.counts[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What the engine is doing now, and what it has done since it was opened."""

    running: int = 0
    waiting: int = 0
    kv_blocks_total: int = 0
    """Blocks of the KV cache; layers that reach differently far back have blocks of their own, and these add up."""
    kv_blocks_used: int = 0
    """Blocks that running requests hold."""
    kv_blocks_cached: int = 0
    """Blocks that no request holds but whose content the prefix cache may give out again."""
    block_size: int = 0
    """Tokens in one block."""
    prefix_lookup_tokens: int = 0
    """Tokens of the prompts that were looked up in the prefix cache, each when its request first ran."""
    prefix_hit_tokens: int = 0
    """Those of them that were found there and not computed again."""
    preemptions: int = 0
    """How often a running request gave its memory back to a more urgent one, and waited to go on."""
    swaps_out: int = 0
    """How often the host's memory kept what a preempted request had computed; without room, it is computed again."""
    swaps_in: int = 0
    """How often something came back from there; what is still in the prefix cache need not."""
    blocks_swapped_out: int = 0
    """Blocks of all groups of layers that were copied to the host's memory."""
    blocks_swapped_in: int = 0
    """Blocks of all groups of layers that were copied back."""
    host_blocks_total: int = 0
    """Blocks of all groups of layers that the host's memory has room for; 0 on a CPU."""
    host_blocks_used: int = 0
    """Those of them that keep something of a preempted request; the others are free."""
    prompt_tokens: int = 0
    """Prompt tokens that were computed, again after a preemption too."""
    generated_tokens: int = 0
    steps: int = 0
    """Steps that were begun, failed ones too."""
    step_seconds: float = 0.0
    """How long the step that is running has been at it; 0 between steps."""
    queue_seconds: Histogram = Histogram()
    """From a request's arrival until it first ran."""
    first_token_seconds: Histogram = Histogram()
    """From a request's arrival to its first token."""
    inter_token_seconds: Histogram = Histogram()
    """From each token to the next of the same request."""

    @property
    def stuck(self) -> bool:
        """Whether the step that is running has taken over 300 seconds: more than any is known to need."""
        return self.step_seconds > STUCK_SECONDS

    @property
    def kv_usage(self) -> float:
        """The share of the KV cache's blocks that running requests hold."""
        return self.kv_blocks_used / self.kv_blocks_total if self.kv_blocks_total else 0.0

    @property
    def prefix_hit_rate(self) -> float:
        """The share of looked-up prompt tokens that the prefix cache had."""
        return self.prefix_hit_tokens / self.prefix_lookup_tokens if self.prefix_lookup_tokens else 0.0
