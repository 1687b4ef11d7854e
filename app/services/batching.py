"""Requests that wait together are encoded together: one worker thread, a bounded queue, batches as they come.

A lone request is encoded at once; while the worker is busy, those that arrive form the next batch
(continuous batching, so there is no waiting time to tune).
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from cachetools import LRUCache
from PIL import Image

from app.errors import EncoderFailed, Overloaded
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import ImageTextEncoder, Samples16k, TextVectors, Transcriber, Transcript, Vectors

logger = logging.getLogger(__name__)

Input = TypeVar("Input")
Output = TypeVar("Output")


class MicroBatcher(Generic[Input, Output]):
    """Runs `work` on batches of at most max_batch inputs, in one thread.

    An input whose batch fails is tried again alone, so one bad input fails alone. A full queue refuses at once.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Input]], Sequence[Output]],
        *,
        max_batch: int,
        max_queue: int,
        timeout_s: float,
        batch_seen: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.name = name
        self._batch_seen = batch_seen
        self._work = work
        self._max_batch = max_batch
        self._timeout_s = timeout_s
        self._queue: queue.Queue[tuple[Input, Future[Output]] | None] = queue.Queue(max_queue)
        self._closed = False
        self._start_lock = threading.Lock()
        self._thread = self._start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def depth(self) -> int:
        """Inputs that wait."""
        return self._queue.qsize()

    def submit(self, item: Input) -> "Future[Output]":
        """Raises: Overloaded when the queue is full."""
        if self._closed:
            raise Overloaded(f"{self.name} is being switched off.")
        self._restart_if_dead()
        future: Future[Output] = Future()
        try:
            self._queue.put_nowait((item, future))
        except queue.Full:
            raise Overloaded(f"Too much is waiting for {self.name}; try again in a second.") from None
        return future

    def run(self, items: Sequence[Input]) -> list[Output]:
        """One output for each input, in order. Raises: Overloaded (full, or too slow), or what `work` raised."""
        futures: list[Future[Output]] = []
        try:
            futures.extend(self.submit(item) for item in items)
            return [future.result(self._timeout_s) for future in futures]
        except FutureTimeout:
            raise Overloaded(f"{self.name} took longer than {self._timeout_s:g} s; try again later.") from None
        finally:
            for future in futures:
                future.cancel()  # what still waits need not be worked on any more

    def close(self) -> None:
        """What is already in the queue is still worked on."""
        self._closed = True
        with suppress(queue.Full):  # it stays full only if the worker is dead, or slower than anybody waits
            self._queue.put(None, timeout=self._timeout_s if self.alive else 0.001)
        self._thread.join(self._timeout_s)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._serve, name=f"batch-{self.name}", daemon=True)
        thread.start()
        return thread

    def _restart_if_dead(self) -> None:
        with self._start_lock:
            if not self._thread.is_alive() and not self._closed:
                logger.error("The worker for %s had died; it is started again.", self.name)
                self._thread = self._start()

    def _serve(self) -> None:
        last = False
        while not last:
            batch, last = self._next_batch()
            self._answer(batch)

    def _next_batch(self) -> tuple[list[tuple[Input, "Future[Output]"]], bool]:
        """What waits, at least one input and at most max_batch; and whether it is the last, because of close."""
        batch: list[tuple[Input, Future[Output]]] = []
        following = self._queue.get()
        while following is not None:
            batch.append(following)
            if len(batch) == self._max_batch:
                return batch, False
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _answer(self, batch: list[tuple[Input, "Future[Output]"]]) -> None:
        wanted = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
        if not wanted:
            return
        self._batch_seen(len(wanted))
        try:
            outputs = self._work([item for item, _ in wanted])
            answers = list(zip(wanted, outputs, strict=True))
        except Overloaded as error:  # no input's fault, so none is tried alone
            for _, future in wanted:
                future.set_exception(error)
            return
        except Exception as error:
            self._answer_failed(wanted, error)
            return
        except BaseException:  # the thread dies of it; those who wait must not wait for nothing
            for _, future in wanted:
                future.set_exception(EncoderFailed(f"{self.name} stopped at this input or one beside it."))
            raise
        for (_, future), output in answers:
            future.set_result(output)

    def _answer_failed(self, batch: list[tuple[Input, "Future[Output]"]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        for item, future in batch:
            try:
                future.set_result(self._work([item])[0])
            except Exception as alone:
                future.set_exception(alone)


class BatchedEncoder:
    """An ImageTextEncoder whose callers share batches; pictures are heavy work, texts are short.

    The vectors of the last text_cache_size texts are kept: people ask the same again, and turn pages. Those that
    other processes have encoded are in `shared`, which may be set.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        threads: InferenceThreads,
        *,
        max_batch: int,
        max_queue: int,
        timeout_s: float,
        text_cache_size: int = 0,
        batch_seen: Callable[[str, int], object] = lambda encoder, size: None,
    ) -> None:
        self.space, self.dim, self.device = encoder.space, encoder.dim, encoder.device
        self.logit_scale, self.image_size = encoder.logit_scale, encoder.image_size
        self._encoder = encoder
        self._text_cache: LRUCache[str, Vectors] = LRUCache(text_cache_size)
        self._text_cache_lock = threading.Lock()
        self.shared: TextVectors | None = None
        self.images: MicroBatcher[Image.Image, Vectors] = MicroBatcher(
            "the image encoder",
            lambda images: list(threads.heavy.run(encoder.encode_images, images)),
            max_batch=max_batch,
            max_queue=max_queue,
            timeout_s=timeout_s,
            batch_seen=partial(batch_seen, "image"),
        )
        self.texts: MicroBatcher[str, Vectors] = MicroBatcher(
            "the text encoder",
            lambda texts: list(threads.short.run(encoder.encode_texts, texts)),
            max_batch=max_batch,
            max_queue=max_queue,
            timeout_s=timeout_s,
            batch_seen=partial(batch_seen, "text"),
        )

    @property
    def workers(self) -> tuple[MicroBatcher[Image.Image, Vectors], MicroBatcher[str, Vectors]]:
        return self.images, self.texts

    def fitted(self, image: Image.Image) -> Image.Image:
        """See ImageTextEncoder."""
        return self._encoder.fitted(image)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """(len(images), dim). Raises: Overloaded, EncoderFailed.

        The thread of the caller scales them: otherwise the other cores would wait for it, picture by picture.
        """
        return self._stack(self.images.run([self.fitted(image) for image in images]))

    def encode_texts(self, texts: Sequence[str], *, cached: bool = True) -> Vectors:
        """(len(texts), dim). Raises: Overloaded, EncoderFailed."""
        if not cached:  # nor kept
            return self._stack(self.texts.run(texts))
        with self._text_cache_lock:
            vectors = {text: self._text_cache[text] for text in texts if text in self._text_cache}
        new = self._new([text for text in dict.fromkeys(texts) if text not in vectors])
        if self._text_cache.maxsize:
            with self._text_cache_lock:
                self._text_cache.update(new)
        vectors |= new
        return self._stack([vectors[text] for text in texts])

    def _new(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Of texts that are not in the cache."""
        known = self.shared.get(texts) if self.shared else {}
        unknown = [text for text in texts if text not in known]
        encoded = dict(zip(unknown, self.texts.run(unknown), strict=True))
        if self.shared:
            self.shared.put(encoded)
        return known | encoded

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        if self.shared:
            self.shared.close()

    def _stack(self, rows: list[Vectors]) -> Vectors:
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)


class QueuedTranscriber:
    """A Transcriber that takes one clip at a time and lets a bounded number wait."""

    def __init__(
        self, transcriber: Transcriber, threads: InferenceThreads, *, max_queue: int, timeout_s: float
    ) -> None:
        self.model = transcriber.model
        self.worker: MicroBatcher[Samples16k, Transcript] = MicroBatcher(
            "Whisper",
            lambda clips: [threads.heavy.run(transcriber.transcribe, samples) for samples in clips],
            max_batch=1,
            max_queue=max_queue,
            timeout_s=timeout_s,
        )

    def transcribe(self, samples: Samples16k) -> Transcript:
        """Raises: NoSpeech, Overloaded, EncoderFailed."""
        return self.worker.run([samples])[0]

    def close(self) -> None:
        self.worker.close()
