"""Windows: only stamps decide, whatever the chunk size or the order in which the two streams arrive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_emollama.types import AudioChunk, Frame, seconds_to_ns
from ros2_emollama.windows import WindowAssembler, WindowSpec
from tests.core.streams import MS, RATE, SPEC, TICK, Item, arrival, camera, chunks, content, feed, frames, live, regular, source, ticks


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=60, max_size=60), st.integers(0, 2_000_000_000))
def test_windows_do_not_depend_on_chunk_size(sizes: list[int], start_ns: int) -> None:
    sound, pictures = source(6.0), camera(6.0, start_ns=start_ns + 7 * MS)
    odd = chunks(sound, [*sizes, *[97] * 100], start_ns)
    assert content(feed(live(odd, pictures))[0]) == content(feed(live(regular(sound, start_ns=start_ns), pictures))[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(-250, 250), st.integers(0, 10_000))
def test_windows_do_not_depend_on_the_order_of_arrival_within_patience(lag_ms: int, seed: int) -> None:
    sound, pictures = source(6.0), camera(6.0)
    random = np.random.default_rng(seed)
    arrivals: list[tuple[float, Item]] = []
    for stream, lag in ((regular(sound), max(0, lag_ms)), (pictures, max(0, -lag_ms))):
        newest = 0.0
        for item in stream:
            newest = max(newest, arrival(item) + lag * MS + random.uniform(0, 20) * MS)  # within a stream the order holds
            arrivals.append((newest, item))
    shuffled = [item for _, item in sorted(arrivals, key=lambda pair: pair[0])]
    windows, assembler = feed(shuffled)
    assert content(windows) == content(feed(live(regular(sound), pictures))[0])
    assert assembler.counters == {}


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 179)))
def test_windows_do_not_depend_on_whether_unwanted_frames_are_offered(offered: set[int]) -> None:
    sound, pictures = regular(source(6.0)), camera(6.0)
    assembler, windows = WindowAssembler(SPEC), []
    for item in live(sound, pictures):
        if isinstance(item, AudioChunk):
            windows += assembler.add_audio(item)
        elif assembler.wants_frame(item.stamp_ns) or pictures.index(item) in offered:
            windows += assembler.add_frame(item)
        else:
            windows += assembler.skip_frame(item.stamp_ns)
    assert content(windows + assembler.finish()) == content(feed(live(sound, pictures))[0])


def test_one_frame_a_tick_is_wanted() -> None:
    assembler, wanted = WindowAssembler(SPEC), 0
    for frame in camera(10.0):
        if assembler.wants_frame(frame.stamp_ns):
            wanted += 1
            assembler.add_frame(frame)
        else:
            assembler.skip_frame(frame.stamp_ns)
    assert wanted == 40


@pytest.mark.parametrize("hop", [1, 3])
def test_every_tick_comes_once_and_in_order(hop: int) -> None:
    windows, assembler = feed(live(regular(source(9.0)), camera(9.0)), WindowSpec(sample_rate_hz=RATE, hop_ticks=hop))
    assert ticks(windows) == [k for k in range(1, 37) if k % hop == 0]
    assert assembler.counters == {}


def test_the_frame_of_a_tick_is_the_first_one_stamped_in_it() -> None:
    windows, _ = feed(live(regular(source(6.0)), camera(6.0)))
    for window in windows:
        for entry in filter(None, window.frames):
            stamps = [f.stamp_ns for f in camera(6.0) if entry.tick * TICK <= f.stamp_ns < (entry.tick + 1) * TICK]
            assert entry.frame.stamp_ns == stamps[0]
    assert [e.tick for e in windows[-2].frames if e] == list(range(windows[-2].tick - 15, windows[-2].tick + 1))


def test_a_window_leaves_with_its_frame_and_not_later() -> None:
    assembler = WindowAssembler(SPEC)
    for item in live(regular(source(4.0)), camera(4.0)):
        windows = assembler.add_audio(item) if isinstance(item, AudioChunk) else assembler.add_frame(item)
        for window in windows:
            newest = window.newest_frame_ns
            assert newest is not None and arrival(item) - newest < 40 * MS


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3_000_000))
def test_sound_is_exactly_that_of_the_source_at_its_place(start_us: int) -> None:
    sound, start_ns = source(6.0), start_us * 1000
    windows, _ = feed(regular(sound, 33, start_ns))
    origin = round(start_ns * RATE / 1e9)
    for window in windows:
        place = window.start_ns * RATE // 10**9 - origin
        expected = np.zeros(4 * RATE, np.float32)
        inside = np.arange(place, place + 4 * RATE)
        there = (inside >= 0) & (inside < sound.size)
        expected[there] = sound[inside[there]]
        assert np.array_equal(window.samples, expected)


def test_full_windows_are_seen_in_full_and_first_ones_in_part() -> None:
    windows, _ = feed(live(regular(source(6.0)), camera(6.0)))
    assert windows[0].tick == 1 and windows[0].audio_seen.tolist() == [False] * 15 + [True]
    assert windows[-1].audio_seen.all() and not any(windows[0].frames[:14])


@pytest.mark.parametrize("present", ["video", "audio"])
def test_an_absent_stream_delays_the_other_by_its_patience_at_the_start_only(present: str) -> None:
    items: list[Item] = list(camera(5.0)) if present == "video" else list(regular(source(5.0)))
    assembler = WindowAssembler(SPEC)
    delays = []
    for item in items:
        windows = assembler.add_audio(item) if isinstance(item, AudioChunk) else assembler.add_frame(item)
        delays += [(arrival(item) - w.end_ns) / MS for w in windows]
    assert len(delays) >= 18 and max(delays) < 100 and max(delays[1:]) < 41


def test_a_stream_that_stops_is_waited_for_once() -> None:
    sound, pictures = regular(source(2.0)), camera(6.0)
    assembler, delays = WindowAssembler(SPEC), []
    for item in live(sound, pictures):
        windows = assembler.add_audio(item) if isinstance(item, AudioChunk) else assembler.add_frame(item)
        delays += [(arrival(item) - w.end_ns, w) for w in windows]
    assert max(d for d, w in delays if w.end_ns > seconds_to_ns(2.3)) < 41 * MS
    assert not delays[-1][1].audio_seen[-8:].any()


def test_a_slow_camera_does_not_wait_for_a_dead_microphone() -> None:
    assembler, delays = WindowAssembler(SPEC), []
    for frame in camera(20.0, hz=2.0):
        delays += [frame.stamp_ns - w.end_ns for w in assembler.add_frame(frame)]
    assert len(delays) > 30 and max(delays[2:]) <= 500 * MS


def test_a_hole_in_the_sound_is_zero_and_unseen() -> None:
    sound = source(6.0)
    kept = [c for c in regular(sound) if not 2_000 * MS <= c.stamp_ns < 2_500 * MS]
    window = feed(live(kept, camera(6.0)))[0][-1]
    assert window.tick == 24
    assert window.audio_seen.tolist() == [False] * 2 + [True] * 14
    assert not window.samples[: RATE // 2].any() and np.array_equal(window.samples[RATE // 2 :], sound[RATE * 5 // 2 :])


def test_overlapping_sound_is_trimmed() -> None:
    sound = source(6.0)
    doubled = [c for chunk in regular(sound) for c in (chunk, chunk)]
    windows, assembler = feed(live(doubled, camera(6.0)))
    assert content(windows) == content(feed(live(regular(sound), camera(6.0)))[0])
    assert assembler.counters == {}


def test_jitter_of_a_driver_makes_no_holes() -> None:
    sound, random = source(6.0), np.random.default_rng(1)
    shaky = [AudioChunk(c.stamp_ns + int(random.integers(0, 4 * MS)), c.samples, RATE) for c in regular(sound)]
    window = feed(shaky)[0][-1]
    assert window.audio_seen.all()
    place = int(np.flatnonzero(sound == window.samples[0])[0])
    assert np.array_equal(window.samples, sound[place : place + 4 * RATE])


def test_a_gap_longer_than_a_window_is_skipped_and_counted() -> None:
    late = 100_000 * MS
    items = live(regular(source(3.0)), camera(3.0)) + live(regular(source(3.0), start_ns=late), camera(3.0, start_ns=late + 7 * MS))
    windows, assembler = feed(items)
    assert ticks(windows) == [*range(1, 13), *range(401, 413)]
    assert assembler.counters == {"gap_ticks": 388}
    assert windows[12].dropped == {"gap_ticks": 388} and not any(windows[12].frames[:14]) and windows[13].dropped == {}


def test_a_gap_shorter_than_a_window_is_walked_through_in_either_order() -> None:
    late = 5_000 * MS
    first = live(regular(source(3.0)), camera(3.0))
    for order in ((0, 1), (1, 0)):
        again: list[Item] = [regular(source(2.0), start_ns=late)[0], camera(2.0, start_ns=late + 7 * MS)[0]]
        rest = live(regular(source(2.0), start_ns=late)[1:], camera(2.0, start_ns=late + 7 * MS)[1:])
        windows, assembler = feed([*first, *(again[i] for i in order), *rest])
        assert ticks(windows) == list(range(1, 29)) and assembler.counters == {}
        entry = windows[19].frames[-1]
        assert windows[19].tick == 20 and entry is not None and entry.frame.stamp_ns == late + 7 * MS


def test_late_frames_are_counted_and_still_seen_by_later_windows() -> None:
    pictures = camera(6.0)
    held_back = [f for f in pictures if 2_000 * MS <= f.stamp_ns < 2_250 * MS]
    rest = [f for f in pictures if f not in held_back]
    items = live(regular(source(6.0)), rest)
    cut = next(i for i, item in enumerate(items) if arrival(item) > 2_290 * MS)
    windows, assembler = feed([*items[:cut], held_back[0], *items[cut:]])
    assert ticks(windows) == list(range(1, 25)) and assembler.counters == {"late_frames": 1}
    assert windows[7].frames[-1] is None and windows[9].frames[-3] is not None


def test_late_sound_is_counted_and_still_heard_by_later_windows() -> None:
    sound = source(6.0)
    blocks = regular(sound)
    late = [c for c in blocks if 2_100 * MS <= c.stamp_ns < 2_140 * MS]
    items = live([c for c in blocks if c not in late], camera(6.0))
    cut = next(i for i, item in enumerate(items) if arrival(item) > 2_380 * MS)
    windows, assembler = feed([*items[:cut], *late, *items[cut:]])
    assert assembler.counters == {"late_audio_blocks": len(late)}
    assert np.array_equal(windows[-1].samples, sound[-4 * RATE :])


@pytest.mark.parametrize("stray", [False, True])
def test_a_clock_that_jumps_back_starts_anew(stray: bool) -> None:
    before = live(regular(source(3.0), start_ns=50_000 * MS), camera(3.0, start_ns=50_007 * MS))
    after = live(regular(source(3.0)), camera(3.0))
    straggler = [AudioChunk(53_000 * MS, source(0.02), RATE)] if stray else []
    windows, assembler = feed([*before, after[0], *straggler, *after[1:]])
    assert ticks(windows)[-12:] == list(range(1, 13))
    assert assembler.counters["clock_jumps"] == (2 if stray else 1)
    assert np.array_equal(windows[-1].samples[-RATE:], source(3.0)[-RATE:]) and not windows[-1].samples[:RATE].any()


def test_a_stream_left_alone_after_a_jump_is_believed_at_last() -> None:
    before = live(regular(source(3.0), start_ns=50_000 * MS), camera(3.0, start_ns=50_007 * MS))
    straggler = AudioChunk(53_000 * MS, source(0.02), RATE)
    windows, _ = feed([*before, camera(1.0)[0], straggler, *camera(3.0)[1:]])
    assert ticks(windows)[-5:] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sound_that_is_no_number_is_refused_and_counted(bad: float) -> None:
    blocks = regular(source(4.0))
    broken = blocks[60].samples.copy()
    broken[3] = bad
    blocks[60] = AudioChunk(blocks[60].stamp_ns, broken, RATE)
    windows, assembler = feed(blocks)
    assert assembler.counters == {"bad_audio": 1} and all(np.isfinite(w.samples).all() for w in windows)
    assert sum(w.dropped.get("bad_audio", 0) for w in windows) == 1


@pytest.mark.parametrize("rate_hz", [4000, 800, 1100])
def test_other_rates_are_resampled_without_seams(rate_hz: int) -> None:
    time = np.arange(6 * rate_hz) / rate_hz
    tone = np.sin(2 * np.pi * 50.0 * time).astype(np.float32)
    blocks = [AudioChunk(round(i * 1e9 / rate_hz), tone[i : i + 37], rate_hz) for i in range(0, tone.size, 37)]
    window = feed(blocks)[0][-2]
    expected = np.sin(2 * np.pi * 50.0 * (np.arange(4 * RATE) / RATE + window.start_ns / 1e9))
    assert window.audio_seen.all() and np.abs(window.samples - expected).max() < 2e-3


def test_a_change_of_rate_drops_the_old_sound_once_and_is_counted() -> None:
    fast = np.random.default_rng(1).uniform(-1, 1, 2 * 3200).astype(np.float32)
    blocks = regular(source(3.0))
    more = [AudioChunk(3_000 * MS + round(i * 1e9 / 3200), fast[i : i + 64], 3200) for i in range(0, fast.size, 64)]
    windows, assembler = feed([*blocks, *more])
    assert assembler.counters == {"audio_format_changes": 1}
    assert windows[-1].tick == 20 and windows[-1].audio_seen.tolist() == [False] * 8 + [True] * 8


def test_memory_does_not_grow_with_the_input() -> None:
    assembler = WindowAssembler(SPEC)
    hour = 3_600_000 * MS
    for item in live(regular(source(30.0), 320), camera(30.0), camera(5.0, start_ns=hour)):
        _ = assembler.add_audio(item) if isinstance(item, AudioChunk) else assembler.add_frame(item)
        assembler.set_transcript(arrival(item), "said")
        assert len(assembler._held) <= 2 * SPEC.frames + 4 and len(assembler._transcripts) <= 64
    big = AudioChunk(2 * hour, source(60.0), RATE)
    assert len(assembler.add_audio(big)) == 60 * 4
    assert assembler._sound._ring._samples.size < 9 * RATE


def test_a_window_carries_what_was_said_in_it() -> None:
    assembler = WindowAssembler(SPEC)
    assembler.set_transcript(1_000 * MS, "I am fine")
    windows = [w for c in regular(source(7.0)) for w in assembler.add_audio(c)]
    said = {w.tick: w.transcript for w in windows}
    assert said[3] == "" and said[4] == said[19] == "I am fine" and said[20] == ""


def test_a_clip_shorter_than_a_tick_still_gives_one_window() -> None:
    windows, assembler = feed(frames([0]))
    assert len(windows) == 1 and [e.tick for e in windows[0].frames if e] == [0]
    assert len(feed(regular(source(0.1)))[0]) == 1
    assert assembler.finish() == [] and WindowAssembler(SPEC).finish() == []


def test_finishing_gives_the_rest_once() -> None:
    items = live(regular(source(4.0)), camera(3.0))
    windows, assembler = feed(items, finish=False)
    rest = assembler.finish()
    assert ticks(windows) + ticks(rest) == list(range(1, 17)) and assembler.finish() == []


def test_what_the_caller_counts_is_reported_with_the_next_window() -> None:
    assembler = WindowAssembler(SPEC)
    assembler.count("bad_image", 2)
    windows = [w for c in regular(source(2.0)) for w in assembler.add_audio(c)]
    assert windows[0].dropped == {"bad_image": 2} and windows[1].dropped == {}


@pytest.mark.parametrize("values", [{"frames": 0}, {"seconds": -1.0}, {"patience_seconds": 5.0}, {"sample_rate_hz": 16001}, {"frames": 7}])
def test_a_grid_that_does_not_fit_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        WindowSpec(**values)  # type: ignore[arg-type]


LONG_AGO = -(10**9)  # a tick before all others: stamps before the clock's zero are odd, but ordered too
STRAY_MS = st.one_of(st.integers(-400, 400), st.integers(-6_000, 6_000), st.sampled_from([-(10**9), 10**9]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["frame", "skip", "sound", "quick"]), STRAY_MS, st.integers(0, 900)), max_size=80))
def test_no_order_of_stamps_breaks_the_order_of_windows_or_the_bounds_of_memory(steps: list[tuple[str, int, int]]) -> None:
    assembler, now_ms = WindowAssembler(SPEC), 10_000
    last, flushes = LONG_AGO, 0
    for kind, stray_ms, size in steps:
        now_ms = max(0, now_ms + (stray_ms if abs(stray_ms) > 400 else 40))
        stamp = (now_ms + (stray_ms if abs(stray_ms) <= 400 else 0)) * MS
        if kind == "frame":
            windows = assembler.add_frame(Frame(stamp, np.zeros((1, 1, 3), np.uint8)))
        elif kind == "skip":
            windows = assembler.skip_frame(stamp)
        else:
            windows = assembler.add_audio(AudioChunk(stamp, np.ones(size, np.float32), RATE if kind == "sound" else 2 * RATE))
        jumps = assembler.counters.get("clock_jumps", 0)
        if jumps != flushes:
            last, flushes = LONG_AGO, jumps
        assert ticks(windows) == sorted(set(ticks(windows))) and (not windows or windows[0].tick > last)
        last = windows[-1].tick if windows else last
        assert len(windows) <= 2 * SPEC.frames + 8 and len(assembler._held) <= 2 * SPEC.frames + 8
        for window in windows:
            assert window.samples.shape == (4 * RATE,) and window.audio_seen.shape == (16,) and len(window.frames) == 16
            assert all(e is None or e.frame.stamp_ns // TICK == e.tick == window.tick - 15 + i for i, e in enumerate(window.frames))
