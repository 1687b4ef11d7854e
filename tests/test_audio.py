"""Sound files of every kind become the same samples; everything else is refused, quickly and in plain words."""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.errors import AppError, BrokenMedia, TooLarge, UnsupportedMedia
from app.services.audio import SAMPLE_RATE, decode_audio
from app.services.interfaces import Samples16k
from tests.conftest import shared

SPEECH = Path(__file__).parent / "data" / "speech"
CLIP = SPEECH / "librivox_0930.wav"
MAX_S = 60.0
BLOCK = 1024

LOSSLESS = [("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("wav", "pcm_s24le"), ("flac", "flac"), ("mp4", "alac")]
LOSSY = [("webm", "libopus"), ("ogg", "libopus"), ("mp3", "libmp3lame"), ("mp4", "aac"), ("adts", "aac")]


def encoded(samples: Samples16k, container: str, codec: str, layout: str = "mono") -> bytes:
    """A sound file of 16 kHz samples; for stereo both channels are the same."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=48_000 if codec == "libopus" else SAMPLE_RATE, layout=layout)
        stream.codec_context.bit_rate = 96_000
        whole = np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)
        for start in range(0, len(whole), BLOCK):
            block = np.repeat(whole[start : start + BLOCK], 2 if layout == "stereo" else 1)
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout=layout)
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def wav(samples: int, rate: int = SAMPLE_RATE, channels: int = 1) -> bytes:
    """A WAV file whose header says what it is told to."""
    body = bytes(samples * channels * 2)
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def level_db(samples: Samples16k) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def likeness(a: Samples16k, b: Samples16k) -> float:
    """Highest correlation of two clips over all delays; encoders add up to 0.1 s."""
    n = len(a) + len(b)
    products = np.fft.irfft(np.fft.rfft(a, n) * np.conj(np.fft.rfft(b, n)), n)
    return float(products.max() / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.fixture(scope="module")
def clip() -> Samples16k:
    return decode_audio(CLIP.read_bytes(), MAX_S)


def test_a_wav_file_is_its_own_samples(clip: Samples16k) -> None:
    raw = np.frombuffer(CLIP.read_bytes()[44:], "<i2")
    assert clip.dtype == np.float32
    np.testing.assert_array_equal(clip, raw / np.float32(32768))


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(("container", "codec"), LOSSLESS)
def test_lossless_files_give_the_same_samples(clip: Samples16k, container: str, codec: str, layout: str) -> None:
    heard = decode_audio(encoded(clip, container, codec, layout), MAX_S)
    np.testing.assert_allclose(heard[: len(clip)], clip, atol=1.5 / 32768)
    assert not heard[len(clip) :].any()


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(("container", "codec"), LOSSY)
def test_lossy_files_sound_the_same_and_as_loud(clip: Samples16k, container: str, codec: str, layout: str) -> None:
    heard = decode_audio(encoded(clip, container, codec, layout), MAX_S)
    assert len(heard) == pytest.approx(len(clip), abs=0.15 * SAMPLE_RATE)
    assert level_db(heard) == pytest.approx(level_db(clip), abs=0.5)  # LAME takes 0.45 dB off by itself
    assert likeness(clip, heard) > 0.95


def test_other_sample_rates_keep_pitch_and_length() -> None:
    rate = 44_100
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 32767).astype("<i2")
    file = bytearray(wav(rate, rate))
    file[44:] = tone.tobytes()
    heard = decode_audio(bytes(file), MAX_S)
    assert len(heard) == pytest.approx(SAMPLE_RATE, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(heard[:SAMPLE_RATE]))) == pytest.approx(440, abs=1)


def test_tags_that_are_not_utf8_do_no_harm() -> None:
    tags = b"INFOINAM" + struct.pack("<I", 6) + b"\xff\xfe\xe9\xe9a\0"
    assert (
        len(decode_audio(wav(SAMPLE_RATE) + b"LIST" + struct.pack("<I", len(tags)) + tags, MAX_S)) == SAMPLE_RATE
    )


def test_longest_accepted_length() -> None:
    assert len(decode_audio(wav(2 * SAMPLE_RATE), 2)) == 2 * SAMPLE_RATE
    with pytest.raises(TooLarge, match="longer than 2 seconds"):
        decode_audio(wav(2 * SAMPLE_RATE + BLOCK), 2)


TWO_HOURS = """
import io, resource, sys, time
from app.errors import TooLarge
from app.services.audio import decode_audio
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
try:
    decode_audio(data, 60)
except TooLarge:
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_hours_of_silence_cost_no_time_and_no_memory() -> None:
    ten_seconds = encoded(np.zeros(10 * SAMPLE_RATE, np.float32), "adts", "aac")
    silence = ten_seconds * 720
    assert len(silence) < 2**22
    done = subprocess.run([sys.executable, "-c", TWO_HOURS], input=silence, capture_output=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split())
    assert seconds < 5
    assert kilobytes < 50_000


@pytest.mark.parametrize("rate", [1, 100, 3_999, 1_000_000, 2**31 - 1, 2**32 - 1])
def test_sample_rates_that_cannot_be_right(rate: int) -> None:
    with pytest.raises(BrokenMedia):
        decode_audio(wav(8000, rate), MAX_S)


@pytest.mark.parametrize("channels", [0, 9, 64, 255, 65_535])
def test_numbers_of_channels_that_cannot_be_right(channels: int) -> None:
    with pytest.raises(BrokenMedia):
        decode_audio(wav(100, channels=channels), MAX_S)


def test_a_file_without_sound_is_broken() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(BrokenMedia, match="no sound"):
        decode_audio(buffer.getvalue(), MAX_S)


@pytest.mark.parametrize(
    "data",
    [b"", wav(0), wav(800), wav(1)[:30], b"OggS" + bytes(100), b"fLaC", b"ID3", b"\x1a\x45\xdf\xa3" + bytes(50)],
    ids=["empty", "header only", "50 ms", "half a header", "ogg", "flac", "id3", "ebml"],
)
def test_damaged_or_empty_files(data: bytes) -> None:
    with pytest.raises(BrokenMedia):
        decode_audio(data, MAX_S)


def playlists(target: Path) -> list[bytes]:
    """Files that ask a player to open another file."""
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{target}\n#EXT-X-ENDLIST\n"
    dash = f"<MPD><Period><AdaptationSet><BaseURL>file://{target}</BaseURL></AdaptationSet></Period></MPD>"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 5004 RTP/AVP 0\n"
    return [hls.encode(), f"ffconcat version 1.0\nfile {target}\n".encode(), dash.encode(), sdp.encode()]


@pytest.mark.parametrize("kind", range(4))
def test_playlists_are_refused(kind: int) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        decode_audio(playlists(CLIP)[kind], MAX_S)
    assert "librivox" not in caught.value.detail


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no</body></html>" * 100,
        b"words " * 1000,
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"\xff\xfeh\0i\0",
    ],
    ids=["html", "text", "png", "utf-16"],
)
def test_what_is_no_sound_file(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="WebM, Ogg"):
        decode_audio(data, MAX_S)


def test_the_start_of_a_cut_file_is_heard(clip: Samples16k) -> None:
    whole = encoded(clip, "webm", "libopus")
    heard = decode_audio(whole[: len(whole) // 2], MAX_S)
    assert 0.3 * len(clip) < len(heard) < 0.7 * len(clip)
    assert likeness(clip[: len(heard)], heard) > 0.95


@pytest.mark.parametrize(("container", "codec"), [*LOSSLESS, *LOSSY])
def test_any_damage_gives_samples_or_a_clean_refusal(clip: Samples16k, container: str, codec: str) -> None:
    whole = encoded(clip[:SAMPLE_RATE], container, codec)
    random = np.random.default_rng(7)
    for _ in range(30):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, len(damaged), 20)] = random.integers(0, 256, 20)
        cut = damaged[: random.integers(1, len(damaged) + 1)].tobytes()
        try:
            heard = decode_audio(cut, MAX_S)
        except (BrokenMedia, UnsupportedMedia, TooLarge):
            continue
        assert np.isfinite(heard).all()
        assert np.abs(heard).max() <= 1


def test_random_bytes_are_refused() -> None:
    random = np.random.default_rng(8)
    for size in (1, 2, 100, 10_000, 1_000_000):
        with pytest.raises((BrokenMedia, UnsupportedMedia)):
            decode_audio(random.bytes(size), MAX_S)


def test_hostile_recordings() -> None:
    folder = shared("corpora/speech_hostile")
    for name in ("awful.wav", "bad.wav", "evil.wav", "null.wav"):
        with pytest.raises(BrokenMedia):
            decode_audio((folder / name).read_bytes(), MAX_S)


def test_images_are_no_sound() -> None:
    files = sorted(shared("corpora/images/hostile_pillow").iterdir())[:200]
    assert files
    for file in files:
        with pytest.raises(AppError) as caught:
            decode_audio(file.read_bytes(), MAX_S)
        assert 400 <= caught.value.status < 500
