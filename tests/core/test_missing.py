"""A stream that stops, stands still or never came is called missing, and nothing else is."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_emollama.types import seconds_to_ns
from tests.core.streams import MS, RATE, TICK, camera, chunks, feed, live, regular, source


def test_sound_that_stands_still_counts_as_not_heard_and_the_stream_as_missing() -> None:
    dead = np.concatenate([source(5.0), np.zeros(4 * RATE, np.float32), source(5.0, seed=2)])
    windows, assembler = feed(live(regular(dead), camera(14.0)))
    by_tick = {window.tick: window for window in windows}
    assert by_tick[20].missing == () and by_tick[20].audio_seen.all()
    noticed = min(tick for tick, window in by_tick.items() if "audio" in window.missing)
    assert noticed * TICK <= seconds_to_ns(5.75)  # stall_seconds, and a tick
    still = by_tick[36]  # [5 s, 9 s): all of it silent but for what it takes to be sure
    assert still.audio_seen.sum() <= 2 and not still.samples[-3 * RATE :].any()
    assert by_tick[40].missing == () and by_tick[52].audio_seen.all()
    assert 12 <= assembler.counters["flat_audio_ticks"] <= 15


@given(st.lists(st.integers(1, 700), min_size=60, max_size=90))
@settings(max_examples=25, deadline=None)
def test_stillness_does_not_depend_on_how_sound_is_cut(sizes: list[int]) -> None:
    value = np.float32(0.25)
    dead = np.concatenate([source(1.0), np.full(2 * RATE, value), source(1.0, seed=2), np.full(RATE, value), source(2.0, seed=3)])
    whole, cut = feed(regular(dead))[0], feed(chunks(dead, itertools.cycle(sizes)))[0]
    for one, other in zip(whole, cut, strict=True):
        assert np.array_equal(one.audio_seen, other.audio_seen) and np.array_equal(one.samples, other.samples)


def test_a_stream_that_stalls_is_missing_within_a_second_and_back_with_its_first_data() -> None:
    pictures = [*camera(5.0), *camera(5.0, start_ns=8_007 * MS)]
    windows, _ = feed(live(regular(source(13.0)), pictures))
    missing = {window.tick: window.missing for window in windows}
    assert missing[20] == ()
    assert missing[23] == ("video",) and missing[31] == ("video",)
    assert missing[33] == ()


def test_a_stream_that_never_came_is_missing() -> None:
    assert {window.missing for window in feed(regular(source(6.0)))[0]} == {("video",)}
    assert {window.missing for window in feed(camera(6.0))[0]} == {("audio",)}
