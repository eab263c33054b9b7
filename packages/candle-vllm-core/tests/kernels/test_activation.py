import pytest
import torch
from kernel_errors import close
from kernel_numbers import DTYPES, poison, random, tolerance

from candle_vllm_core.kernels import activation, reference_layers
from candle_vllm_core.kernels.activation import ACTIVATIONS, Activation

# What is past the largest number is infinite, and its inverse zero: as it should be.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written stays NaN."""
    poison(monkeypatch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize(("tokens", "width"), [(3, 37), (2, 1500)])
def test_gated_is_as_written_out(
    dtype: torch.dtype, act: Activation, tokens: int, width: int, device: torch.device
) -> None:
    gate_up = random(tokens, 2 * width + 5, dtype=dtype, device=device)[:, : 2 * width] * 6
    found, right = activation.gated(act, gate_up), reference_layers.gated(act, gate_up)
    close(found, right, atol=tolerance(dtype), rtol=tolerance(dtype))
    found, right = (each.gated(act, gate_up, has_up=False) for each in (activation, reference_layers))
    close(found, right, atol=tolerance(dtype), rtol=tolerance(dtype))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_far_from_zero_it_stays_what_it_is(act: Activation, device: torch.device) -> None:
    far = torch.tensor([-1e4, -300.0, -90.0, 0.0, 90.0, 300.0, 1e4, torch.nan], device=device)
    gate_up = torch.cat((far, torch.ones_like(far)))[None]
    found, right = activation.gated(act, gate_up), reference_layers.gated(act, gate_up)
    close(found[:, :-1], right[:, :-1], atol=1e-6, rtol=1e-6)
    assert found[0, -1].isnan() and right[0, -1].isnan()


@pytest.mark.parametrize("dtype", DTYPES)
def test_heads_are_gated_wherever_their_gates_lie(dtype: torch.dtype, device: torch.device) -> None:
    tokens, heads, dim = 3, 5, 24
    x = random(tokens, heads, dim, dtype=dtype, device=device)
    projected = random(tokens, heads * 2 * dim + 7, dtype=dtype, device=device, seed=1)
    beside = projected[:, : heads * 2 * dim].view(tokens, heads, 2, dim)[:, :, 1]
    for gate in (beside, beside[..., :1], beside.contiguous()):
        found, right = activation.gate_heads(x, gate), reference_layers.gate_heads(x, gate)
        close(found, right, atol=tolerance(dtype), rtol=tolerance(dtype))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_number_has_the_same_bits_wherever_it_stands(act: Activation, device: torch.device) -> None:
    gate_up = random(7, 2 * 1100, dtype=torch.float32, device=device)
    every = activation.gated(act, gate_up)
    assert torch.equal(activation.gated(act, gate_up[5:6]), every[5:6])
    some = torch.cat((gate_up[:, 1000:1100], gate_up[:, 2100:]), 1)
    assert torch.equal(activation.gated(act, some), every[:, 1000:])


def test_no_tokens_give_no_rows(device: torch.device) -> None:
    assert activation.gated("silu", torch.empty(0, 8, device=device)).shape == (0, 4)
    empty = torch.empty(0, 2, 8, device=device)
    assert activation.gate_heads(empty, empty).shape == (0, 2, 8)


def test_what_does_not_fit_is_refused() -> None:
    for gate_up in (torch.ones(2, 7), torch.ones(2, 2, 4), torch.ones(8, 2).t()):
        with pytest.raises(ValueError):
            activation.gated("silu", gate_up)
    with pytest.raises(ValueError):
        activation.gated("relu", torch.ones(2, 8))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        activation.gate_heads(torch.ones(2, 3, 4), torch.ones(2, 3, 2))
