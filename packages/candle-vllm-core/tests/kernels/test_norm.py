import pytest
import torch
from kernel_errors import close
from kernel_numbers import DTYPES, poison, random, tolerance
from torch import Tensor

from candle_vllm_core.kernels import norm, reference_layers

EPS = 1e-5


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written stays NaN."""
    poison(monkeypatch)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide", [False, True], ids=["rounds first", "weighs first"])
@pytest.mark.parametrize("centred", [False, True], ids=["rms", "layer"])
@pytest.mark.parametrize("also", ["nothing", "bias", "added", "residual", "index", "all but index"])
def test_rows_are_normalised_as_written_out(
    dtype: torch.dtype, wide: bool, centred: bool, also: str, device: torch.device
) -> None:
    rows, dim = 5, 67
    x, added, residual = (random(rows, dim, dtype=dtype, device=device, seed=seed) for seed in range(3))
    weight, bias = (random(dim, dtype=torch.float32 if wide else dtype, device=device, seed=seed) for seed in (3, 4))
    every = also == "all but index"
    given = {
        "centred": centred,
        "added": added if also in ("added", "index") or every else None,
        "residual": residual if also == "residual" or every else None,
        "index": torch.tensor([4, 0, 4], device=device) if also == "index" else None,
    }
    own = bias if also == "bias" or every else None
    found, total = norm.normalise(x, weight, own, EPS, **given)
    right, sums = reference_layers.normalise(x, weight, own, EPS, **given)
    rounded = tolerance(dtype, 4)  # The sum, what is normalised, what is weighed, and the residual.
    close(found, right, atol=rounded, rtol=rounded)
    close(total, sums, atol=rounded, rtol=rounded)
    if dtype == torch.float16:
        # Each rounding where it belongs: but where a number lies between two of its type, all bits are the same.
        assert torch.equal(total, sums)
        assert (found == right).float().mean() > 0.95


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dim", [1, 16, 128, 1000, 5000])
def test_rows_of_any_length_that_lie_apart(dim: int, device: torch.device) -> None:
    wider = random(3, dim + 8, dtype=torch.bfloat16, device=device)
    weight = random(dim, dtype=torch.bfloat16, device=device)
    for x in (wider[:, :dim], wider[:, 8:]):
        found, _ = norm.normalise(x, weight, None, EPS)
        right, _ = reference_layers.normalise(x, weight, None, EPS)
        close(found, right, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("dim", [64, 1500])
@pytest.mark.parametrize("centred", [False, True])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(dim: int, centred: bool, device: torch.device) -> None:
    x, added = (random(21, dim, dtype=torch.float32, device=device, seed=seed) for seed in range(2))
    weight = random(dim, dtype=torch.float32, device=device)
    every, _ = norm.normalise(x, weight, None, EPS, centred=centred, added=added)
    for rows in (slice(0, 1), slice(3, 5), slice(20, 21)):
        some, _ = norm.normalise(x[rows], weight, None, EPS, centred=centred, added=added[rows])
        assert torch.equal(some, every[rows])
    order = torch.tensor([7, 20, 0, 7], device=device)
    chosen, _ = norm.normalise(x, weight, None, EPS, centred=centred, added=added, index=order)
    assert torch.equal(chosen, every[order])


def test_no_rows_give_none(device: torch.device) -> None:
    x, weight = torch.empty(0, 8, device=device), torch.ones(8, device=device)
    assert norm.normalise(x, weight, None, EPS)[0].shape == (0, 8)
    index = torch.empty(0, dtype=torch.int64, device=device)
    assert norm.normalise(torch.ones(3, 8, device=device), weight, None, EPS, index=index)[0].shape == (0, 8)


@pytest.mark.parametrize(
    ("x", "weight", "added"),
    [
        (torch.ones(2, 8), torch.ones(7), None),
        (torch.ones(2, 8), torch.ones(8), torch.ones(2, 7)),
        (torch.ones(2, 8), torch.ones(8), torch.ones(2, 8).half()),
        (torch.ones(2, 8), torch.ones(8).half(), None),
        (torch.ones(8, 2).t(), torch.ones(8), None),
        (torch.ones(2, 3, 8), torch.ones(8), None),
        (torch.ones(1, norm.MOST_COLUMNS + 1), torch.ones(norm.MOST_COLUMNS + 1), None),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, weight: Tensor, added: Tensor | None) -> None:
    with pytest.raises(ValueError):
        norm.normalise(x, weight, None, EPS, added=added)
