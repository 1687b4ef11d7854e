"""openai-whisper on the CPU, without working through the silence that fills its 30 seconds.

Whisper was trained on windows of 30 s and fails on shorter ones. A voice query lasts three, so nine tenths of the
encoder's work go into silence. There the convolutions give the same vector again and again, and what position adds
to it changes slowly: one position out of TAIL_STRIDE stands for its neighbours, and attention counts it as often,
by log(count) added to its score ("proportional attention" of Bolya et al. 2023, Token Merging, section 3). Where
words may be, every position is kept. A text that repeats itself is not trusted: the window is heard again whole.

The decoder works token by token, so it takes the time of reading its weights. OpenAI's are 16 bits wide, and stay
so where torch can multiply by them as they are: half the bytes, the same numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask, Inference
from whisper.tokenizer import get_tokenizer
from whisper.transcribe import transcribe

from app.services.interfaces import Samples16k

FRAMES_PER_POSITION = 2  # the second convolution's stride; a position lasts 20 ms
MARGIN_POSITIONS = 25  # kept as they are after the last sound; two of them hear it through the convolutions

# Measured 2026-11 over 158 clips, 1925 words (recordings; the same with noise, faster, slower, in pairs; synthetic
# captions): openai-whisper has 9.1 % of the words wrong, with one position out of 4 kept it is 8.8 %. One out of 8
# made a clip repeat itself for 80 words, one out of 16 added a sentence to another.
TAIL_STRIDE = 4


@dataclass(frozen=True)
class Heard:
    """Encoder output (1, n, state) for n positions, and log(positions each stands for), (1, 1, 1, n)."""

    features: Tensor
    log_counts: Tensor


class CompactWhisper:
    """A whisper.model.Whisper, changed in place, with its two ways in: `transcribe` and `decode`.

    On the CPU, in float32, one call at a time; one text at a time, so no beams.
    """

    def __init__(self, model: Any, repetitive: float) -> None:
        """`repetitive` is the gzip compression ratio from which on a text is taken for a repetition."""
        self.whisper = model
        self._repetitive = repetitive
        self.dims, self.device = model.dims, model.device
        self.is_multilingual: bool = model.is_multilingual
        self.num_languages: int = model.num_languages
        self.output = half_width(_output_layer(model))
        for block in model.decoder.blocks:
            _make_half_width(block)

    def transcribe(self, samples: Samples16k, **options: Any) -> dict[str, Any]:
        """openai-whisper's own walk over a recording's windows, which calls the methods below."""
        result: dict[str, Any] = transcribe(self, samples, **options)
        return result

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        """The words in one window, (n_mels, 3000), of a language that `options` name."""
        result = self._decode(mel, options, TAIL_STRIDE)
        return result if result.compression_ratio <= self._repetitive else self._decode(mel, options, 1)

    def _decode(self, mel: Tensor, options: DecodingOptions, stride: int) -> DecodingResult:
        results: list[DecodingResult] = _CompactTask(self, options, stride).run(mel[None])
        return results[0]

    @torch.no_grad()
    def detect_language(self, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The most probable language's token, and the probability of each language by its code."""
        tokenizer = get_tokenizer(True, num_languages=self.num_languages)
        tokens = torch.tensor(tokenizer.all_language_tokens)
        logits = _Steps(self, self.listen(mel, TAIL_STRIDE)).logits(torch.tensor([[tokenizer.sot]]))[0, 0, tokens]
        probabilities = dict(zip(tokenizer.all_language_codes, logits.softmax(dim=-1).tolist(), strict=True))
        return tokens[logits.argmax()], probabilities

    def listen(self, mel: Tensor, stride: int) -> Heard:
        """The encoder over one window, (n_mels, 3000), with one out of `stride` silent positions at its end.

        Silent are equal columns, which is how openai-whisper fills the window up.
        """
        encoder, total = self.whisper.encoder, self.dims.n_audio_ctx
        end = min(math.ceil(_sounding_frames(mel) / FRAMES_PER_POSITION) + MARGIN_POSITIONS, total - 2)
        kept, counts = kept_positions(end, total, stride)
        # Cut to one silent position and the window's last, which alone hears the padding behind it.
        x = F.gelu(encoder.conv1(mel[None, :, : FRAMES_PER_POSITION * (end + 2)]))
        x = F.gelu(encoder.conv2(x)).transpose(1, 2)
        rows = torch.from_numpy(np.where(kept == total - 1, end + 1, np.minimum(kept, end)))
        x = x[:, rows] + encoder.positional_embedding[torch.from_numpy(kept)]
        log_counts = torch.from_numpy(np.log(counts).astype(np.float32)).view(1, 1, 1, -1)
        for block in encoder.blocks:
            x = x + _attention(block.attn, block.attn_ln(x), log_counts)
            x = x + block.mlp(block.mlp_ln(x))
        return Heard(encoder.ln_post(x), log_counts)


def kept_positions(end: int, total: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `total` positions to compute, and how many each stands for; the counts sum to `total`.

    All before `end`, the last one, and between them the middle of each run of at most `stride`.
    """
    groups = math.ceil((total - 1 - end) / stride)
    edges = np.linspace(end, total - 1, groups + 1).round().astype(np.int64)
    middles = (edges[:-1] + edges[1:]) // 2
    kept = np.concatenate([np.arange(end), middles, [total - 1]])
    counts = np.concatenate([np.ones(end, np.int64), np.diff(edges), [1]])
    return kept, counts


def half_width(linear: nn.Linear) -> nn.Module:
    """The same layer with weights of 16 bits, or `linear` where that would change them or torch cannot."""
    weight = linear.weight.detach()
    possible = torch.backends.quantized.engine in {"fbgemm", "x86"}
    return _HalfWidthLinear(linear) if possible and torch.equal(weight.half().float(), weight) else linear


class _HalfWidthLinear(nn.Module):
    """FBGEMM's: weights float16 in memory, widened in the registers; inputs, sums and outputs float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach()
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach(), bias)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return product


def _make_half_width(module: nn.Module) -> None:
    """Every linear layer in a module, put in its place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, half_width(child))
        else:
            _make_half_width(child)


def _output_layer(model: Any) -> nn.Linear:
    """From the decoder's state to logits: Whisper uses the token embedding for it."""
    embedding = model.decoder.token_embedding.weight
    layer = nn.Linear(embedding.shape[1], embedding.shape[0], bias=False, device="meta")
    layer.weight = embedding
    return layer


def _sounding_frames(mel: Tensor) -> int:
    """Frames of a window (n_mels, frames) before the equal ones at its end."""
    differing = (mel != mel[:, -1:]).any(dim=0).nonzero()
    return int(differing[-1]) + 1 if len(differing) else 0


def _heads(attention: Any, x: Tensor) -> Tensor:
    """(1, n, state) → (1, heads, n, state / heads)."""
    return x.view(1, x.shape[1], attention.n_head, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _attention(attention: Any, x: Tensor, log_counts: Tensor) -> Tensor:
    """Whisper's self-attention of (1, n, state), each position counted as often as it stands for positions."""
    query, key, value = (
        _heads(attention, layer(x)) for layer in (attention.query, attention.key, attention.value)
    )
    return _out(attention, query, key, value, log_counts)


def _out(attention: Any, query: Tensor, key: Tensor, value: Tensor, log_counts: Tensor) -> Tensor:
    mask = log_counts.expand(1, 1, query.shape[2], -1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    out: Tensor = attention.out(_joined(mixed))
    return out


class _CompactTask(DecodingTask):  # type: ignore[misc]
    """openai-whisper's rules for choosing tokens, over the encoder and decoder of this module."""

    def __init__(self, compact: CompactWhisper, options: DecodingOptions, stride: int) -> None:
        super().__init__(compact.whisper, options)
        self._compact, self._stride = compact, stride

    def _get_audio_features(self, mel: Tensor) -> Tensor:
        heard = self._compact.listen(mel[0], self._stride)
        self.inference = _Steps(self._compact, heard)
        return heard.features


class _Steps(Inference):  # type: ignore[misc]
    """The decoder on one window; it keeps the keys and values of the tokens it has seen."""

    def __init__(self, compact: CompactWhisper, heard: Heard) -> None:
        self._decoder, self._output = compact.whisper.decoder, compact.output
        self._log_counts = heard.log_counts
        self._of_sound = [
            self._keys_and_values(block.cross_attn, heard.features) for block in self._decoder.blocks
        ]
        dims = compact.dims
        shape = (2, 1, dims.n_text_head, dims.n_text_ctx, dims.n_text_state // dims.n_text_head)
        self._of_text = [torch.empty(shape) for _ in self._decoder.blocks]
        self._seen = 0

    def logits(self, tokens: Tensor, audio_features: Tensor | None = None) -> Tensor:
        """(1, new, vocabulary) for the tokens, (1, n), that are new since the last call."""
        start, end = self._seen, tokens.shape[1]
        self._seen = end
        positions = self._decoder.positional_embedding[start:end]
        x = self._decoder.token_embedding(tokens[:, start:]) + positions
        for block, of_sound, of_text in zip(self._decoder.blocks, self._of_sound, self._of_text, strict=True):
            x = x + self._look_back(block.attn, block.attn_ln(x), of_text[:, :, :, :end])
            attention = block.cross_attn
            query = _heads(attention, attention.query(block.cross_attn_ln(x)))
            x = x + _out(attention, query, *of_sound, self._log_counts)
            x = x + block.mlp(block.mlp_ln(x))
        logits: Tensor = self._output(self._decoder.ln(x))
        return logits

    def _look_back(self, attention: Any, x: Tensor, kept: Tensor) -> Tensor:
        """Causal self-attention of the new tokens, whose keys and values go to the end of `kept`."""
        new = x.shape[1]
        kept[:, :, :, -new:] = torch.stack(self._keys_and_values(attention, x))
        keys, values = kept
        query = _heads(attention, attention.query(x))
        # The first call brings several tokens, with nothing before them; later ones bring one, which sees all.
        mixed = F.scaled_dot_product_attention(query, keys, values, is_causal=new > 1)
        out: Tensor = attention.out(_joined(mixed))
        return out

    @staticmethod
    def _keys_and_values(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return _heads(attention, attention.key(x)), _heads(attention, attention.value(x))
