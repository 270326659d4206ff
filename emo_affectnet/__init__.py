"""Emotions over time from videos of faces: `EmotionRecognizer().predict("clip.mp4")` gives a `Timeline`.

Importing this loads none of the heavy packages; each name below loads its module when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .emotions import Emotion
from .errors import EmoAffectNetError

if TYPE_CHECKING:
    from .batch import analyze
    from .inputs import Options
    from .recognizer import EmotionRecognizer
    from .reports import read_csv
    from .timeline import Timeline
    from .video import VideoInfo
    from .zoo.hsemotion import HSEmotionRecognizer

__version__ = "0.1.0"

# ONNX Runtime writes an identifier and reports to its makers from the moment it is imported. Nothing leaves here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "EmoAffectNetError",
    "Emotion",
    "EmotionRecognizer",
    "HSEmotionRecognizer",
    "Options",
    "Timeline",
    "VideoInfo",
    "analyze",
    "read_csv",
]

_HOMES = {
    "EmotionRecognizer": "recognizer",
    "HSEmotionRecognizer": "zoo.hsemotion",
    "Options": "inputs",
    "Timeline": "timeline",
    "VideoInfo": "video",
    "analyze": "batch",
    "read_csv": "reports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
