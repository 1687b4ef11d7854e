"""The compact encoder and decoder give what openai-whisper's give, exactly where nothing is left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from whisper.audio import log_mel_spectrogram, pad_or_trim
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions, Whisper

from app.services import compact_whisper
from app.services.audio import SAMPLE_RATE, decode_audio
from app.services.compact_whisper import TAIL_STRIDE, CompactWhisper, half_width, kept_positions
from app.services.transcriber import REPETITIVE, WhisperTranscriber, read_vocabulary
from app.services.whisper_weights import load_tiny_en
from benchmarks.bench_voice import word_errors, words
from tests.conftest import shared

CLIP = Path(__file__).parent / "data" / "speech" / "librivox_0880.wav"
SOT = 50257
MULTILINGUAL = ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 2)


@pytest.fixture(scope="module")
def whisper_model() -> Any:
    model = load_tiny_en()
    read_vocabulary(model)
    return model


@pytest.fixture(scope="module")
def compact() -> CompactWhisper:
    return CompactWhisper(load_tiny_en(), REPETITIVE)


@pytest.fixture(scope="module")
def window() -> Tensor:
    """Three seconds of speech in a window of thirty, as openai-whisper fills it up."""
    mel: Tensor = pad_or_trim(log_mel_spectrogram(decode_audio(CLIP.read_bytes(), 60)), 3000)
    return mel


@pytest.fixture(scope="module")
def multilingual() -> Whisper:
    """Small, and with weights that 16 bits would change."""
    torch.manual_seed(1)
    model = Whisper(MULTILINGUAL).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    read_vocabulary(model)
    return model


@pytest.mark.parametrize("stride", [1, 4, 7])
@pytest.mark.parametrize("end", [0, 25, 175, 1490, 1491, 1498])
def test_kept_positions_stand_for_all(end: int, stride: int) -> None:
    kept, counts = kept_positions(end, 1500, stride)
    assert counts.sum() == 1500
    assert 1 <= counts.min() <= counts.max() <= stride
    assert kept[-1] == 1499
    np.testing.assert_array_equal(kept[:end], np.arange(end))
    # Each stands for a run of positions that it lies in, and the runs follow one another.
    ends = counts.cumsum()
    assert (kept < ends).all()
    assert (kept >= ends - counts).all()


def test_a_window_full_of_sound_is_encoded_as_whisper_does(compact: CompactWhisper, whisper_model: Any) -> None:
    mel = torch.randn(80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        heard, whole = compact.listen(mel, TAIL_STRIDE), whisper_model.encoder(mel[None])
    torch.testing.assert_close(heard.features, whole, atol=2e-4, rtol=0)


def test_silence_counted_one_by_one_is_encoded_as_whisper_does(
    compact: CompactWhisper, whisper_model: Any, window: Tensor
) -> None:
    """The convolutions over the cut window, and their repeated silent row, lose nothing."""
    with torch.no_grad():
        heard, whole = compact.listen(window, 1), whisper_model.encoder(window[None])
    torch.testing.assert_close(heard.features, whole, atol=2e-4, rtol=0)


def test_speech_is_encoded_almost_the_same_with_few_positions(
    compact: CompactWhisper, whisper_model: Any, window: Tensor
) -> None:
    with torch.no_grad():
        heard, whole = compact.listen(window, TAIL_STRIDE), whisper_model.encoder(window[None])
    assert heard.features.shape[1] < 0.35 * whole.shape[1]
    torch.testing.assert_close(heard.log_counts.exp().sum(), torch.tensor(1500.0))
    speech = 140  # positions of 20 ms, of 2.99 s
    similarity = torch.cosine_similarity(heard.features[0, :speech], whole[0, :speech], dim=-1)
    assert similarity.mean() > 0.98
    assert similarity.median() > 0.99


def test_tokens_are_chosen_from_whispers_logits(compact: CompactWhisper, whisper_model: Any) -> None:
    """A window full of sound, one token at a time after a first call with two."""
    mel = torch.randn(80, 3000, generator=torch.Generator().manual_seed(2))
    tokens = torch.tensor([[SOT, 50363, 1675, 770, 11, 383]])
    with torch.no_grad():
        expected = whisper_model.decoder(tokens, whisper_model.encoder(mel[None]))
        steps = compact_whisper._Steps(compact, compact.listen(mel, TAIL_STRIDE))
        logits = [steps.logits(tokens[:, :n]) for n in range(2, tokens.shape[1] + 1)]
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, atol=2e-3, rtol=0)


def test_what_repeats_itself_is_heard_again_whole(
    compact: CompactWhisper, whisper_model: Any, window: Tensor
) -> None:
    options = DecodingOptions(language="en", fp16=False)
    expected = whisper_model.decode(window, options).avg_logprob
    suspicious = CompactWhisper(load_tiny_en(), repetitive=0)
    assert suspicious.decode(window, options).avg_logprob == pytest.approx(expected, abs=1e-4)
    assert compact.decode(window, options).avg_logprob != pytest.approx(expected, abs=1e-4)


def test_several_languages(multilingual: Whisper) -> None:
    """Three tokens to begin with, and weights that stay 32 bits wide: the same language and the same tokens."""
    mel = torch.randn(80, 3000, generator=torch.Generator().manual_seed(3))
    options = DecodingOptions(language="de", fp16=False, sample_len=12)
    token, probabilities = multilingual.detect_language(mel)
    expected = multilingual.decode(mel, options)
    compact = CompactWhisper(multilingual, REPETITIVE)
    own_token, own_probabilities = compact.detect_language(mel)
    assert own_token == token
    assert own_probabilities == pytest.approx(probabilities, rel=1e-3)
    decoded = compact.decode(mel, options)
    assert decoded.tokens == expected.tokens
    assert decoded.avg_logprob == pytest.approx(expected.avg_logprob, rel=1e-3)
    assert decoded.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-3)


def test_weights_that_16_bits_would_change_stay() -> None:
    linear = nn.Linear(8, 8)
    with torch.no_grad():
        linear.weight.fill_(1 / 3)
    assert half_width(linear) is linear


@pytest.mark.skipif(torch.backends.quantized.engine not in {"x86", "fbgemm"}, reason="FBGEMM is for x86")
@pytest.mark.parametrize("bias", [True, False])
def test_half_width_changes_no_number(bias: bool) -> None:
    torch.manual_seed(4)
    linear = nn.Linear(384, 1536, bias=bias)
    linear.weight.data = linear.weight.data.half().float()
    narrow, x = half_width(linear), torch.randn(1, 3, 384)
    assert narrow is not linear
    with torch.no_grad():
        torch.testing.assert_close(narrow(x), linear(x), atol=1e-5, rtol=0)


def test_a_recording_of_several_windows(whisper_model: Any) -> None:
    folder = shared("corpora/speech")
    said: dict[str, str] = json.loads((folder / "transcripts.json").read_text())
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    clips = [part for name in said for part in (decode_audio((folder / name).read_bytes(), 60), pause)]
    samples = np.concatenate(clips)
    assert len(samples) > 33 * SAMPLE_RATE
    expected = words(" ".join(said.values()))
    ours = word_errors(expected, words(WhisperTranscriber("tiny.en", "cpu").transcribe(samples).text))
    theirs = word_errors(expected, words(whisper_model.transcribe(samples, fp16=False)["text"]))
    assert ours <= theirs
    assert ours <= 0.1 * len(expected)
