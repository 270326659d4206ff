"""The seven emotions, in the order of every weight file's output columns, and their colours.

This is the only list of labels in the project. Each corpus maps its own labels to these by name, never by number.
"""

from enum import IntEnum


class Emotion(IntEnum):
    """One of the seven emotions; the value is the column of the network's output."""

    Neutral = 0
    Happiness = 1
    Sadness = 2
    Surprise = 3
    Fear = 4
    Disgust = 5
    Anger = 6

    def __str__(self) -> str:
        return self.name


EMOTION_NAMES: tuple[str, ...] = tuple(emotion.name for emotion in Emotion)

# Okabe and Ito's colours (2008), which colour-blind readers tell apart; Neutral is grey.
EMOTION_COLOURS = ("#8c8c8c", "#e69f00", "#0072b2", "#56b4e9", "#cc79a7", "#009e73", "#d55e00")
