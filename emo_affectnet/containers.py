"""Files that hold video: a path goes in, the open container and the stream of it that is shown come out.

FFmpeg is given the bytes of the one file that was asked for and nothing else: a `%03d` or `http:` in the name means
nothing to it, and a playlist cannot make it open other files. What would take more memory than any video needs is
refused before it is taken.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from .boxes import MAX_BOXES, MAX_UNPACKED, count_promised
from .errors import VideoError, printable

FilePath = str | os.PathLike[str]

MAX_PIXELS = 1 << 26  # of a picture: 8192 x 8192, twice of 8K; as RGB 200 MB
MAX_FRAMES = 1 << 24  # promised by an index: 77 hours at 60 per s; FFmpeg takes 35 bytes for each

_READ_SIZE = 1 << 18  # bytes per call from FFmpeg into Python
_POINTERS = {  # the first bytes of texts that only say where a video is
    b"version https://git-lfs": ("it is a git-lfs pointer, not the video itself", "run `git lfs pull`"),
    b"#EXTM3U": ("it is a playlist that names other files", "give the video file itself"),
    b"ffconcat": ("it is a playlist that names other files", "give the video file itself"),
}
_MP4_BOXES = (b"ftyp", b"mdat", b"wide", b"free")  # at byte 4 of what calls itself mp4 or mov
_AGAIN = "record or download it again"


class _Bytes:
    """A file without its name, for FFmpeg, which reads patterns and protocols into names."""

    def __init__(self, file: FileIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._seek(offset, whence)
        except OSError:  # damaged files point to places before their first byte; FFmpeg takes an error number
            return -errno.EINVAL


@contextmanager
def open_video(path: FilePath) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Lend the open file and the stream in it that is shown.

    Raises:
        VideoError: the file is missing, is no video, or would take more memory than a video may.
    """
    with _open_file(path) as file:
        head = file.read(64)
        if not head:
            raise refuse(path, "the file is empty", _AGAIN)
        for start, (found, advice) in _POINTERS.items():
            if head.startswith(start):
                raise refuse(path, found, advice)
        _check_index(file, path)
        with _open_container(file, path, is_mp4=head[4:8] in _MP4_BOXES) as container:
            stream = _video_stream(container, path)
            _check_size(stream, file, path)
            # pictures may be larger than the headers say
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream


def _open_file(path: FilePath) -> FileIO:
    if os.path.exists(path) and not os.path.isfile(path):
        raise refuse(path, "it is a folder" if os.path.isdir(path) else "it is a device or pipe", "name one file")
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise refuse(path, "it is a link to a file that is not there", "restore that file") from error
        raise refuse(path, "there is no such file", "check the name and the folder") from error
    except OSError as error:
        raise refuse(path, f"it cannot be opened ({error.strerror})", "check the name and your rights") from error


def _check_index(file: FileIO, path: FilePath) -> None:
    """Refuse an mp4 whose index promises more than there can be."""
    with suppress(OSError):  # a disk that fails is told of by whoever reads on
        size = os.fstat(file.fileno()).st_size
        promised = count_promised(file, size=size)
        if promised is None:
            raise refuse(
                path, f"its index has more than {MAX_BOXES:,} boxes, or {MAX_UNPACKED:,} bytes compressed", _AGAIN
            )
        if promised > min(size, MAX_FRAMES):
            limit = f"at most {MAX_FRAMES:,} can be read" if promised <= size else f"it has only {size:,} bytes"
            raise refuse(path, f"its index promises {promised:,} frames and {limit}", _AGAIN)


def _open_container(file: FileIO, path: FilePath, *, is_mp4: bool, **options: str) -> InputContainer:
    file.seek(0)
    # Whatever the file says, no other file or address is opened; and titles may be in any national 8-bit code.
    options = {"protocol_whitelist": "", "max_pixels": str(MAX_PIXELS)} | options
    try:
        return av.open(_Bytes(file), "r", options=options, metadata_errors="replace", buffer_size=_READ_SIZE)
    except (av.FFmpegError, OSError) as error:
        found = "its index (moov) is missing, as in a file cut short" if is_mp4 else "it is in no known video format"
        raise refuse(path, found, f"{_AGAIN}, or give an mp4, mkv, avi or webm file") from error


def _video_stream(container: InputContainer, path: FilePath) -> VideoStream:
    """Choose the first video that is no cover art."""
    name = container.format.name
    if name.endswith("_pipe") or name == "ico":
        raise refuse(path, f"it is a picture ({name.removesuffix('_pipe')})", "give the video itself")
    for stream in container.streams.video:
        if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            continue
        if stream.codec_context is None:
            raise refuse(path, "FFmpeg has no decoder for its codec", "convert it to H.264")
        return stream
    found = "it holds only sound" if container.streams.audio else "it holds neither picture nor sound"
    raise refuse(path, found, "give a file with a picture")


def _check_size(stream: VideoStream, file: FileIO, path: FilePath) -> None:
    """Refuse pictures that are too large by what the headers say of them."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width * height:  # FFmpeg forgets a size it may not decode; without any decoder it tells what it read
        place = file.tell()
        with _open_container(file, path, is_mp4=True, codec_whitelist="none") as container:
            context = _video_stream(container, path).codec_context
            width, height = context.width, context.height
        file.seek(place)  # FFmpeg goes on reading here
    if width * height > MAX_PIXELS:
        found = f"its pictures are {width:,} x {height:,} px, and at most {MAX_PIXELS:,} px can be read"
        raise refuse(path, found, "make them smaller")


def refuse(path: FilePath, found: str, advice: str) -> VideoError:
    """Return the error that says, in one line, what was found in the place of a video and what to do."""
    return VideoError(f'Expected a video in "{printable(path)}", but {found}; {advice}.')
