"""Make six tiny corpora in the layouts of the real ones, to rehearse a leave-one-corpus-out study without any of them.

Out come RAVDESS, CREMA-D, SAVEE, RAMAS, IEMOCAP and Aff-Wild2 as their owners ship them: folders, file names, tables of
labels, odd files, and videos of several people each. Everybody is made from the public-domain portrait of
make_demo_videos.py, so what is learned from these corpora says nothing about the real ones.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import click
import numpy as np
from demo_studio import (
    LEVELS,
    PICTURE_HZ,
    Look,
    Scene,
    Shown,
    Studio,
    open_studio,
    perform,
    rest,
    write_sound,
    write_video,
)
from make_demo_videos import Image

from emo_affectnet.emotions import Emotion
from emo_affectnet.training.corpora import STAND_IN

NTSC = 30_000 / 1001  # Hz
REST_SECONDS = 0.6  # between two intervals of one recording
SEEN_LEVEL = 2  # from which on somebody who sees only the face names the emotion
SENTENCES = ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"]  # of CREMA-D
IEMOCAP_TURNS = ["neu", "ang", "sad", "hap", "ang", "neu", "exc", "sad", "sur", "fea", "neu", "dis"]
IEMOCAP_WORDS = {
    "neu": "Neutral state", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "sur": "Surprise", "fea": "Fear",
    "dis": "Disgust", "ang": "Anger", "fru": "Frustration", "oth": "Other",
}  # fmt: skip
LATE_SECONDS = 0.2  # that a turn of IEMOCAP ends after the speaker has ended, the last one after its video
AFFWILD2_NAMES = ["Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other"]
UNSEEN_FRAMES = 5  # without an emotion, at either end of a video of Aff-Wild2
MIN_TRACKS = 4  # annotated people of Aff-Wild2, two of them in one video
PANEL_TOP, PANEL_LEFTS = 112, (10, 370)  # px, of the two people in the 720x480 frame of IEMOCAP

neutral, happiness, sadness, surprise, fear, disgust, anger = Emotion
IEMOCAP_EMOTIONS = {
    "neu": neutral, "hap": happiness, "exc": happiness, "sad": sadness, "sur": surprise, "fea": fear, "dis": disgust,
    "ang": anger,
}  # fmt: skip

# fmt: off
LOOKS: Mapping[str, Sequence[Look]] = {
    "RAVDESS": (Look(), Look(1.2, (1, 0.96, 0.9), (0.95, 1.03), jaw=-0.2, eyes=0.1, mirrored=True),
        Look(0.5, (0.95, 0.88, 0.84), (1.05, 0.97), jaw=0.15, nose=0.2)),
    "CREMA-D": (Look(1.5, (1.0, 0.84, 0.72), nose=0.25, mouth=0.15), Look(-0.3, (1, 0.97, 0.95), (1.07, 1), eyes=-0.1),
        Look(0.8, (1, 0.9, 0.78), (0.93, 1.02), jaw=-0.15, eyes=0.15, mirrored=True),
        Look(0.3, (0.92, 0.88, 0.9), (1.02, 1.08), jaw=0.2, nose=0.1, mirrored=True)),
    "SAVEE": (Look(1.4, stretch=(1.06, 1), jaw=0.25, eyes=-0.12), Look(0.2, stretch=(0.94, 1.05), nose=0.3),
        Look(-0.2, (1.02, 0.95, 0.92), jaw=0.15, mouth=-0.1, mirrored=True),
        Look(0.9, (0.9, 0.86, 0.84), (1.03, 1.04), jaw=0.05, nose=0.15, eyes=0.1, mirrored=True)),
    "RAMAS": (Look(0.1, (1.03, 1, 0.97), (0.97, 1), jaw=-0.1, eyes=0.12), Look(1.1, (0.95, 0.9, 0.88), jaw=0.2),
        Look(-0.4, (1, 1, 1.02), (1.04, 1.02), nose=-0.15, mouth=0.1, mirrored=True)),
    "IEMOCAP": (Look(0.6, (1, 0.95, 0.9), (0.96, 1.03), eyes=0.1), Look(1.6, (0.9, 0.86, 0.8), jaw=0.25, nose=0.2),
        Look(-0.3, (1, 0.96, 0.92), (0.97, 0.98), mouth=0.15, mirrored=True),
        Look(1, (1.05, 1, 0.95), (1.06, 1.02), jaw=0.15, eyes=-0.1, mirrored=True)),
    "Aff-Wild2": (Look(0.4, (1.05, 0.92, 0.85), jaw=-0.1), Look(1.3, (1, 0.82, 0.7), (1.05, 1), mouth=0.2, nose=0.2),
        Look(-0.5, (1, 1, 1.05), (0.95, 1.04), eyes=0.15, mirrored=True),
        Look(0.9, (1, 0.88, 0.75), (1.04, 0.96), jaw=0.15, mirrored=True)),
}
# fmt: on

SCENES = {
    "RAVDESS": Scene(320, 180, 0.8, (240, 240, 242), (226, 227, 230)),
    "CREMA-D": Scene(240, 180, 0.85, (92, 128, 96), (70, 104, 78), (1.05, 0.9), blur=0.7),
    "SAVEE": Scene(320, 256, 1.1, (70, 72, 84), (58, 58, 66), (0.95, 1.05)),
    "RAMAS": Scene(320, 240, 1.15, (176, 150, 120), (138, 112, 88), (1.1, 0.8), blur=0.4, at=(0.5, 0.6)),
    "IEMOCAP": Scene(340, 256, 0.75, (120, 118, 122), (96, 94, 98), (0.85, 0.95), blur=0.8, at=(0.5, 0.55)),
    "Aff-Wild2": Scene(320, 240, 0.8, (0, 0, 0), (0, 0, 0)),
}


@dataclass(frozen=True)
class Written:
    """What a corpus holds."""

    clips: int  # labelled with one of the seven emotions, or, in Aff-Wild2, with emotions by frame
    speakers: int
    seconds: float  # of video


def plan(name: str, emotions: Sequence[Emotion], count: int) -> list[tuple[Emotion, int]]:
    """Return `count` emotions in turn, each with the position of one of the corpus's people in turn."""
    people, kinds = len(LOOKS[name]), len(emotions)
    return [(emotions[index % kinds], (index + index // kinds) % people) for index in range(count)]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_ravdess(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write RAVDESS, with a clip of a calm face, and the first performance without sound and without picture too."""
    name, seconds, takes = "RAVDESS", 0.0, Counter[tuple[str, int]]()
    codes = dict(zip(Emotion, ("01", "03", "04", "08", "06", "07", "05"), strict=True))
    clips = [(codes[emotion], who, perform(name, emotion, rng)) for emotion, who in plan(name, [*Emotion], count)]
    clips.append(("02", 1, [Shown(happiness, 1)] * 2 * PICTURE_HZ))
    for index, (code, who, shown) in enumerate(clips):
        take, takes[code, who] = takes[code, who], takes[code, who] + 1
        strength = 2 if max(each.level for each in shown) > LEVELS / 2 else 1
        rest_of_name = f"01-{code}-{strength:02}-{1 + take % 2:02}-{1 + take // 2:02}-{who + 1:02}"
        pictures, folder = studio.film(LOOKS[name][who], shown, SCENES[name]), root / f"Actor_{who + 1:02}"
        seconds += write_video(folder / f"01-{rest_of_name}.mp4", pictures, fps=NTSC, has_sound=True)
        if index == 0:
            write_video(folder / f"02-{rest_of_name}.mp4", pictures, fps=NTSC)
            write_sound(folder / f"03-{rest_of_name}.wav", len(shown) / PICTURE_HZ)
    return Written(count, len(LOOKS[name]), seconds)


def write_cremad(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write CREMA-D, with what viewers made of the clips, and a clip that git-lfs has not fetched."""
    name, seconds, takes = "CREMA-D", 0.0, Counter[tuple[str, int]]()
    codes = {neutral: "NEU", happiness: "HAP", sadness: "SAD", fear: "FEA", disgust: "DIS", anger: "ANG"}
    votes = ['"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"']
    for index, (emotion, who) in enumerate(plan(name, [*codes], count)):
        shown, code = perform(name, emotion, rng), codes[emotion]
        take, takes[code, who] = takes[code, who], takes[code, who] + 1
        peak = max(each.level for each in shown)
        strength = ("LO", "MD", "HI")[(peak - 1) * 3 // LEVELS] if peak and not take else "XX"
        stem = f"{1001 + who}_{SENTENCES[take]}_{code}_{strength}"
        face = "A:F" if index == 1 else code[0] if peak >= SEEN_LEVEL else "N"
        level = "50:60" if ":" in face else "70"
        votes.append(f'"{index + 1}","{stem}","{code[0]}","60","{face}","{level}","{code[0]}","65"')
        pictures = studio.film(LOOKS[name][who], shown, SCENES[name])
        seconds += write_video(root / "VideoFlash" / f"{stem}.flv", pictures, fps=NTSC)
    pointer = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{64 * '0'}", "size 131072"]
    write_lines(root / "VideoFlash/1001_WSI_NEU_XX.flv", pointer)
    write_lines(root / "processedResults/summaryTable.csv", votes)
    people = [f"{1001 + who},{30 + 7 * who},Female,Unknown,Not Hispanic" for who in range(len(LOOKS[name]))]
    write_lines(root / "VideoDemographics.csv", ["ActorID,Age,Sex,Race,Ethnicity", *people])
    return Written(count, len(LOOKS[name]), seconds)


def write_savee(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write SAVEE, where every fourth clip is neutral: twice as often as anything else."""
    name, seconds, takes = "SAVEE", 0.0, Counter[tuple[str, int]]()
    codes = dict(zip(Emotion, ("n", "h", "sa", "su", "f", "d", "a"), strict=True))
    for emotion, who in plan(name, [anger, disgust, neutral, fear, happiness, sadness, neutral, surprise], count):
        takes[codes[emotion], who] += 1
        pictures = studio.film(LOOKS[name][who], perform(name, emotion, rng), SCENES[name])
        folder = root / "AudioVisualClip" / ("DC", "JE", "JK", "KL")[who]
        seconds += write_video(folder / f"{codes[emotion]}{takes[codes[emotion], who]}.avi", pictures, fps=60)
    return Written(count, len(LOOKS[name]), seconds)


def write_ramas(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write RAMAS: one recording per person, its intervals in one table per emotion, two of them in conflict."""
    name, seconds = "RAMAS", 0.0
    words = dict(zip(Emotion, ("Neutral", "Happy", "Sad", "Surprised", "Scared", "Disgusted", "Angry"), strict=True))
    rows: dict[str, list[tuple[str, float, float]]] = {word: [] for word in (*words.values(), "Domination")}
    for who, recording in enumerate(("10dec_D07_1", "10dec_D07_2", "22dec_N14_1")):
        shown = rest(REST_SECONDS)
        for emotion, _ in [each for each in plan(name, [*Emotion], count) if each[1] == who]:
            start, shown = len(shown), shown + perform(name, emotion, rng)
            rows[words[emotion]].append((recording, start / PICTURE_HZ, len(shown) / PICTURE_HZ))
            shown += rest(REST_SECONDS)
        pictures = studio.film(LOOKS[name][who], shown + rest(2), SCENES[name])
        seconds += write_video(root / "Data/Video_close" / f"{recording}.avi", pictures, fps=25)
    for word in ("Sad", "Angry", "Domination"):
        rows[word].append(("22dec_N14_1", len(shown) / PICTURE_HZ, len(shown) / PICTURE_HZ + 2))
    for index, (word, intervals) in enumerate(rows.items()):
        mark = ";" if index % 2 else ","
        lines = [("ID", "File", "Start", "End"), *((number, *each) for number, each in enumerate(intervals, 1))]
        path = root / "Annotations_by_emotions" / f"data_{word}.csv"
        write_lines(path, [mark.join(map(str, line)) for line in lines])
    return Written(count, len(LOOKS[name]), seconds)


def write_iemocap(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write IEMOCAP: dialogs in split screen, who wears the markers on the left; a turn of each has no emotion."""
    name, seconds, people = "IEMOCAP", 0.0, dict(zip(("1F", "1M", "2F", "2M"), LOOKS["IEMOCAP"], strict=True))
    codes = list(islice(cycle(IEMOCAP_TURNS), count))
    speakers = ["FM"[index // 4 % 2] for index in range(count)]
    dialogs = {"Ses01F_impro01": "xxx", "Ses01M_impro02": "fru", "Ses02F_script01_1": "oth", "Ses02M_impro03": "xxx"}
    for index, (dialog, extra) in enumerate(dialogs.items()):
        shown: dict[str, list[Shown]] = {"F": [], "M": []}
        lines, turns = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], Counter[str]()
        for code, speaker in [*zip(codes[index::4], speakers[index::4], strict=True), (extra, "F")]:
            shown = {person: course + rest(REST_SECONDS) for person, course in shown.items()}
            listener, start = "FM".replace(speaker, ""), len(shown["F"])
            shown[speaker] += perform(name, IEMOCAP_EMOTIONS.get(code, sadness), rng)
            reaction = perform(name, Emotion(rng.integers(len(Emotion))), rng) + rest(2)
            shown[listener] += reaction[: len(shown[speaker]) - start]
            turn = f"{dialog}_{speaker}{turns[speaker]:03}"
            lines += _rate(turn, code, start=start, stop=len(shown[speaker]))
            turns[speaker] += 1
        folder, wearer = root / f"Session{dialog[4]}" / "dialog", dialog[5]
        order = (wearer, "FM".replace(wearer, ""))
        halves = [studio.film(people[dialog[4] + person], shown[person], SCENES[name]) for person in order]
        pictures = [_split_screen(*pair) for pair in zip(*halves, strict=True)]
        seconds += write_video(folder / "avi/DivX" / f"{dialog}.avi", pictures, fps=NTSC)
        write_lines(folder / "EmoEvaluation" / f"{dialog}.txt", lines)
        (folder / "EmoEvaluation" / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07")  # as a Mac leaves behind
    return Written(count, len(people), seconds)


def _rate(turn: str, code: str, *, start: int, stop: int) -> list[str]:
    """Return the block of the turn from picture `start` to `stop`, with three raters' words and the speaker's own."""
    times = f"[{start / PICTURE_HZ:.4f} - {stop / PICTURE_HZ + LATE_SECONDS:.4f}]"
    raters = ("C-E2", "C-E3", "C-E4", f"C-{turn[-4]}1")
    words = ("Anger", "Sadness", "Other", "Anger") if code == "xxx" else (IEMOCAP_WORDS[code],) * 4
    votes = [f"{rater}:\t{word};\t()" for rater, word in zip(raters, words, strict=True)]
    return [f"{times}\t{turn}\t{code}\t[2.5000, 3.0000, 2.5000]", *votes, "A-E3:\tval 2; act 3; dom  3;\t(mixed)", ""]


def _split_screen(left: Image, right: Image) -> Image:
    frame = np.zeros((480, 720, 3), np.uint8)
    for panel, column in zip((left, right), PANEL_LEFTS, strict=True):
        frame[PANEL_TOP : PANEL_TOP + panel.shape[0], column : column + panel.shape[1]] = panel
    return frame


def write_affwild2(studio: Studio, root: Path, *, count: int, rng: np.random.Generator) -> Written:
    """Write Aff-Wild2: half as many and longer videos, labelled frame by frame; the first one shows two people."""
    name, seconds, looks = "Aff-Wild2", 0.0, cycle(LOOKS["Aff-Wild2"])
    emotions = cycle([happiness, sadness, anger, surprise, fear, disgust])
    tracks = max(count // 2, MIN_TRACKS)
    for index in range(tracks - 1):
        stem, fps = (f"video{11 + index}", 24) if index % 3 else (f"{134 + index}-30-320x240", 30)
        sides = ("_left", "_right") if index == 0 else ("",)
        courses = [_drift(name, [next(emotions), next(emotions)], rng) for _ in sides]
        length = max(map(len, courses))
        scene = _find_place(SCENES[name], rng)
        pictures: list[Image] = []
        for place, (side, course) in enumerate(zip(sides, courses, strict=True)):
            course += [Shown()] * (length - len(course))
            spot = replace(scene, zoom=0.65, at=(0.27 + 0.46 * place, 0.5)) if side else scene
            pictures = studio.film(next(looks), course, spot, behind=pictures)
            part = "Validation_Set" if index % 2 else "Train_Set"
            path = root / "annotations/EXPR_Classification_Challenge" / part / f"{stem}{side}.txt"
            write_lines(path, [",".join(AFFWILD2_NAMES), *_label_frames(course, fps)])
        seconds += write_video(root / f"batch{1 + index % 2}" / f"{stem}.mp4", pictures, fps=fps)
    return Written(tracks, len(LOOKS[name]), seconds)


def _drift(name: str, emotions: Sequence[Emotion], rng: np.random.Generator) -> list[Shown]:
    """Return a course from emotion to emotion, at rest before, between and after."""
    course = rest(REST_SECONDS)
    for emotion in emotions:
        course += perform(name, emotion, rng) + rest(REST_SECONDS)
    return course


def _find_place(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with walls of any colour, from near or far and in any light."""
    red, green, blue = (int(value) for value in rng.integers(90, 190, 3))
    left, zoom = rng.uniform(0.75, 1.15), rng.uniform(0.7, 0.95)
    bottom = (red // 2, green // 2, blue // 2)
    return replace(scene, top=(red, green, blue), bottom=bottom, zoom=zoom, light=(left, 1.9 - left))


def _label_frames(course: Sequence[Shown], fps: int) -> list[str]:
    """Return a label for each frame: -1 before the annotator began, and Other in the last moments."""
    labels = []
    for index in range(round(len(course) / PICTURE_HZ * fps)):
        shown = course[int(index / fps * PICTURE_HZ)]
        emotion = shown.emotion if shown.level >= SEEN_LEVEL else neutral
        labels.append(str(AFFWILD2_NAMES.index(emotion.name)))
    labels[:UNSEEN_FRAMES] = ["-1"] * UNSEEN_FRAMES
    labels[-UNSEEN_FRAMES:] = [str(AFFWILD2_NAMES.index("Other"))] * UNSEEN_FRAMES
    return labels


WRITERS: Mapping[str, Callable[..., Written]] = {
    "RAVDESS": write_ravdess,
    "CREMA-D": write_cremad,
    "SAVEE": write_savee,
    "RAMAS": write_ramas,
    "IEMOCAP": write_iemocap,
    "Aff-Wild2": write_affwild2,
}


@click.command()
@click.argument("save", type=click.Path(path_type=Path, file_okay=False))
@click.option("--clips", type=click.IntRange(4, 60), default=14, show_default=True, help="Labelled clips per corpus.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one gives other clips.")
def main(save: Path, clips: int, seed: int) -> None:
    """Write six tiny corpora to the new or empty folder SAVE."""
    if save.is_dir() and any(save.iterdir()):
        raise click.UsageError(f'Expected a new or empty folder, but "{save}" holds files; name another one.')
    studio = open_studio()
    for index, (name, write) in enumerate(WRITERS.items()):
        written = write(studio, save / name, count=clips, rng=np.random.default_rng([seed, index]))
        (save / name / STAND_IN).write_text(f"Animated portraits in the layout of {name}.\n", encoding="utf-8")
        contents = f"{written.clips:3} labelled clips  {written.speakers} speakers  {written.seconds:5.1f} s of video"
        click.echo(f"{name:<10}{contents}")


if __name__ == "__main__":
    main()
