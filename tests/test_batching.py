"""MicroBatcher: shared batches, refusals, and what happens when its worker dies."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch

from app.errors import NoSpeech, Overloaded
from app.services.batching import BatchedEncoder, MicroBatcher, QueuedTranscriber
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.inference_thread import InferenceThreads, available_cores, share_cores
from app.services.interfaces import Samples16k, Transcript
from tests.conftest import assert_same

PATIENCE_S = 10.0


class Doubling:
    """Work that doubles numbers, and can be held up; it keeps the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.started.set()
        assert self.may_go_on.wait(PATIENCE_S)
        if any(number < 0 for number in numbers):
            raise ValueError("negative")
        if 666 in numbers:
            raise SystemExit
        return [2 * number for number in numbers]


@pytest.fixture
def work() -> Doubling:
    return Doubling()


Make = Callable[..., MicroBatcher[int, int]]


@pytest.fixture
def make(work: Doubling) -> Iterator[Make]:
    made: list[MicroBatcher[int, int]] = []

    def make_batcher(max_batch: int = 16, max_queue: int = 64, timeout_s: float = 5.0) -> MicroBatcher[int, int]:
        batcher = MicroBatcher("the test", work, max_batch=max_batch, max_queue=max_queue, timeout_s=timeout_s)
        made.append(batcher)
        return batcher

    yield make_batcher
    work.may_go_on.set()
    for batcher in made:
        batcher.close()


def hold_up(work: Doubling, batcher: MicroBatcher[int, int], number: int = 0) -> "Future[int]":
    """The worker is busy with this one input until work.may_go_on is set."""
    work.may_go_on.clear()
    work.started.clear()
    future = batcher.submit(number)
    assert work.started.wait(PATIENCE_S)
    return future


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.005)


def test_a_lone_input_does_not_wait_for_company(work: Doubling, make: Make) -> None:
    batcher = make()
    started = time.monotonic()
    assert batcher.run([21]) == [42]
    assert time.monotonic() - started < 0.5
    assert work.batches == [[21]]


@pytest.mark.parametrize(
    ("max_batch", "batches"),
    [(16, [[0], [*range(1, 11)]]), (4, [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]), (1, [[n] for n in range(11)])],
)
def test_what_waits_together_is_worked_on_together(
    work: Doubling, make: Make, max_batch: int, batches: list[list[int]]
) -> None:
    batcher = make(max_batch=max_batch)
    futures = [hold_up(work, batcher)] + [batcher.submit(number) for number in range(1, 11)]
    assert batcher.depth == 10
    work.may_go_on.set()
    assert [future.result(PATIENCE_S) for future in futures] == [2 * number for number in range(11)]
    assert work.batches == batches


def test_each_of_many_callers_gets_its_own_answers_in_order(work: Doubling, make: Make) -> None:
    batcher = make(max_queue=1000)
    requests = [list(range(100 * caller, 100 * caller + 20)) for caller in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(batcher.run, requests))
    assert answers == [[2 * number for number in request] for request in requests]
    assert sorted(n for batch in work.batches for n in batch) == sorted(n for r in requests for n in r)
    assert len(work.batches) < 16 * 20 / 2, "hardly any batch was shared"


def test_nothing_to_do_gives_nothing(work: Doubling, make: Make) -> None:
    assert make().run([]) == []
    assert work.batches == []


def test_a_bad_input_fails_alone(work: Doubling, make: Make) -> None:
    batcher = make()
    hold_up(work, batcher)
    futures = [batcher.submit(number) for number in (1, -2, 3)]
    work.may_go_on.set()
    assert futures[0].result(PATIENCE_S) == 2
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(PATIENCE_S)
    assert futures[2].result(PATIENCE_S) == 6
    with pytest.raises(ValueError, match="negative"):
        batcher.run([4, -5])
    assert batcher.alive
    assert batcher.run([6]) == [12]


def test_a_full_queue_refuses_at_once(work: Doubling, make: Make) -> None:
    batcher = make(max_queue=2)
    futures = [hold_up(work, batcher), batcher.submit(1), batcher.submit(2)]
    started = time.monotonic()
    with pytest.raises(Overloaded) as refused:
        batcher.submit(3)
    assert time.monotonic() - started < 0.5
    assert int(refused.value.headers["Retry-After"]) >= 1
    work.may_go_on.set()
    assert [future.result(PATIENCE_S) for future in futures] == [0, 2, 4]
    assert batcher.run([4]) == [8]


def test_a_request_that_does_not_fit_whole_is_not_worked_on_in_part(work: Doubling, make: Make) -> None:
    batcher = make(max_queue=3)
    hold_up(work, batcher)
    with pytest.raises(Overloaded):
        batcher.run([1, 2, 3, 4, 5])
    work.may_go_on.set()
    wait_until(lambda: batcher.depth == 0)
    assert batcher.run([6]) == [12]
    assert work.batches == [[0], [6]]


def test_too_long_a_wait_is_overload_and_the_work_is_dropped(work: Doubling, make: Make) -> None:
    batcher = make(timeout_s=0.1)
    hold_up(work, batcher)
    with pytest.raises(Overloaded, match=r"longer than 0\.1 s"):
        batcher.run([1, 2])
    work.may_go_on.set()
    assert batcher.submit(3).result(PATIENCE_S) == 6
    assert not {1, 2} & {number for batch in work.batches for number in batch}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the death is on purpose
def test_a_dead_worker_is_noticed_and_started_again(
    work: Doubling, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """SystemExit is what ends a thread without a word; here it comes from inside the work."""
    batcher = make(max_batch=1)
    assert batcher.alive
    hold_up(work, batcher, 666)
    waiting = [batcher.submit(number) for number in (1, 2)]
    work.may_go_on.set()
    wait_until(lambda: not batcher.alive)
    assert not any(future.done() for future in waiting)
    assert batcher.run([3]) == [6]
    assert batcher.alive
    assert [future.result(PATIENCE_S) for future in waiting] == [2, 4]
    assert "had died" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_for_a_batch_that_killed_the_worker_is_told_at_once(work: Doubling, make: Make) -> None:
    batcher = make()
    held = hold_up(work, batcher)
    killers = [batcher.submit(number) for number in (1, 666, 2)]
    work.may_go_on.set()
    assert held.result(PATIENCE_S) == 0
    assert not wait(killers, 2).not_done, "they would wait until their time is up"
    assert all(future.exception() for future in killers)


def test_after_close_nothing_is_taken(work: Doubling, make: Make) -> None:
    batcher = make()
    batcher.close()
    started = time.monotonic()
    with pytest.raises(Overloaded):
        batcher.run([1])
    assert time.monotonic() - started < 1
    assert work.batches == []


def test_close_finishes_what_waits(work: Doubling, make: Make) -> None:
    batcher = make(max_batch=2)
    futures = [hold_up(work, batcher)] + [batcher.submit(number) for number in range(1, 6)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    work.may_go_on.set()
    assert [future.result(PATIENCE_S) for future in futures] == [0, 2, 4, 6, 8, 10]
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert not batcher.alive


@pytest.fixture
def threads() -> Iterator[InferenceThreads]:
    made = InferenceThreads.on(available_cores())
    yield made
    made.close()


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 8, 16, 64])
def test_the_teams_of_all_threads_fit_the_cores(cores: int) -> None:
    """With more members than cores libgomp stops spinning, and every operation waits for the kernel."""
    heavy, short = share_cores(cores)
    assert 1 <= short <= heavy
    main = 1
    assert main + (heavy - 1) + (short - 1) == cores


def test_each_inference_thread_has_its_own_number_of_openmp_threads() -> None:
    before = torch.get_num_threads()
    made = InferenceThreads.on(8)
    try:
        seen = [thread.run(lambda _: torch.get_num_threads(), None) for thread in (made.heavy, made.short)]
        assert seen == list(share_cores(8))
        assert torch.get_num_threads() == before
        with pytest.raises(ZeroDivisionError):
            made.heavy.run(lambda number: 1 // number, 0)
        assert made.heavy.run(lambda number: number + 1, 1) == 2
    finally:
        made.close()


def test_pictures_and_texts_of_many_callers_are_those_of_the_encoder_itself(
    encoder: EmbeddedEncoder, threads: InferenceThreads
) -> None:
    texts = [f"a photo of {number} dogs" for number in range(12)]
    expected = encoder.encode_texts(texts)
    batched = BatchedEncoder(encoder, threads, max_batch=8, max_queue=64, timeout_s=60)
    try:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda text: batched.encode_texts([text])[0], texts))
        assert_same(np.stack(answers), expected)
        assert batched.encode_images([]).shape == (0, encoder.dim)
        assert (batched.space, batched.dim, batched.logit_scale) == (encoder.space, 512, encoder.logit_scale)
    finally:
        batched.close()
    assert not any(worker.alive for worker in batched.workers)


def test_texts_asked_before_are_not_encoded_again(encoder: EmbeddedEncoder, threads: InferenceThreads) -> None:
    batched = BatchedEncoder(encoder, threads, max_batch=8, max_queue=64, timeout_s=60, text_cache_size=2)
    try:
        first = batched.encode_texts(["a dog", "a cat", "a dog"])
        assert np.array_equal(first[0], first[2])
        batched.texts.close()  # from here on nothing can be encoded
        assert np.array_equal(batched.encode_texts(["a cat", "a dog"]), first[1::-1])
        with pytest.raises(Overloaded):
            batched.encode_texts(["a dog", "a bus"])
    finally:
        batched.close()


def test_the_oldest_text_makes_room(encoder: EmbeddedEncoder, threads: InferenceThreads) -> None:
    batched = BatchedEncoder(encoder, threads, max_batch=8, max_queue=64, timeout_s=60, text_cache_size=1)
    try:
        vectors = batched.encode_texts(["a dog", "a cat"])  # more than the cache holds
        assert_same(vectors, encoder.encode_texts(["a dog", "a cat"]))
        batched.texts.close()
        assert np.array_equal(batched.encode_texts(["a cat"])[0], vectors[1])
        with pytest.raises(Overloaded):
            batched.encode_texts(["a dog"])
    finally:
        batched.close()


class Listener:
    """A Transcriber that hears how long a clip is, and counts how many it is asked for at a time."""

    model = "length"

    def __init__(self) -> None:
        self.at_work = threading.Semaphore(1)

    def transcribe(self, samples: Samples16k) -> Transcript:
        if not len(samples):
            raise NoSpeech("nothing")
        assert self.at_work.acquire(blocking=False), "two clips at the same time"
        time.sleep(0.01)
        self.at_work.release()
        return Transcript(str(len(samples)), "en", 0.0, 10.0)


def test_voice_queries_are_taken_one_at_a_time(threads: InferenceThreads) -> None:
    queued = QueuedTranscriber(Listener(), threads, max_queue=16, timeout_s=PATIENCE_S)
    try:
        with ThreadPoolExecutor(8) as pool:
            heard = list(pool.map(lambda n: queued.transcribe(np.zeros(n, np.float32)).text, range(1, 9)))
        assert heard == [str(n) for n in range(1, 9)]
        with pytest.raises(NoSpeech):
            queued.transcribe(np.zeros(0, np.float32))
        assert queued.model == "length"
    finally:
        queued.close()


def test_a_cancelled_input_is_passed_over(work: Doubling, make: Make) -> None:
    batcher = make()
    hold_up(work, batcher)
    cancelled, kept = batcher.submit(1), batcher.submit(2)
    assert cancelled.cancel()
    work.may_go_on.set()
    wait([kept], PATIENCE_S)
    assert kept.result(0) == 4
    with pytest.raises(CancelledError):
        cancelled.result(0)
    assert work.batches == [[0], [2]]
