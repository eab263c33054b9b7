"""What a decoder-only language model is, as frozen data. No torch here.

A model is a `Decoder`: sizes, and one `Layer` for each of its layers. A layer is an attention and a feed-forward
network; what a layer can be is a sum of types, so what cannot exist cannot be written. The KV cache, the loader and the
model read the same tuple.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Number = float | str | tuple[float, ...]
Activation = Literal["silu", "gelu", "gelu_tanh", "clamped_swish"]
"""`clamped_swish` is the one of gpt-oss: (up + 1) * gate * sigmoid(1.702 * gate), both clamped at 7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Normalisation with a learned weight: by the root mean square (Zhang and Sennrich 2019), or LayerNorm."""

    eps: float = 1e-6
    kind: Literal["rms", "layer"] = "rms"
    offset: bool = False
    """The checkpoint stores the weight less one."""
    wide: bool = False
    """The weight is multiplied in float32, before rounding to the activations' type; else after it."""
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadNorm:
    """Normalisation of q and of k before the rotation."""

    norm: Norm
    heads: Literal["shared", "each", "together"] = "shared"
    """Each head by itself with one weight for all, or with a weight of its own; or all heads as one vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary positions (Su et al. 2021): the first `dim` dimensions of each head are rotated, the rest pass through."""

    theta: float
    dim: int
    interleaved: bool = False
    """Pairs are neighbours (2i, 2i + 1); else they are halves (i, i + dim / 2)."""
    scaling: tuple[tuple[str, Number], ...] = ()
    """The checkpoint's own scaling table as sorted pairs; its `rope_type` says which formula. Empty: no scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryGrowth:
    """Queries grow with their position: times 1 + beta * log(1 + floor(position / length)) (Ministral 3, Llama 4)."""

    beta: float
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Grouped-query attention (Ainslie et al. 2023): `heads` queries share `kv_heads` keys and values."""

    heads: int
    kv_heads: int
    head_dim: int
    rope: Rope | None
    """None: the layer does not know positions."""
    scale: float
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: HeadNorm | None = None
    window: int | None = None
    """A token sees itself and the `window - 1` tokens before it; None: all before it."""
    softcap: float | None = None
    """Scores s become softcap * tanh(s / softcap) (Gemma 2)."""
    sinks: bool = False
    """Each head has a learned score that takes its share of the softmax and gives nothing (Xiao et al. 2023)."""
    gate: bool = False
    """What the heads give is multiplied by sigmoid(gate(x)); the gate's rows lie beside the query's."""
    query_growth: QueryGrowth | None = None

    @property
    def key_dim(self) -> int:
        """Numbers of one key."""
        return self.head_dim

    @property
    def value_dim(self) -> int:
        """Numbers of one value."""
        return self.head_dim

    def kv_numbers_per_token(self) -> int:
        """How many numbers one token keeps in the KV cache of this layer."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, 2024): one latent and one rotated key part per token for all heads.

    It attends as if it had one KV head with keys of `kv_rank + rope.dim` numbers, whose first `kv_rank` are the value.
    """

    heads: int
    q_rank: int | None
    """The queries' own latent, or None if they come straight from the hidden state."""
    kv_rank: int
    nope_dim: int
    """Numbers of each head's query and key that are not rotated."""
    value_head_dim: int
    rope: Rope
    scale: float
    norm: Norm
    """Of the latents."""
    bias: bool = False
    window: ClassVar[None] = None
    softcap: ClassVar[None] = None
    sinks: ClassVar[bool] = False

    @property
    def kv_heads(self) -> int:
        """The latent is one head for all."""
        return 1

    @property
    def key_dim(self) -> int:
        """Numbers of one key: the latent and the rotated part."""
        return self.kv_rank + self.rope.dim

    @property
    def value_dim(self) -> int:
        """Numbers of one value: the latent, which is the key's beginning and is not stored twice."""
        return self.kv_rank

    def kv_numbers_per_token(self) -> int:
        """How many numbers one token keeps in the KV cache of this layer."""
        return self.key_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaNet:
    """Gated delta-net (Yang et al. 2024): linear attention whose memory is a matrix per head, not a cache of tokens."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int
    """Tokens that the convolution over q, k and v sees, the last one included."""
    norm: Norm
    """Of what each value head gives, before it is gated."""

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: those of q, k and v."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    def state_numbers(self) -> int:
        """How many numbers one sequence keeps in this layer, however long it is."""
        return self.value_heads * self.key_dim * self.value_dim + self.conv_dim * (self.kernel - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A feed-forward network, gated (Shazeer 2020) as down(act(gate(x)) * up(x)), or plain as down(act(up(x)))."""

    width: int
    act: Activation = "silu"
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Chooses `top_k` of `experts` for each token and says with which weight each counts."""

    experts: int
    top_k: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    renormalize: bool = False
    """The chosen experts' weights are divided by their sum."""
    groups: int = 1
    """The experts stand in so many groups, and only those of the best `top_groups` can be chosen."""
    top_groups: int = 1
    group_score: Literal["best", "best_two"] = "best"
    """A group is as good as its best expert, or as the sum of its best two."""
    correction: bool = False
    """A learned bias per expert is added to the scores for choosing, and only for choosing."""
    bias: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """A mixture of experts (Shazeer et al. 2017), each a gated network; a shared one beside them sees every token."""

    router: Router
    width: int
    act: Activation = "silu"
    bias: bool = False
    shared: Dense | None = None
    shared_gate: bool = False
    """What the shared network gives is multiplied by sigmoid(gate(x)), one number per token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer; how its two parts are joined to the residual stream is drawn in `model.decoder.Block`."""

    attention: Attention | LatentAttention | DeltaNet
    feed_forward: Dense | Sparse
    residual: Literal["pre", "post", "sandwich", "parallel"] = "pre"
    residual_scale: float = 1.0
    """Each part is multiplied by it before it is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a checkpoint calls its tensors, where that differs from the names that the modules ask for."""

    roots: tuple[tuple[str, str], ...] = (("model", "lm_head"),)
    """Where the layers and the head may be; the first pair whose embedding is there counts."""
    renames: tuple[tuple[str, str], ...] = ()
    """A part of a name, between dots, and what it is called instead."""
    fused: tuple[tuple[tuple[str, ...], str], ...] = ()
    """Matrices that the checkpoint stores as one, in this order, and what that one is called."""
    listed: tuple[tuple[str, str], ...] = ()
    """The end of a name, and the end of those of its rows, which are tensors of their own: `*` stands for the row."""
    experts: Literal["each", "interleaved"] = "each"
    """Experts are tensors of their own; or one stack, transposed, the rows of gate and up taking turns (gpt-oss)."""
    ignored: tuple[str, ...] = ()
    """Beginnings of names that are no part of the language model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The layers that keep the same tokens of a sequence: all, or those of a window. They share one block table."""

    window: int | None
    layers: tuple[int, ...]
    numbers_per_token: int
    """Numbers that one token keeps in all of these layers together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A whole model."""

    vocab: int
    dim: int
    norm: Norm
    layers: tuple[Layer, ...]
    max_position: int
    """The longest sequence that the model was made for, in tokens."""
    tied: bool = False
    """Whether the head is the embedding's matrix."""
    head_bias: bool = False
    embed_scale: float = 1.0
    """The embeddings are multiplied by it, rounded to their type."""
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    names: Names = Names()

    def groups(self) -> tuple[Group, ...]:
        """The layers that keep keys, by how far back they reach, in the order of their first layers."""
        keeping = [(index, a) for index, a in enumerate(self.attentions()) if not isinstance(a, DeltaNet)]
        windows = dict.fromkeys(a.window for _, a in keeping)
        return tuple(
            Group(
                window=window,
                layers=tuple(index for index, a in keeping if a.window == window),
                numbers_per_token=sum(a.kv_numbers_per_token() for _, a in keeping if a.window == window),
            )
            for window in windows
        )

    def attentions(self) -> tuple[Attention | LatentAttention | DeltaNet, ...]:
        """The attention of each layer."""
        return tuple(layer.attention for layer in self.layers)

    def kv_numbers_per_token(self) -> int:
        """How many numbers one token keeps in the KV cache while every layer can reach it."""
        return sum(group.numbers_per_token for group in self.groups())

    def state_numbers(self) -> int:
        """How many numbers one sequence keeps beside the KV cache, however long it is."""
        return sum(a.state_numbers() for a in self.attentions() if isinstance(a, DeltaNet))


def as_pairs(table: Mapping[str, Any] | None) -> tuple[tuple[str, Number], ...]:
    """A table of a checkpoint's config as hashable, sorted pairs, without its empty entries."""
    return tuple(sorted((key, value) for key, value in (table or {}).items() if value is not None))
