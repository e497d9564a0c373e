"""One session used from several threads: each gets its own results and refusals, and all hear of a close."""

import signal
import threading
import time

import numpy as np
import pytest

import mpc
import parties
from mpc.errors import InputError, MpcError, PeerError, UsageError
from parties.turns import Turns

THREADS, RUNS = 8, 50


@mpc.program
def total(x: mpc.PerParty[mpc.Private]):
    return mpc.reveal(sum(mpc.share(v).sum() for v in x))


@mpc.program
def ages(table: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(mpc.share(t["age"]).sum() for t in table))


@mpc.program
def walk(x: mpc.PerParty[mpc.Private], steps: int = 40_000):
    c = mpc.assume_range(mpc.share(x[0]) / 8, -1, 1)
    return mpc.reveal(mpc.repeat(steps, lambda i, s: mpc.assume_range(s * c, -4, 4), c))


@pytest.fixture
def session(tmp_path):
    with parties.local(2, state=tmp_path) as ps:
        yield ps


def side_by_side(work, count):
    """Do it in so many threads at once; what each of them returned or raised."""
    found = [None] * count

    def one(number):
        try:
            found[number] = work(number)
        except MpcError as error:
            found[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


def of(thread, run):
    return {"alice": np.array([float(thread)]), "bob": np.array([100.0 * run])}


def test_eight_threads_get_the_sums_of_their_own_runs(session):
    def work(thread):
        return [float(session.run(total, x=of(thread, run)).results["result"]) for run in range(RUNS)]

    threads, found = side_by_side(work, THREADS)
    for thread in threads:
        thread.join()
    assert found == [[thread + 100.0 * run for run in range(RUNS)] for thread in range(THREADS)]


def test_each_thread_is_told_of_its_own_bad_cell(session, tmp_path):
    def work(thread):
        path = tmp_path / f"{thread}.csv"
        path.write_text("age\n" + "1\n" * thread + "oops\n")
        return [session.run(ages, table={"alice": path, "bob": path}) for _ in range(3)]

    threads, found = side_by_side(work, 4)
    for thread in threads:
        thread.join()
    for number, error in enumerate(found):
        assert isinstance(error, InputError)
        assert f"row {number + 1} (" in str(error), (number, str(error))


def long_runs(session, count):
    """Threads whose long runs are on."""
    on = [threading.Event() for _ in range(count)]

    def work(thread):
        return session.run(
            walk, x={"alice": np.ones(2)}, on_progress=lambda _stage, done, _all: done and on[thread].set()
        )

    threads, found = side_by_side(work, count)
    for event in on:
        assert event.wait(60)
    return threads, found


def test_what_is_quick_does_not_wait_for_a_long_run_and_close_ends_all(session):
    threads, found = long_runs(session, 2)
    assert session.run(total, x=of(1, 2)).results["result"] == 201
    assert session.plan(total, x=of(1, 2)).rounds == 1
    waiting, refused = side_by_side(lambda _: [session.run(total, x=of(1, 2)) for _ in range(10_000)], 1)
    began = time.monotonic()
    session.close()
    for thread in [*threads, *waiting]:
        thread.join(10)
        assert not thread.is_alive()
    assert time.monotonic() - began < 10
    for error in found:
        assert isinstance(error, PeerError)
        assert "run stopped: the coordinator closed its session in round" in str(error)
        assert "resume with: privity resume" in str(error)
    (error,) = refused
    assert isinstance(error, UsageError | PeerError)
    assert "closed" in str(error)
    with pytest.raises(UsageError, match="this session is closed"):
        session.run(total, x=of(1, 2))


def test_runs_that_a_close_has_ended_are_remembered_as_stopped(session, tmp_path):
    threads, _ = long_runs(session, 1)
    session.close()
    threads[0].join()
    with parties.local(2, state=tmp_path) as again:
        (run,) = again._home.runs.all()
        assert run.status == "stopped"
        assert "the coordinator closed its session" in run.sentence


# ---------------------------------------------------------------------------------------------------- turns alone


def test_turns_come_in_the_order_of_asking_and_may_be_nested():
    hurried = []
    turns = Turns(lambda: hurried.append(1))
    order, threads = [], []

    def take(number):
        with turns, turns:
            order.append(number)

    with turns:
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while len(turns._queue) <= number:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert len(hurried) == 5


def test_whoever_waits_drives_on_when_the_one_that_drives_is_done_or_fails():
    turns = Turns(lambda: None)
    steps, over = [], threading.Event()

    def step():
        steps.append(threading.get_ident())
        time.sleep(0.001)

    def fails():
        if len(steps) > 10:
            raise MpcError("enough")

    def work(number):
        turns.until(over.is_set, step, fails if number == 0 else lambda: None)

    threads, found = side_by_side(lambda _: work(0), 1)
    while not steps:
        time.sleep(0.001)
    others, _ = side_by_side(lambda _: work(1), 2)
    threads[0].join()
    assert isinstance(found[0], MpcError)
    before = len(steps)
    while len(steps) < before + 10:
        time.sleep(0.001)
    assert len({*steps[before:]}) == 1  # one of the two that are left
    over.set()
    for thread in others:
        thread.join(1)
        assert not thread.is_alive()


def test_ctrl_c_while_waiting_for_a_turn_holds_up_nobody():
    turns, leave, order = Turns(lambda: None), threading.Event(), []

    def hold():
        with turns:
            leave.wait()

    def interrupt():
        while not turns._queue:
            time.sleep(0.001)
        threads.append(threading.Thread(target=lambda: turns.__enter__() or order.append(1)))
        threads[-1].start()
        while len(turns._queue) < 2:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    while turns._inside is None:
        time.sleep(0.001)
    threads.append(threading.Thread(target=interrupt))
    threads[1].start()
    with pytest.raises(KeyboardInterrupt):
        turns.__enter__()
    leave.set()
    for thread in threads:
        thread.join(1)
        assert not thread.is_alive()
    assert order == [1]
