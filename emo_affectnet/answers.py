"""The emotion of a whole video, and its peak: the rows of a report go in, one answer comes out.

The rule is the same everywhere, from the summary to the evaluation, and a report's CSV is enough to compute it: the
emotion of a video is the one with the largest mean probability over the frames in which the face was observed. The
peak is the strongest passage that is not Neutral.

Which of the two agrees better with people's labels is printed by `emo-affectnet evaluate real` for any weights. On 722
clips of PEDFE, most of 2 to 3 s, UAR in %:

| weights | emotion of seven | emotion of six | peak's emotion | peak minus emotion of six, 95 % |
|---|---|---|---|---|
| bundled-mobile, averaged faces | 51.3 | 57.5 | 56.8 | -0.7 (-2.6 to +0.9) |
| 0.1.0, six heads | 21.0 | 37.9 | 37.4 | -0.5 (-1.3 to +0.4) |

So the peak says when, and is no better an answer than the mean without Neutral.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .emotions import Emotion

Rows = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Peak:
    """The strongest passage of a video that is not Neutral."""

    emotion: Emotion
    time: float  # s, the middle of the passage
    probability: float  # of that emotion, 0-1


def average_frames(probabilities: Rows) -> Doubles | None:
    """Return the mean (7,) over the frames (F, 7) in which the face was observed, or None if there is none.

    A frame without a face is a row of NaN.
    """
    seen = ~np.isnan(probabilities).any(axis=1)
    return np.mean(probabilities[seen], axis=0, dtype=np.float64) if seen.any() else None


def find_emotion(probabilities: Rows) -> Emotion | None:
    """Return the emotion with the largest mean over the frames (F, 7) with a face, or None without a face."""
    means = average_frames(probabilities)
    return None if means is None else Emotion(int(means.argmax()))


def modal_emotion(window_probabilities: Rows) -> Emotion | None:
    """Return the commonest top emotion of windows (W, 7), the published vote; a tie goes to the first in order."""
    votes = np.bincount(window_probabilities.argmax(axis=1), minlength=len(Emotion))
    return Emotion(int(votes.argmax())) if len(window_probabilities) else None


def find_peak(probabilities: Rows, times: Doubles) -> Peak | None:
    """Return the strongest passage of frames (F, 7), shown at `times` (F,) s, that is not Neutral.

    It is the first run of frames in which the largest probability of the six other emotions has its largest value.
    A frame without a face is a row of NaN; None: there is no other frame.
    """
    expressions = np.nan_to_num(probabilities, nan=-1.0)  # (F, 7)
    expressions[:, Emotion.Neutral] = -1.0
    values, tops = expressions.max(axis=1), expressions.argmax(axis=1)
    if not len(values) or values.max() < 0:
        return None
    start = int(values.argmax())
    is_end = (values != values[start]) | (tops != tops[start])
    stop = start + int(np.append(is_end[start:], True).argmax())
    time = (float(times[start]) + float(times[stop - 1])) / 2
    return Peak(Emotion(int(tops[start])), time, float(values[start]))
