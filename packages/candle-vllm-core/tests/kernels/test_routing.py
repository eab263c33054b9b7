import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from candle_vllm_core.kernels import reference_experts as reference
from candle_vllm_core.kernels import routing
from candle_vllm_core.kernels.routing import Sorted, most_tiles, sort_pairs


def drawn(tokens: int, top_k: int, count: int, skew: float, seed: int) -> Tensor:
    """Different experts for each token, the first ones more often the larger the skew."""
    generator = torch.Generator().manual_seed(seed)
    likely = torch.exp(-skew * torch.arange(count))
    if not tokens:
        return torch.empty(0, top_k, dtype=torch.int64)
    return torch.stack([torch.multinomial(likely, top_k, generator=generator) for _ in range(tokens)])


def check(found: Sorted, experts: Tensor, count: int, height: int) -> None:
    places, tiles = reference.sort_pairs(experts, count, height)
    live = places >= 0
    order = found.order.cpu()
    assert order.shape == (most_tiles(experts.numel(), count, height) * height,)
    assert torch.equal(order[: len(places)][live], places[live])
    assert torch.equal(found.tiles[: len(tiles)].cpu(), tiles)
    assert found.tiles[len(tiles) :, 1].eq(0).all()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_pairs_stand_by_expert_in_the_order_of_their_numbers(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 70))
    top_k, tokens = data.draw(st.integers(1, min(count, 9))), data.draw(st.integers(0, 40))
    height, skew = data.draw(st.sampled_from([16, 64])), data.draw(st.sampled_from([0.0, 0.3, 5.0 / count]))
    experts = drawn(tokens, top_k, count, skew, data.draw(st.integers(0, 99)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check(sort_pairs(experts.to(device), count, height), experts, count, height)


@pytest.mark.parametrize(("tokens", "top_k", "count"), [(40, 3, 5), (65, 4, 16), (33, 8, 130)])
def test_pairs_that_are_counted_in_chunks_stand_as_if_counted_at_once(
    tokens: int, top_k: int, count: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = drawn(tokens, top_k, count, 0.1, tokens)
    monkeypatch.setattr(routing, "ALONE", 32)
    check(sort_pairs(experts.to(device), count, 16), experts, count, 16)


def test_one_expert_may_get_every_pair(device: torch.device) -> None:
    experts = torch.full((70, 1), 6)
    check(sort_pairs(experts.to(device), 8, 64), experts, 8, 64)


def test_what_is_no_table_of_experts_is_refused(device: torch.device) -> None:
    experts = torch.zeros(4, 2, dtype=torch.int64, device=device)
    for wrong, count in ((experts.int(), 4), (experts.t(), 4), (experts, 0), (experts, 4096)):
        with pytest.raises(ValueError, match="experts"):
            sort_pairs(wrong, count, 64)
