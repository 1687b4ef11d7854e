"""Words are heard as Whisper hears them; silence, noise and music are not made into words."""

import json
import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from app.errors import NoSpeech
from app.services.audio import SAMPLE_RATE, decode_audio, raised
from app.services.interfaces import Samples16k
from app.services.speech_detector import SpeechDetector
from app.services.transcriber import WhisperTranscriber, is_invented
from app.services.weight_files import WeightsRefused, checked
from app.services.whisper_weights import (
    TINY_EN_SHA256,
    load_tiny_en,
    read_tensors,
    tiny_en_file,
    whisper_state,
)
from benchmarks.bench_voice import word_errors, words
from tests.conftest import shared

SPEECH = Path(__file__).parent / "data" / "speech"
SAID: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())
SECONDS = 4.0


@pytest.fixture(scope="module")
def transcriber() -> WhisperTranscriber:
    return WhisperTranscriber("tiny.en", "cpu")


@pytest.fixture(scope="module")
def whisper_model(transcriber: WhisperTranscriber) -> Any:
    """openai-whisper's model with the packaged weights; the transcriber has read the vocabulary before."""
    return load_tiny_en()


def recording(name: str, folder: Path = SPEECH) -> Samples16k:
    return decode_audio((folder / name).read_bytes(), 60)


def at_level(sound: Any, dbfs: float) -> Samples16k:
    """The sound with a root mean square of so many dB below full scale."""
    rms = np.sqrt(np.mean(np.square(sound)))
    level: Samples16k = np.clip(sound / rms * 10 ** (dbfs / 20), -1, 1).astype(np.float32)
    return level


def with_noise(samples: Samples16k, snr_db: float) -> Samples16k:
    noise = np.random.default_rng(1).standard_normal(len(samples))
    return samples + at_level(noise, 10 * np.log10(np.mean(samples**2)) - snr_db)


def coloured_noise(exponent: float) -> Any:
    """Noise whose power falls with frequency to this power: 0 white, 1 pink, 2 brown."""
    n = int(SECONDS * SAMPLE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(n))
    return np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** (exponent / 2), n)


def tone(hertz: float, overtones: int = 1, seconds: float = SECONDS) -> Any:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, overtones + 1))


def strokes(sounds: list[Any]) -> Any:
    """Sounds one after the other, evenly spread over the clip, each fading."""
    n = int(SECONDS * SAMPLE_RATE)
    clip = np.zeros(2 * n)
    for i, sound in enumerate(sounds):
        start = i * n // len(sounds)
        clip[start : start + len(sound)] += sound * np.exp(-3 * np.arange(len(sound)) / SAMPLE_RATE)
    return clip[:n]


def clicks() -> Any:
    random = np.random.default_rng(3)
    clip = np.zeros(int(SECONDS * SAMPLE_RATE))
    clip[random.integers(0, len(clip), 12)] = 1
    return np.convolve(clip, random.standard_normal(80) * np.exp(-np.arange(80) / 10), "same")


def drums() -> Any:
    t = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    kick = np.sin(2 * np.pi * (50 + 100 * np.exp(-30 * t)) * t) * np.exp(-10 * t)
    snare = 0.6 * np.random.default_rng(4).standard_normal(len(t)) * np.exp(-25 * t)
    return strokes([kick, snare] * 8)


SCALE = (261.6, 329.6, 392.0, 523.3)
NOT_SPEECH = {
    "white noise": coloured_noise(0),
    "pink noise": coloured_noise(1),
    "brown noise": coloured_noise(2),
    "mains hum": tone(50, 6),
    "low tone": tone(110),
    "beep": tone(440),
    "whistle": tone(3000),
    "clicks": clicks(),
    "drums": drums(),
    "chords": strokes([sum(tone(hertz, 8, 1.5) for hertz in SCALE[i % 2 : i % 2 + 3]) for i in range(4)]),
    "arpeggio": strokes([tone(SCALE[i % 4], 8, 0.4) for i in range(16)]),
    "melody": strokes([tone(hertz, 8, 0.6) for hertz in (392, 440, 392, 330, 294, 330, 392, 262)]),
}


@pytest.mark.parametrize("dbfs", [-50, -30, -20, -8])
@pytest.mark.parametrize("kind", NOT_SPEECH)
def test_noise_and_music_are_not_speech(transcriber: WhisperTranscriber, kind: str, dbfs: float) -> None:
    with pytest.raises(NoSpeech, match="No speech heard"):
        transcriber.transcribe(at_level(NOT_SPEECH[kind], dbfs))


@pytest.mark.parametrize("seconds", [0.1, 1, 60])
def test_silence_is_not_speech(transcriber: WhisperTranscriber, seconds: float) -> None:
    with pytest.raises(NoSpeech):
        transcriber.transcribe(np.zeros(int(seconds * SAMPLE_RATE), np.float32))


def test_a_recording_without_words(transcriber: WhisperTranscriber) -> None:
    with pytest.raises(NoSpeech):
        transcriber.transcribe(recording("picovoice_empty.wav", shared("corpora/speech_hostile")))


@pytest.mark.parametrize("kind", ["pink noise", "beep", "chords", "clicks"])
def test_whisper_alone_would_invent_words_and_its_own_signs_say_so(whisper_model: Any, kind: str) -> None:
    """The second line of defence, for what passes the detector."""
    result = whisper_model.transcribe(
        at_level(NOT_SPEECH[kind], -20),
        fp16=False,
        temperature=0.0,
        no_speech_threshold=None,
        sample_len=60,
    )
    assert result["segments"]
    assert all(is_invented(segment) for segment in result["segments"])


@pytest.mark.parametrize("name", SAID)
def test_words_are_heard(transcriber: WhisperTranscriber, name: str) -> None:
    samples = recording(name)
    heard = transcriber.transcribe(samples)
    assert word_errors(words(SAID[name]), words(heard.text)) <= 2
    assert heard.text == heard.text.strip()
    assert heard.language == "en"
    assert heard.no_speech_prob < 0.5
    assert heard.ms > 0


@pytest.mark.parametrize("change", ["quiet", "very quiet", "noisy", "between silences"])
def test_a_short_phrase_is_heard_in_poor_recordings(transcriber: WhisperTranscriber, change: str) -> None:
    clip = recording("cards_001.wav")
    silence = np.zeros(SAMPLE_RATE, np.float32)
    changed = {
        "quiet": clip * np.float32(0.1),
        "very quiet": clip * np.float32(0.03),
        "noisy": with_noise(clip, 20),
        "between silences": np.concatenate([silence, clip, silence]),
    }[change]
    assert words(transcriber.transcribe(changed).text) == words("ten of clubs")


@pytest.mark.stress
def test_word_error_rate_is_not_above_whispers_own(transcriber: WhisperTranscriber, whisper_model: Any) -> None:
    folder = shared("corpora/speech")
    said: dict[str, str] = json.loads((folder / "transcripts.json").read_text())
    ours = theirs = 0
    for name, text in said.items():
        samples = recording(name, folder)
        ours += word_errors(words(text), words(transcriber.transcribe(samples).text))
        theirs += word_errors(words(text), words(whisper_model.transcribe(samples, fp16=False)["text"]))
    assert ours <= theirs
    assert ours <= 0.05 * sum(len(words(text)) for text in said.values())


def test_quiet_and_noisy_recordings_pass_the_detector() -> None:
    folder = shared("corpora/speech")
    detector = SpeechDetector()
    for name in json.loads((folder / "transcripts.json").read_text()):
        clip = recording(name, folder)
        for changed in (clip, clip * np.float32(0.1), clip * np.float32(0.01), with_noise(clip, 20)):
            assert detector.speech_seconds(raised(changed)) > 0.3 * len(clip) / SAMPLE_RATE, name


def test_the_detector_finds_where_the_speech_is() -> None:
    clip = recording("librivox_0880.wav")
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    probabilities = SpeechDetector().probabilities(np.concatenate([silence, clip, silence]))
    spoken = np.flatnonzero(probabilities >= 0.5) * 512 / SAMPLE_RATE
    assert spoken.min() > 1.9
    assert spoken.max() < 2 + len(clip) / SAMPLE_RATE + 0.1


def test_the_detector_beside_torch_and_faiss() -> None:
    """Three libraries with threads of their own: same answers in eight threads, and torch keeps its threads."""
    detector, clip = SpeechDetector(), recording("cards_001.wav")
    expected = detector.probabilities(clip)
    index = faiss.IndexFlatIP(64)
    vectors = np.random.default_rng(5).standard_normal((5000, 64)).astype(np.float32)
    index.add(vectors)
    threads_before, answers = torch.get_num_threads(), []

    def work() -> None:
        for _ in range(4):
            index.search(vectors[:20], 5)
            answers.append(detector.probabilities(clip))
            torch.from_numpy(vectors) @ torch.from_numpy(vectors[:64].T)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 32
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    assert torch.get_num_threads() == threads_before


def test_two_clips_at_once_do_not_mix(transcriber: WhisperTranscriber) -> None:
    expected = {name: transcriber.transcribe(recording(name)).text for name in SAID}
    heard: dict[str, str] = {}
    threads = [
        threading.Thread(
            target=lambda name=name: heard.update({name: transcriber.transcribe(recording(name)).text})
        )
        for name in SAID
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == expected


def test_every_tensor_of_the_file_is_in_the_model(whisper_model: Any) -> None:
    tensors = read_tensors(checked(tiny_en_file(), TINY_EN_SHA256).read_bytes())
    file_weights = sum(array.size for array in tensors.values() if array.ndim)
    key_biases = 8 * 384 + 4 * 384  # zeros in the file for 8 self-attentions and 4 cross-attentions
    state = whisper_model.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == file_weights - key_biases
    query, _, value = np.split(tensors["decoder/layer_2/self_attention/linear_0/weight"].astype(np.float32), 3)
    np.testing.assert_array_equal(state["decoder.blocks.2.attn.query.weight"].numpy(), query)
    np.testing.assert_array_equal(state["decoder.blocks.2.attn.value.weight"].numpy(), value)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray(tiny_en_file().read_bytes())
    data[40_000_000] ^= 1
    changed = tmp_path / "model.bin"
    changed.write_bytes(data)
    with pytest.raises(WeightsRefused, match="SHA-256"):
        load_tiny_en(changed)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused):
        load_tiny_en(tmp_path / "model.bin")


@pytest.mark.parametrize("size", [0, 3, 100, 1_000_000, 60_000_000])
def test_a_cut_file_is_refused(size: int) -> None:
    with pytest.raises(WeightsRefused):
        read_tensors(tiny_en_file().read_bytes()[:size])


@pytest.mark.parametrize("change", ["one left out", "one too many"])
def test_tensors_are_matched_one_to_one(change: str) -> None:
    tensors = read_tensors(tiny_en_file().read_bytes())
    if change == "one left out":
        del tensors["encoder/conv1/bias"]
    else:
        tensors["encoder/conv3/bias"] = np.zeros(384)
    with pytest.raises(WeightsRefused, match="encoder/conv"):
        whisper_state(tensors, 4, 4)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(WeightsRefused, match="enormous"):
        WhisperTranscriber("enormous", "cpu")
