import pytest
import torch
from kernel_errors import close
from tensors import Tensors, checkpoint
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.kernels import experts as kernel
from candle_vllm_core.kernels import reference_experts as reference
from candle_vllm_core.kernels.experts import combine, few, multiply, tile_for
from candle_vllm_core.kernels.routing import sort_pairs
from candle_vllm_core.model import loader
from candle_vllm_core.model.feed_forward import Sparse
from candle_vllm_core.quant.experts import ExpertStack, LoopedExperts
from candle_vllm_core.quant.grouped import GroupedExperts
from candle_vllm_core.quant.weight import DenseWeight

pytestmark = pytest.mark.usefixtures("poisoned")
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 2e-5}
COUNT, ROWS, COLUMNS = 7, 45, 77


def random(*shape: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(device, dtype)


def chosen(tokens: int, top_k: int, device: torch.device, count: int = COUNT) -> Tensor:
    generator = torch.Generator().manual_seed(tokens)
    return torch.stack([torch.randperm(count, generator=generator)[:top_k] for _ in range(tokens)]).to(device)


def grouped(x: Tensor, matrices: Tensor, experts: Tensor, *others: Tensor | None, is_sorted: bool = True) -> Tensor:
    tile = tile_for(experts.numel(), len(matrices), x.dtype.itemsize)
    return multiply(
        x, matrices, experts, sort_pairs(experts, len(matrices), tile.pairs) if is_sorted else None, *others
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("tokens", "top_k", "columns", "is_sorted"),
    [(1, 1, 64, False), (1, 1, 64, True), (5, 2, 77, False), (40, 3, 130, True)],
)
def test_each_pair_is_multiplied_with_its_experts_matrix(
    dtype: torch.dtype, tokens: int, top_k: int, columns: int, is_sorted: bool, device: torch.device
) -> None:
    experts, matrices = chosen(tokens, top_k, device), random(COUNT, ROWS, columns, dtype=dtype, device=device)
    biases = random(COUNT, ROWS, dtype=dtype, device=device)
    weights = random(tokens, top_k, dtype=torch.float32, device=device).softmax(-1)
    x = random(tokens, columns + 3, dtype=dtype, device=device)[:, :columns]
    for others in ((), (biases,), (biases, weights)):
        right = reference.multiply(x, matrices, experts, *others)
        found = grouped(x, matrices, experts, *others, is_sorted=is_sorted)
        close(found, right, atol=TOLERANCE[dtype] * columns**0.5, rtol=TOLERANCE[dtype])
    rows = random(tokens * top_k, columns, dtype=dtype, device=device)
    found = grouped(rows, matrices, experts, is_sorted=is_sorted)
    close(
        found, reference.multiply(rows, matrices, experts), atol=TOLERANCE[dtype] * columns**0.5, rtol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_has_the_same_bits_whatever_stands_beside_it(dtype: torch.dtype, device: torch.device) -> None:
    tokens, top_k, count = 70, 2, 3
    matrices, x = (random(*shape, dtype=dtype, device=device) for shape in ((count, 70, 96), (tokens, 96)))
    experts = chosen(tokens, top_k, device, count)
    every = grouped(x, matrices, experts).view(tokens, top_k, -1)
    for some, is_sorted in ((slice(0, 1), True), (slice(9, 12), False), (slice(30, 60), True), (slice(69, 70), False)):
        found = grouped(x[some], matrices, experts[some].contiguous(), is_sorted=is_sorted)
        assert torch.equal(found.view(-1, top_k, 70), every[some])


def test_many_pairs_have_the_bits_of_few(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, dtype = 66, torch.bfloat16
    matrices, x = (random(*shape, dtype=dtype, device=device) for shape in ((2, 70, 80), (tokens, 80)))
    experts = chosen(tokens, 2, device, 2)
    assert tile_for(2 * tokens, 2, 2) is not tile_for(1, 2, 2)
    found = grouped(x, matrices, experts)
    monkeypatch.setattr(kernel, "PAIRS_EACH", 10**9)
    assert torch.equal(grouped(x, matrices, experts), found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_added", [0, 1, 2])
def test_what_experts_gave_is_summed_and_added(dtype: torch.dtype, num_added: int, device: torch.device) -> None:
    given = random(5 * 3, 1031, dtype=dtype, device=device)
    added = [random(5, 1040, dtype=dtype, device=device, seed=seed)[:, :1031] for seed in range(num_added)]
    right = reference.combine(given, 3, added)
    close(combine(given, 3, added), right, atol=TOLERANCE[dtype] * 4, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [0, 1, 21])
def test_a_stack_does_whole_what_a_loop_does(dtype: torch.dtype, tokens: int, device: torch.device) -> None:
    count, top_k, width = 9, 2, 24
    gate_up = (
        random(count, 2 * width, COLUMNS, dtype=dtype, device=device),
        random(count, 48, dtype=dtype, device=device),
    )
    down = random(count, COLUMNS, width, dtype=dtype, device=device), None
    x = random(tokens, COLUMNS, dtype=dtype, device=device)
    experts = chosen(max(tokens, 1), top_k, device, count)[:tokens]
    weights = random(tokens, top_k, dtype=torch.float32, device=device).softmax(-1)
    assert few(top_k, count) and not few(21 * top_k, count)

    def mixed(first: ExpertStack, second: ExpertStack) -> Tensor:
        routing = first.route(experts)
        gate, up = first.spread(x, routing).chunk(2, -1)
        return second.gather(torch.tanh(gate) * up, routing, weights, [x, x])

    looped = (
        LoopedExperts([DenseWeight(matrix) for matrix in matrices], biases) for matrices, biases in (gate_up, down)
    )
    right, found = mixed(*looped), mixed(GroupedExperts(*gate_up), GroupedExperts(*down))
    assert found.dtype == dtype
    close(found, right, atol=TOLERANCE[dtype] * 60, rtol=TOLERANCE[dtype])


def asks_the_host(tensor: Tensor) -> None:
    raise AssertionError("the host asked for a tensor's numbers")


@pytest.mark.parametrize("tokens", [1, 9])
def test_a_mixture_on_a_gpu_gives_what_one_on_a_cpu_gives_and_the_host_learns_nothing(
    tokens: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = s.Router(experts=12, top_k=3, renormalize=True)
    spec = s.Sparse(router=router, width=20, bias=True, act="clamped_swish", shared=s.Dense(width=24), shared_gate=True)
    sizes = {"gate": (12, 32), "shared_expert_gate": (1, 32)}
    for name, width in (*((f"experts.{expert}", 20) for expert in range(12)), ("shared_experts", 24)):
        sizes |= {f"{name}.gate_proj": (width, 32), f"{name}.up_proj": (width, 32), f"{name}.down_proj": (32, width)}
    found = {f"{name}.weight": random(*shape, dtype=torch.float32, device=device) for name, shape in sizes.items()}
    found |= {f"{name}.bias": random(shape[0], dtype=torch.float32, device=device) for name, shape in sizes.items()}
    x, residual = (random(tokens, 32, dtype=torch.float32, device=device, seed=seed) for seed in range(2))
    right = Sparse(spec, 32, checkpoint(Tensors(found)))(x.cpu(), residual.cpu())
    monkeypatch.setattr(loader, "available", lambda _: True)
    mixture = Sparse(spec, 32, checkpoint(Tensors(found)))
    assert isinstance(mixture.gate_up, GroupedExperts)
    for question in ("tolist", "item"):
        monkeypatch.setattr(Tensor, question, asks_the_host)
    result = mixture(x, residual)
    monkeypatch.undo()
    close(result, right, atol=1e-3, rtol=1e-4)


def test_tokens_that_are_sorted_already_are_multiplied_by_counts(device: torch.device) -> None:
    matrices, x = (random(*shape, dtype=torch.float32, device=device) for shape in ((4, ROWS, COLUMNS), (9, COLUMNS)))
    counts = [0, 5, 1, 3]
    right = LoopedExperts([DenseWeight(matrix) for matrix in matrices]).multiply(x, counts)
    close(GroupedExperts(matrices).multiply(x, counts), right, atol=1e-4, rtol=1e-5)


def test_shapes_that_do_not_fit_are_refused(device: torch.device) -> None:
    matrices, experts = random(3, 8, 16, dtype=torch.float32, device=device), chosen(4, 2, device, 3)
    x = random(4, 16, dtype=torch.float32, device=device)
    for wrong in (x.half(), x[:, :8], x[:3], x.t().contiguous().t()):
        with pytest.raises(ValueError, match="tok"):
            grouped(wrong, matrices, experts)
    with pytest.raises(ValueError, match="biases"):
        grouped(x, matrices, experts, x)
    with pytest.raises(ValueError, match="weights"):
        grouped(x, matrices, experts, None, x)
    with pytest.raises(ValueError, match="tiles"):
        multiply(x, matrices, experts, sort_pairs(experts, 3, 16))
    with pytest.raises(ValueError, match="added"):
        combine(x, 2, [x])
