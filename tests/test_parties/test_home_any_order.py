"""Anything in any order, dying anywhere: what was promised is kept, and what was used is never given out again."""

import contextlib
import shutil
import uuid

import homes
import pytest
from disks import MODES, Crash, FailingDisk, bury
from homes import RUN, array, opened, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpc.errors import UsageError
from parties.home import AlreadyUsed, HomeError, Stream


class World:
    """A home, and what was said about it by calls that returned."""

    def __init__(self, directory):
        self.directory = directory
        self.home = opened(directory)
        self.reserved = set()  # by a call that returned
        self.taken = set()
        self.number = 0
        self.attempt = 0
        self.head = self.home.journal.head()
        self.begin()

    def begin(self):
        self.attempt = max(self.attempt + 1, self.home.ledger.next_attempt(RUN))
        self.session = f"{self.attempt:032x}"
        homes.begin(self.home, self.session, self.attempt)

    def reopen(self):
        bury(self.home)
        self.home = opened(self.directory)
        whole(self.home)
        assert self.home.journal.verify(self.head).holds
        self.begin()

    def do(self, verb, key, failing):
        home = self.home
        before = [c.epoch for c in home.checkpoints.held(RUN)], {h.name: h.run for h in home.handles.all()}
        try:
            with failing:
                getattr(self, verb)(home, key)
        except Crash:
            self.reopen()
        after = [c.epoch for c in self.home.checkpoints.held(RUN)], {h.name: h.run for h in self.home.handles.all()}
        assert verb == "commit" or before[0] == after[0][: len(before[0])], "a checkpoint went without a commit"
        assert after[0] or not before[0], "no checkpoint is left"
        assert verb in {"keep", "forget"} or before[1] == after[1], "a kept secret came or went by itself"
        self.head = self.home.journal.head()

    def reserve(self, home, key):
        name = f"key{key}"
        there = any(stream.key == name for _, stream in home.ledger.reserved())
        assert there or name not in self.reserved
        with pytest.raises(AlreadyUsed) if there else contextlib.nullcontext():
            home.ledger.reserve(self.session, [Stream(name)])
        self.reserved.add(name)

    def stock(self, home, key):
        name = f"{key:032x}"
        with pytest.raises(AlreadyUsed) if home.materials.state(name) else contextlib.nullcontext():
            home.materials.stock(homes.material(name), array(key))

    def take(self, home, key):
        name = f"{key:032x}"
        if home.materials.state(name) == "stocked":
            assert name not in self.taken, "given out twice"
            home.materials.take(name, self.session)
            self.taken.add(name)
            assert home.materials.load(name, self.session)[2]["w"][0] == key
        else:
            with pytest.raises(HomeError):
                home.materials.take(name, self.session)

    def burn(self, home, key):
        home.materials.burn(f"{key:032x}", "why")
        assert home.materials.state(f"{key:032x}") == "burnt"
        self.taken.add(f"{key:032x}")

    def checkpoint(self, home, key):
        epoch = max([0, *(c.epoch for c in home.checkpoints.held(RUN))]) + 1
        home.checkpoints.prepare(RUN, epoch, "loop", key, array(epoch))
        assert home.checkpoints.load(RUN, epoch)[2]["w"][0] == epoch

    def commit(self, home, key):
        held = home.checkpoints.held(RUN)
        if held:
            home.checkpoints.commit(RUN, held[key % len(held)].epoch)
            assert home.checkpoints.held(RUN) == [
                c if i else home.checkpoints.load(RUN, held[key % len(held)].epoch)[0]
                for i, c in enumerate(held[key % len(held) :])
            ]

    def keep(self, home, key):
        self.number += 1
        made = homes.handle(self.number, f"h{key}")
        home.handles.stage(made, array(self.number))
        home.handles.commit(made.run)
        assert home.handles.load(f"h{key}")[1]["w"][0] == self.number

    def forget(self, home, key):
        with contextlib.suppress(UsageError):
            home.handles.drop(f"h{key}")

    def put(self, home, key):
        home.vault.put("plain", {"n": key}, array(key))
        assert homes.plain(home) == (key, [key] * 5)


VERBS = ("reserve", "stock", "take", "burn", "checkpoint", "commit", "keep", "forget", "put")
MOVES = st.tuples(st.sampled_from(VERBS), st.integers(0, 3), st.none() | st.integers(0, 12), st.sampled_from(MODES))


@pytest.fixture(scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        homes.without_fsync(patch)
        yield


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, max_size=16))
def test_nothing_is_used_twice_and_nothing_promised_is_lost(tmp_path_factory, quick, moves):
    directory = tmp_path_factory.mktemp("h") / uuid.uuid4().hex
    world = World(directory)
    for verb, key, at, mode in moves:
        world.do(verb, key, FailingDisk(at, mode))
    world.reopen()
    bury(world.home)
    shutil.rmtree(directory)
