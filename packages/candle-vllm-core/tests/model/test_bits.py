"""A token's logits are the same bits however its sequence is cut into steps, and whatever else is in them."""

from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from paged import CPU, Paged, in_chunks
from torch import Tensor

from candle_vllm_core.config import Quantization
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

LENGTH = 230
CHUNKS = [[7] * 32 + [6], [64] * 3 + [38], [180, 3, 2, *[1] * 45]]
WAYS: dict[str, tuple[torch.dtype, Quantization | None]] = {
    "bf16": (torch.bfloat16, None),
    "fp32": (torch.float32, None),
    "int8": (torch.bfloat16, "int8"),
}
CASES = [
    *(("llama", way) for way in WAYS),
    ("qwen2, windows", "fp32"),
    ("phi", "fp32"),
    ("mixtral", "int8"),
    ("deepseek-v3", "fp32"),
    ("gpt-oss", "bf16"),
]


def load(path: Path, way: str) -> Decoder:
    dtype, quantization = WAYS[way]
    source = open_source(path)
    spec = decoder_spec(source.config)
    return build_decoder(spec, source, device=CPU, dtype=dtype, quantization=quantization, ops=choose_ops(CPU))


def tokens(seed: int, length: int) -> Tensor:
    return torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(seed))


def differing(found: Tensor, right: Tensor) -> list[int]:
    return (found != right).any(1).nonzero()[:, 0].tolist()


def among_others(decoder: Decoder, own: Tensor, dtype: torch.dtype) -> Tensor:
    """The sequence in steps that prefill and decode five others too, on both sides of it."""
    others = {f"other {number}": tokens(number, 60 + 7 * number) for number in range(2, 7)}
    paged = Paged(decoder, others | {"own": own}, dtype=dtype, block_size=16)
    done, found = 0, []
    for number in [13, 1, 1, 60, 1, 110, *[1] * 8, 20, *[1] * 16]:
        parts = {name: 5 if done < 40 else 1 for name in others}
        before, after = list(parts.items())[:2], list(parts.items())[2:]
        found.append(paged.step({**dict(before), "own": number, **dict(after)})["own"])
        done += number
    return torch.cat(found)


@pytest.mark.parametrize(("name", "way"), CASES)
def test_logits_are_the_same_bits_in_whatever_steps_and_beside_whatever_others(
    name: str, way: str, tmp_path: Path
) -> None:
    save_model(tmp_path, name)
    decoder, ids, dtype = load(tmp_path, way), tokens(1, LENGTH), WAYS[way][0]
    whole = in_chunks(decoder, ids, [LENGTH], dtype=dtype, block_size=16)
    assert whole.isfinite().all() and len(whole.unique(dim=0)) > LENGTH // 2
    cut = [differing(in_chunks(decoder, ids, sizes, dtype=dtype, block_size=16), whole) for sizes in CHUNKS]
    assert cut == [[]] * len(CHUNKS)
    assert differing(among_others(decoder, ids, dtype), whole) == []
