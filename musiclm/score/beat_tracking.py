"""Beats and bars from activations: the likeliest path through a model of bars and tempi.

The model is the bar pointer of Krebs, Böck and Widmer, "An efficient state-space model for joint tempo
and meter tracking" (ISMIR 2015): a state is a place in a bar and a tempo, and the tempo changes at beats
alone, at a price that grows with the change. So nothing is decided between two beats. What a path gains
over one without beats, it gains at its beats, and the search goes from beat to beat, which finds the same
path with less work.
"""

from dataclasses import dataclass

import numpy as np

SLOWEST, FASTEST = 55.0, 215.0  # bpm, as in the paper
TEMPO_PENALTY = 100.0  # lambda of the paper: for a change of the tempo by so many hundredths, so many nats
MOST_STEPS = 6  # of the grid of periods, that a tempo changes by from beat to beat
PRIOR = 1 / 16  # share of the frames that are beats: a path gains by beats at higher activations
FLOOR = 1e-3  # activations are taken as no surer than this
OFF = 2  # frames that a steady path may lie off the peaks it explains
NEAR = 0.05  # seconds from a beat within which an activation speaks for it
AROUND = 4  # beats on each side by which a beat is judged


@dataclass(frozen=True)
class Track:
    """Beats that were found; N may be 0.

    Args:
        times: [N] seconds.
        places: [N] of the beats in their bars; 0 is the downbeat's.
        meter: beats in a bar.
        confidences: [N] from 0 to 1, of the music around each.
    """

    times: np.ndarray
    places: np.ndarray
    meter: int
    confidences: np.ndarray

    @property
    def confidence(self) -> float:
        """Of the whole: near 1 where all that sounds like a beat is one of these; 0 where there are none."""
        return float(self.confidences.mean()) if len(self.times) else 0.0


def track_beats(
    beat: np.ndarray, downbeat: np.ndarray, rate: float, *, meters: tuple[int, ...] = (3, 4)
) -> Track:
    """The beats that explain activations best.

    Args:
        beat: [T] the probability that a beat lies at a frame.
        downbeat: [T] the probability that a downbeat does, at most that of a beat.
        rate: frames per second; at 100 Hz the grid of tempi is fine enough for any music.
        meters: bars that there may be, one of them for the whole.
    """
    periods = np.arange(np.ceil(60 * rate / FASTEST), np.floor(60 * rate / SLOWEST) + 1).astype(int)
    if len(beat) <= periods[0]:
        return Track(np.empty(0), np.empty(0, int), meters[0], np.empty(0))
    frames, states = _best_path(_gains(beat, downbeat, meters), periods, _before(meters))
    places = np.concatenate([np.arange(meter) for meter in meters])
    meter = np.repeat(meters, meters)[states[-1]]
    times = _refined(frames, beat) / rate
    return Track(times, places[states], int(meter), _confidences(frames, beat, round(NEAR * rate)))


def _gains(beat: np.ndarray, downbeat: np.ndarray, meters: tuple[int, ...]) -> np.ndarray:
    """What a path gains by a beat at a frame, in nats, [T, places of all bars]."""
    beat = np.clip(beat, FLOOR, 1 - FLOOR)
    downbeat = np.clip(downbeat, FLOOR**2, beat)
    prior = np.log((1 - PRIOR) / PRIOR) - np.log1p(-beat)
    first = np.log(downbeat) + prior
    other = np.log(np.clip(beat - downbeat, FLOOR**2, None)) + prior
    columns = [first if place == 0 else other for meter in meters for place in range(meter)]
    return np.stack(columns, axis=1).astype(np.float32)


def _before(meters: tuple[int, ...]) -> np.ndarray:
    """For each place of each bar, the one before it, [places of all bars]."""
    starts = np.cumsum((0, *meters[:-1]))
    return np.concatenate(
        [start + np.roll(np.arange(meter), 1) for start, meter in zip(starts, meters, strict=True)]
    )


def _changes(periods: np.ndarray) -> np.ndarray:
    """Log-probabilities [periods, 2 * MOST_STEPS + 1] of coming to a period from those around it."""
    ratios = periods[None, :] / periods[:, None]  # to the second from the first
    chances = np.exp(-TEMPO_PENALTY * np.abs(ratios - 1))
    chances = np.log(chances / chances.sum(axis=1, keepdims=True))
    padded = np.pad(chances, ((MOST_STEPS, MOST_STEPS), (0, 0)), constant_values=-np.inf)
    rows = np.arange(len(periods))[:, None]
    changes: np.ndarray = padded[rows + np.arange(2 * MOST_STEPS + 1), rows]
    return changes.astype(np.float32)


def _best_path(gains: np.ndarray, periods: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frames of the best path's beats and their places among those of all bars."""
    length, count = gains.shape
    longest = int(periods[-1])
    tempi = np.arange(len(periods))
    changes = _changes(periods).T[:, :, None]  # [steps, periods, 1]
    # Of paths with a beat of this period there; before the first frame there is none, and nothing is gained.
    best = np.zeros((longest + length, len(periods), count), np.float32)
    padded = np.full((len(periods) + 2 * MOST_STEPS, count), -np.inf, np.float32)
    inner = padded[MOST_STEPS:-MOST_STEPS]
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * MOST_STEPS + 1, axis=0).transpose(2, 0, 1)
    choices = np.empty(around.shape, np.float32)  # [steps, periods, places]
    for frame in range(longest, longest + length):
        inner[:] = best[frame - periods, tempi][:, before]
        np.add(around, changes, out=choices)
        np.add(choices.max(axis=0), gains[frame - longest], out=best[frame])

    # The last beat is one whose period reaches the end.
    ends = [best[max(longest + length - period, longest) :, tempo] for tempo, period in enumerate(periods)]
    tempo = int(np.argmax([each.max() for each in ends]))
    late, place = np.unravel_index(ends[tempo].argmax(), ends[tempo].shape)
    frame, state = longest + length - len(ends[tempo]) + int(late), int(place)
    frames, states = [], []
    while frame >= longest:
        frames.append(frame - longest)
        states.append(state)
        inner[:] = best[frame - periods, tempi][:, before]
        tempo += int((around[:, tempo, state] + changes[:, tempo, 0]).argmax()) - MOST_STEPS
        frame -= int(periods[tempo])
        state = int(before[state])
    return np.array(frames[::-1]), np.array(states[::-1])


def _refined(frames: np.ndarray, beat: np.ndarray) -> np.ndarray:
    """Beats moved to the top of the parabola through an activation's peak, if one is near."""
    moved = frames.astype(float)
    for index, frame in enumerate(frames):
        near = np.arange(max(frame - OFF, 1), min(frame + OFF + 1, len(beat) - 1))
        if not len(near):
            continue
        top = near[beat[near].argmax()]
        left, middle, right = beat[top - 1 : top + 2]
        if middle >= max(left, right) and (bend := left - 2 * middle + right) < 0:
            moved[index] = top + (left - right) / (2 * bend)
    return moved


def _confidences(frames: np.ndarray, beat: np.ndarray, near: int) -> np.ndarray:
    """How high the activations at the beats around each are, times the share of all that lies there."""
    around = np.stack([beat[np.clip(frames + step, 0, len(beat) - 1)] for step in range(-near, near + 1)])
    heights = around[near - 1 : near + 2].max(axis=0)  # [N]
    sums = np.concatenate([[0.0], np.cumsum(beat, dtype=float)])
    count = len(frames)
    confidences = np.zeros(count)
    for index in range(count):
        first, last = max(index - AROUND, 0), min(index + AROUND, count - 1)
        begin, end = max(frames[first] - near, 0), min(frames[last] + near + 1, len(beat))
        total = sums[end] - sums[begin]
        share = min(around[:, first : last + 1].sum() / total, 1.0) if total > 0 else 0.0
        confidences[index] = heights[first : last + 1].mean() * share
    return confidences
