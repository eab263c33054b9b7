"""Networks of single tokens beside plain ones written out here, in Python's numbers and one token at a time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch
from tensors import Tensors, checkpoint
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.model.feed_forward import Dense, Router, Sparse
from candle_vllm_core.quant.experts import ExpertStack

DTYPES = [torch.float32, torch.bfloat16]
DIM, EXPERTS = 24, 12
GROUPS = s.Router(experts=EXPERTS, top_k=5, groups=4, top_groups=2)
SIGMOID = replace(GROUPS, score="sigmoid", group_score="best_two", correction=True, renormalize=True, scale=2.5)
ROUTERS = {
    "softmax": s.Router(experts=EXPERTS, top_k=3),
    "softmax, renormalised": s.Router(experts=EXPERTS, top_k=3, renormalize=True),
    "softmax, scaled, bias": s.Router(experts=EXPERTS, top_k=4, scale=1.7, bias=True),
    "softmax, one expert": s.Router(experts=EXPERTS, top_k=1),
    "softmax, every expert": s.Router(experts=EXPERTS, top_k=EXPERTS),
    "softmax, best groups": GROUPS,
    "softmax, groups by two": replace(GROUPS, group_score="best_two", scale=0.5),
    "softmax, groups of two": s.Router(experts=EXPERTS, top_k=5, groups=6, top_groups=3, group_score="best_two"),
    "softmax, corrected": s.Router(experts=EXPERTS, top_k=5, correction=True, renormalize=True),
    "sigmoid": s.Router(experts=EXPERTS, top_k=3, score="sigmoid"),
    "sigmoid, bias": s.Router(experts=EXPERTS, top_k=3, score="sigmoid", bias=True, renormalize=True),
    "sigmoid, best groups": replace(GROUPS, score="sigmoid", renormalize=True),
    "sigmoid, corrected groups": SIGMOID,
    "sigmoid, as many as the groups hold": replace(SIGMOID, top_k=6),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 7 * sum(shape)))


def tensors_of(spec: s.Router, prefix: str = "") -> dict[str, Tensor]:
    found = {"weight": random(spec.experts, DIM) * 0.3}
    found |= {"bias": random(spec.experts, seed=1)} if spec.bias else {}
    found |= {"e_score_correction_bias": random(spec.experts, seed=2)} if spec.correction else {}
    return {f"{prefix}{name}": tensor for name, tensor in found.items()}


def router(spec: s.Router) -> Router:
    return Router(spec, DIM, checkpoint(Tensors(tensors_of(spec))))


def chosen(spec: s.Router, token: Sequence[float], tensors: Mapping[str, Tensor]) -> dict[int, float]:
    """The experts of one token with their weights."""
    zeros = [0.0] * spec.experts
    bias, correction = (
        tensors[name].tolist() if name in tensors else zeros for name in ("bias", "e_score_correction_bias")
    )
    rows = zip(tensors["weight"].tolist(), bias, strict=True)
    logits = [math.fsum(a * b for a, b in zip(row, token, strict=True)) + add for row, add in rows]
    if spec.score == "sigmoid":
        scores = [1 / (1 + math.exp(-logit)) for logit in logits]
    else:
        total = math.fsum(map(math.exp, logits))
        scores = [math.exp(logit) / total for logit in logits]
    choice = [score + add for score, add in zip(scores, correction, strict=True)]
    allowed = best_groups(spec, choice)
    best = sorted(allowed, key=lambda expert: -choice[expert])[: spec.top_k]
    divisor = math.fsum(scores[expert] for expert in best) if spec.renormalize else 1.0
    return {expert: scores[expert] / divisor * spec.scale for expert in best}


def best_groups(spec: s.Router, choice: Sequence[float]) -> list[int]:
    """The experts that stand in one of the best groups."""
    size = spec.experts // spec.groups
    members = [range(group * size, (group + 1) * size) for group in range(spec.groups)]
    counted = 1 if spec.group_score == "best" else 2
    worth = [sum(sorted((choice[expert] for expert in group), reverse=True)[:counted]) for group in members]
    best = sorted(range(spec.groups), key=lambda group: -worth[group])[: spec.top_groups]
    return [expert for group in best for expert in members[group]]


def as_tables(experts: Tensor, weights: Tensor) -> list[dict[int, float]]:
    return [dict(zip(*row, strict=True)) for row in zip(experts.tolist(), weights.tolist(), strict=True)]


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_chooses_and_weighs_as_written_out(name: str) -> None:
    spec, x = ROUTERS[name], random(200, DIM)
    experts, weights = router(spec)(x)
    assert (experts.shape, weights.shape, weights.dtype) == ((200, spec.top_k), (200, spec.top_k), torch.float32)
    for token, found in zip(x.tolist(), as_tables(experts, weights), strict=True):
        assert found == pytest.approx(chosen(spec, token, tensors_of(spec)), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": 1, "top_groups": 1},
        {"group_score": "best"},
        {"correction": False},
        {"score": "softmax"},
        {"top_groups": 3},
        {"renormalize": False},
        {"scale": 1.0},
    ],
    ids=str,
)
def test_everything_that_a_router_is_told_counts(change: dict[str, object]) -> None:
    """So the comparison above would notice if it were passed over."""
    x = random(200, DIM)
    found, other = (as_tables(*router(spec)(x)) for spec in (SIGMOID, replace(SIGMOID, **change)))  # type: ignore[arg-type]
    assert sum(a != pytest.approx(b, rel=1e-3) for a, b in zip(found, other, strict=True)) >= 10


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_scores_far_from_zero_stay_numbers(score: Literal["softmax", "sigmoid"]) -> None:
    x = torch.zeros(1, DIM)
    x[0, :EXPERTS] = torch.linspace(-300, 300, EXPERTS)
    spec = s.Router(experts=EXPERTS, top_k=EXPERTS, score=score)
    _, weights = Router(spec, DIM, checkpoint(Tensors({"weight": torch.eye(EXPERTS, DIM)})))(x)
    assert (weights.amin(), weights.amax(), weights.isnan().any()) == (0, 1, False)


WIDTH = 19
MIXTURES = {
    "softmax": s.Sparse(router=ROUTERS["softmax"], width=WIDTH),
    "biases": s.Sparse(router=ROUTERS["softmax, scaled, bias"], width=WIDTH, bias=True, act="clamped_swish"),
    "groups": s.Sparse(router=SIGMOID, width=WIDTH, act="gelu_tanh"),
    "shared": s.Sparse(router=SIGMOID, width=WIDTH, shared=s.Dense(width=30, act="gelu_tanh")),
    "shared, gated": s.Sparse(router=ROUTERS["softmax"], width=WIDTH, shared=s.Dense(width=21), shared_gate=True),
    "one expert": s.Sparse(router=ROUTERS["softmax, one expert"], width=WIDTH),
    "every expert": s.Sparse(router=ROUTERS["softmax, every expert"], width=WIDTH),
}


def parts(spec: s.Sparse) -> dict[str, Tensor]:
    """A checkpoint of a mixture, whose numbers are such that bfloat16 holds them too."""
    found = tensors_of(spec.router, "gate.")
    networks = [(f"experts.{expert}", spec.width, spec.bias) for expert in range(spec.router.experts)]
    networks += [("shared_experts", spec.shared.width, False)] if spec.shared else []
    for seed, (name, width, bias) in enumerate(networks):
        shapes = {"gate_proj": (width, DIM), "up_proj": (width, DIM), "down_proj": (DIM, width)}
        found |= {f"{name}.{part}.weight": random(*shape, seed=seed) for part, shape in shapes.items()}
        found |= {f"{name}.{part}.bias": random(shape[0], seed=seed) for part, shape in shapes.items()} if bias else {}
    found |= {"shared_expert_gate.weight": random(1, DIM)} if spec.shared_gate else {}
    return {name: tensor.bfloat16().float() for name, tensor in found.items()}


def routing(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("gate."): tensor for name, tensor in tensors.items() if name.startswith("gate.")}


def mixture(spec: s.Sparse, dtype: torch.dtype = torch.float32) -> Sparse:
    return Sparse(spec, DIM, checkpoint(Tensors(parts(spec)), dtype))


def network(spec: s.Dense | s.Sparse, x: Tensor, tensors: Mapping[str, Tensor], name: str = "") -> Tensor:
    """down(act(gate(x)) * up(x)) in float64, or without a gate down(act(up(x)))."""

    def linear(part: str, x: Tensor) -> Tensor:
        bias = tensors[f"{name}{part}.bias"].double() if spec.bias else 0
        return x @ tensors[f"{name}{part}.weight"].double().t() + bias

    up = linear("up_proj", x.double())
    if isinstance(spec, s.Dense) and not spec.gated:
        return linear("down_proj", bent(spec.act, up))
    gate = linear("gate_proj", x.double())
    if spec.act == "clamped_swish":
        gate, up = gate.clamp(max=7), up.clamp(-7, 7) + 1
    return linear("down_proj", bent(spec.act, gate) * up)


def bent(act: s.Activation, x: Tensor) -> Tensor:
    match act:
        case "silu":
            return x / (1 + torch.exp(-x))
        case "clamped_swish":
            return x / (1 + torch.exp(-1.702 * x))
        case "gelu":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        case "gelu_tanh":
            return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def written_out(spec: s.Sparse, token: Tensor) -> Tensor:
    """What a mixture gives for one token, in float64."""
    tensors, x = parts(spec), token.double()
    each = chosen(spec.router, token.tolist(), routing(tensors)).items()
    found = [network(spec, x, tensors, f"experts.{expert}.") * weight for expert, weight in each]
    if spec.shared is not None:
        gate = 1 / (1 + torch.exp(-(tensors["shared_expert_gate.weight"].double() @ x))) if spec.shared_gate else 1.0
        found.append(network(spec.shared, x, tensors, "shared_experts.") * gate)
    return torch.stack(found).sum(0)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_is_the_sum_of_its_experts(name: str) -> None:
    spec, x = MIXTURES[name], random(60, DIM)
    found = mixture(spec)(x)
    right = torch.stack([written_out(spec, token) for token in x])
    assert found.dtype == torch.float32
    assert (found - right).abs().max() <= 1e-5 * right.abs().max()


class Watched(ExpertStack):
    """Experts whose work is written down: how many tokens each was given."""

    def __init__(self, experts: ExpertStack) -> None:
        self.count, self.rows, self._experts = experts.count, experts.rows, experts
        self.given: list[Sequence[int]] = []

    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        assert x.shape[0] == sum(counts)
        self.given.append(counts)
        return self._experts.multiply(x, counts)


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_each_expert_multiplies_its_own_tokens_once_and_no_others(name: str, tokens: int) -> None:
    spec, x = MIXTURES[name], random(tokens, DIM)
    mix = mixture(spec)
    mix.gate_up, mix.down = up, down = Watched(mix.gate_up), Watched(mix.down)
    mix(x)
    of_tokens = [chosen(spec.router, token, routing(parts(spec))) for token in x.tolist()]
    right = [sum(expert in of_token for of_token in of_tokens) for expert in range(EXPERTS)]
    assert up.given == down.given == [right]
    assert sum(right) == tokens * spec.router.top_k


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MIXTURES)
def test_a_token_has_the_same_bits_whatever_stands_beside_it(name: str, dtype: torch.dtype) -> None:
    mix, x = mixture(MIXTURES[name], dtype), random(270, DIM).to(dtype)
    every = mix(x)
    for count in (1, 2, 3, 5, 8, 33):
        for start in (0, 7, 270 - count):
            assert torch.equal(mix(x[start : start + count]), every[start : start + count])
    order = torch.randperm(270, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix(x[order]), every[order])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MIXTURES)
def test_no_tokens_give_no_rows(name: str, dtype: torch.dtype) -> None:
    found = mixture(MIXTURES[name], dtype)(torch.empty(0, DIM, dtype=dtype))
    assert (found.shape, found.dtype) == ((0, DIM), dtype)


@pytest.mark.parametrize("name", [name for name, spec in MIXTURES.items() if spec.shared is None])
def test_what_experts_give_is_weighed_and_added_before_it_is_rounded(name: str) -> None:
    mix, x = mixture(MIXTURES[name], torch.bfloat16), random(60, DIM).bfloat16()
    experts, weights = mix.router(x)
    right = torch.zeros(60, DIM, dtype=torch.float64)
    for row in range(60):
        for expert, weight in zip(experts[row].tolist(), weights[row].double(), strict=True):
            alone = [int(index == expert) for index in range(EXPERTS)]
            inner = mix.ops.gated(mix.spec.act, mix.gate_up.multiply(x[row : row + 1], alone))
            right[row] += weight * mix.down.multiply(inner, alone)[0].double()
    # float32 may round otherwise where a sum lies between two numbers of the short type.
    assert (mix(x) == right.bfloat16()).float().mean() > 0.99


PLAIN: list[tuple[s.Activation, bool]] = [("silu", False), ("gelu", False), ("gelu_tanh", False)]


@pytest.mark.parametrize(("act", "gated"), [*PLAIN, *((act, True) for act, _ in PLAIN), ("clamped_swish", True)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_network_is_as_written_out(act: s.Activation, gated: bool, bias: bool) -> None:
    spec, x = s.Dense(width=WIDTH, act=act, gated=gated, bias=bias), random(9, DIM)
    shapes = {"gate_proj": (WIDTH, DIM), "up_proj": (WIDTH, DIM), "down_proj": (DIM, WIDTH)}
    tensors = {f"{part}.weight": random(*shape, seed=1) for part, shape in shapes.items()}
    tensors |= {f"{part}.bias": random(shape[0], seed=2) for part, shape in shapes.items()}
    dense = Dense(spec, DIM, checkpoint(Tensors(tensors)))
    right = network(spec, x, tensors)
    assert (dense(x) - right).abs().max() <= 1e-5 * right.abs().max()
    assert dense(x[:0]).shape == (0, DIM)
