"""Writes the bf16 weights of a Qwen2 as a GGUF file: run by a Python that has `gguf` and nothing of this project."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
ENDS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
THETA = 10000.0


def tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values in float32 of a safetensors file in bf16: a length, a header, and the numbers."""
    size = int.from_bytes(path.open("rb").read(8), "little")
    header = json.loads(path.open("rb").read(8 + size)[8:])
    header.pop("__metadata__", None)
    for name, said in header.items():
        start, stop = said["data_offsets"]
        halves = np.memmap(path, np.uint16, "r", 8 + size + start, ((stop - start) // 2,))
        yield name, (halves.astype(np.uint32) << 16).view(np.float32).reshape(said["shape"])


def renamed(name: str) -> str:
    """What a GGUF file calls a tensor."""
    if name in ENDS:
        return ENDS[name]
    _, _, layer, inner = name.split(".", 3)
    matrix, kind = inner.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[matrix]}.{kind}"


def write(source: Path, out: Path, kind: str, shape: dict[str, float]) -> None:
    """One file; vectors stay float32."""
    stored = gguf.GGMLQuantizationType[kind.upper()]
    part = out.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "qwen2")
    writer.add_block_count(int(shape["num_hidden_layers"]))
    writer.add_context_length(int(shape["max_position_embeddings"]))
    writer.add_embedding_length(int(shape["hidden_size"]))
    writer.add_feed_forward_length(int(shape["intermediate_size"]))
    writer.add_head_count(int(shape["num_attention_heads"]))
    writer.add_head_count_kv(int(shape["num_key_value_heads"]))
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_rope_freq_base(THETA)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(int(shape["vocab_size"]))])
    writer.add_token_types([1] * int(shape["vocab_size"]))
    writer.add_token_merges(["t 0"])
    for name, wide in tensors(source):
        if wide.ndim == 1:
            writer.add_tensor(renamed(name), wide)
        else:
            writer.add_tensor(renamed(name), gguf.quants.quantize(wide, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(out)


write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
