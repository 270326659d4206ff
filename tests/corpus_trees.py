"""Small trees laid out as the real corpora are, with the traps that the real ones hold; each goes below `root`.

A video is the bytes of `video`: anything that is not empty will do where nobody decodes it.
"""

import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

VIDEO = b"video"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1000\n"

Tree = Callable[..., Path]


def write(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write each file below `root`, with its folders; return `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def picture(level: int = 128, *, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """Return the file of a grey picture; `size` is width, height in px."""
    file = BytesIO()
    Image.new("RGB", size, (level, level, level)).save(file, kind)
    return file.getvalue()


def make_ravdess(root: Path, video: bytes = VIDEO) -> Path:
    """Five spoken and two sung performances, nested and flat; 01 and 02 of one, and a sound-only one."""
    names = (
        "Actor_01/01-01-03-01-01-01-01.mp4",  # happy, with sound
        "Actor_01/02-01-03-01-01-01-01.mp4",  # the same performance without
        "Actor_01/._01-01-03-01-01-01-01.mp4",
        "Actor_01/03-01-03-01-01-01-01.wav",
        "Actor_01/03-01-08-01-01-01-01.mp4",  # only a sound
        "Video_Speech_Actor_02/Actor_02/01-01-02-01-01-01-02.mp4",  # calm
        "Video_Speech_Actor_02/Actor_02/02-01-04-02-02-02-02.MP4",  # sad, only without sound
        "01-01-01-01-01-01-03.mp4",  # neutral
        "01-01-05-01-01-01-03.mp4",  # angry
        "01-02-05-01-01-01-03.mp4",  # angry, sung
        "01-02-02-01-01-01-03.mp4",  # calm, sung
        "holiday.mp4",
    )
    return write(root, dict.fromkeys(names, video))


SUMMARY = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"
"1","1001_IEO_ANG_HI","A","60","A:F","70:60","A","70"
"2","1040_ITH_SAD_XX","N","60","N","70","S","70"
"3","1001_DFA_HAP_XX","H","60","H","70","H","70"
"""


def make_cremad(root: Path, video: bytes = VIDEO) -> Path:
    """Five usable clips, of which one lacks its second X; two of the known bad ones; one not fetched by git-lfs."""
    names = (
        "VideoFlash/1001_IEO_ANG_HI.flv",
        "VideoFlash/1001_DFA_HAP_XX.flv",
        "VideoFlash/1040_ITH_SAD_X.flv",
        "VideoFlash/1076_MTI_NEU_XX.flv",  # without sound, which does not matter here
        "VideoFlash/1002_WSI_FEA_XX.flv",
        "VideoFlash/1076_MTI_SAD_XX.flv",
        "VideoFlash/1064_IEO_DIS_MD.flv",
    )
    write(root, dict.fromkeys(names, video))
    return write(
        root,
        {
            "VideoFlash/1003_TIE_DIS_XX.flv": POINTER,
            "VideoFlash/1004_TIE_DIS_XX.flv": b"",
            "AudioWAV/1001_IEO_ANG_HI.wav": b"sound",
            "processedResults/summaryTable.csv": SUMMARY,
            "VideoDemographics.csv": "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n",
        },
    )


def make_savee(root: Path, video: bytes = VIDEO) -> Path:
    """Codes of one and two letters, padded and not, in folders and with the speaker's initials; one clip twice."""
    names = (
        "AudioVisualClip/JK/sa1.avi",
        "AudioVisualClip/JK/a01.avi",
        "AudioVisualClip/JK/sa01.avi",  # sa1 again
        "AudioVisualClip/DC/su15.avi",
        "AudioVisualClip/JE/n30.avi",
        "KL_h02.avi",
        "AudioVisualClip/nobody/d1.avi",
        "AudioData/JK/sa01.wav",
    )
    return write(root, dict.fromkeys(names, video))


def make_afew(root: Path, video: bytes = VIDEO) -> Path:
    """Train and Val by class, Test without labels, a folder of no class."""
    names = (
        "Train/Angry/000046280.avi",
        "Train/Sad/000046281.avi",
        "Val/Happy/000149120.avi",
        "Test/000100000.avi",
        "Train/Bored/000046282.avi",
    )
    return write(root, dict.fromkeys(names, video))


DIALOG = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Anger;\t(some words)
C-F1:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M000\texc\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()

[14.8872 - 18.0175]\tSes01F_impro01_M001\txxx\t[2.5000, 2.5000, 2.5000]

[19.2900 - 999.0000]\tSes01F_impro01_F001\tfru\t[2.5000, 3.5000, 3.5000]

[21.0000 - 20.0000]\tSes01F_impro01_F002\tneu\t[2.5000, 2.5000, 2.5000]
[oops]
"""


def make_iemocap(root: Path, video: bytes = VIDEO) -> Path:
    """An improvisation with the woman marked, a script with the man marked, a dialog without a video."""
    labels = "Session1/dialog/EmoEvaluation"
    return write(
        root / "IEMOCAP_full_release",
        {
            f"{labels}/Ses01F_impro01.txt": DIALOG,
            f"{labels}/._Ses01F_impro01.txt": b"\x00\x05\x16\x07",
            f"{labels}/Attribute/Ses01F_impro01_e3.txt": "Ses01F_impro01_F000 :act 3; :val 2;\n",
            f"{labels}/Ses01M_script01_1b.txt": (
                "% header\n\n[1.5 - 3.0]\tSes01M_script01_1b_M000\tang\t[2.5, 2.5, 2.5]\n"
                "[2.5 - 4.0]\tSes01M_script01_1b_F000\tdis\t[2.5, 2.5, 2.5]\n"
            ),
            "Session1/dialog/avi/DivX/Ses01F_impro01.avi": video,
            "Session1/dialog/avi/DivX/Ses01M_script01_1b.avi": video,
            "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt": (
                "% header\n\n[1.5 - 3.0]\tSes02F_impro01_M000\tsad\t[2.5, 2.5, 2.5]\n"
                "[3.5 - 4.0]\tSes02F_impro01_F000\tsad\t[2.5, 2.5, 2.5]\n"
            ),
        },
    )


VOTES = "Time,Angry,Disgusted,Happy,Neutral,Sad,Scared,Surprised,Domination,Submission,Annotator\n"


def make_ramas(root: Path, video: bytes = VIDEO) -> Path:
    """Lists by emotion with both delimiters; two intervals in conflict; a video with an addition to its name."""
    return write(
        root,
        {
            "RAMAS/Annotations_by_emotions/data_Angry.csv": (
                "ID;File;Start;End\n1;10dec_O11_1;1,5;4\n2;22dec_S3_2;5;7\n"
            ),
            "RAMAS/Annotations_by_emotions/data_Happy.csv": (
                "ID,File,Start,End,emotion\n1,10dec_O11_1,3.5,6,Happy\n2,10dec_O11_1,10,12,Happy\n"
                "2,10dec_O11_1,10,12,Happy\n3,10dec_O11_1,x,12,Happy\n4,30dec_gone_1,1,2,Happy\n"
            ),
            "RAMAS/Annotations_by_emotions/data_Scared.csv": "ID,File,Start,End\n1,22dec_S3_2,7,8\n",
            "RAMAS/Annotations_by_emotions/data_Domination.csv": "ID,File,Start,End\n1,10dec_O11_1,10,11\n",
            "RAMAS/Data/Video_close/10dec_O11_1.avi": video,
            "RAMAS/Data/Video_close/22dec_S3_2_close.avi": video,
            "RAMAS/Data/Video_web/10dec_O11_1.avi": video,
            "RAMAS/Data/Audio/10dec_O11_1_mic.wav": b"sound",
        },
    )


def make_ramas_votes(root: Path, video: bytes = VIDEO) -> Path:
    """Two annotators, one vote each a second: two of Happy, one tie, one Sad beside nothing, none, then Sad."""
    marks = ("0.4,0,0,1,0,0,0,0,0,0", "1.4,0,0,1,0,0,0,0,0,0", "2.4,0,0,1,0,0,0,0,0,0", "3.4,0,0,0,0,1,0,0,0,0")
    other = ("0.4,0,0,1,0,0,0,0,1,0", "1.4,0,0,1,0,0,0,0,0,0", "2.4,0,0,0,0,1,0,0,0,0", "3.4,0,0,0,0,0,0,0,0,0")
    rows = [f"{line},{name}" for name, lines in (("A01", marks), ("A02", other)) for line in lines]
    rows += ["4.4,0,0,0,0,0,0,0,1,0,A01", "8.4,0,0,0,0,1,0,0,0,0,A01"]
    return write(
        root,
        {
            "Annotations_by_files/10dec_O11_1_ann.csv": VOTES + "\n".join(rows) + "\n",
            "Data/Video_close/10dec_O11_1.avi": video,
        },
    )


EIGHT = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
SEVEN = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"


def make_affwild2(root: Path, video: bytes = VIDEO) -> Path:
    """Both headers, unlabelled frames, two people in one video, a folder of faces with a gap, a missing video."""
    task = "annotations/EXPR_Classification_Challenge"
    return write(
        root,
        {
            f"{task}/Train_Set/134-30-1280x720.txt": f"{EIGHT}\n-1\n4\n4\n7\n1\n",
            f"{task}/Train_Set/video10_left.txt": f"{EIGHT}\n5\n5\n",
            f"{task}/Train_Set/video10_right.txt": f"{EIGHT}\n-1\n7\n",
            f"{task}/Validation_Set/video20.txt": f"{SEVEN}\n6\n2\n9\n\n0\n",
            f"{task}/Validation_Set/video21.txt": f"{SEVEN}\n3\n3\n3\n",
            f"{task}/Validation_Set/video22.txt": f"{SEVEN}\n0\n",
            f"{task}/Validation_Set/video23.txt": "valence,arousal\n0.1,0.2\n",
            "annotations/VA_Set/Train_Set/video10_left.txt": "valence,arousal\n-5,-5\n",
            "batch1/134-30-1280x720.mp4": video,
            "batch2/video10.mp4": video,
            "batch2/video20.avi": video,
            "batch2/video23.avi": video,
            "cropped_aligned/video21/00001.jpg": picture(),
            "cropped_aligned/video21/00003.jpg": picture(),
            "cropped_aligned/video10_left/00001.jpg": picture(),
        },
    )


AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
)


def make_affectnet_csv(root: Path) -> Path:
    """A list with a header and one without, NULL cells, every kind of number, names in other capitals."""
    return write(
        root,
        {
            "Manually_Annotated_file_lists/training.csv": AFFECTNET_HEADER
            + "1/a.jpg,2,2,4,4,1;2;3;4,3,0.1,0.2\n1/b.JPG,-2,-2,40,40,1;2,1,0.9,0.1\n"
            + "1/c.jpg,NULL,NULL,NULL,NULL,NULL,10,-2,-2\n2/gone.jpg,0,0,8,8,1;2,0,0,0\n1/a.jpg,x,0,8,8,1;2,0,0,0\n"
            + "1/a.jpg,0,0,8,8,1;2,-1,0,0\n",
            "Manually_Annotated_file_lists/validation.csv": "2/d.png,0,0,8,8,1;2;3;4;5;6,7,0,0\n"
            "2/e.png,0,0,8,8,1;2;3;4;5;6,6,0,0\n",
            "Manually_Annotated_Images/1/a.jpg": picture(10, size=(20, 10), kind="JPEG"),
            "Manually_Annotated_Images/1/b.jpg": picture(20, size=(20, 10), kind="JPEG"),
            "Manually_Annotated_Images/1/c.jpg": picture(30, kind="JPEG"),
            "Manually_Annotated_Images/2/d.png": picture(40),
            "Manually_Annotated_Images/2/e.png": picture(50),
        },
    )


def _array_file(value: object) -> bytes:
    file = BytesIO()
    np.save(file, np.array(value), allow_pickle=False)
    return file.getvalue()


def make_affectnet_npy(root: Path) -> Path:
    """Labels stored as strings and numbers of no dimension, sparse ids, an annotation without its image."""
    labels = {"train_set/annotations/7": "1", "train_set/annotations/120": 6, "val_set/annotations/7": "7"}
    files = {f"{name}_exp.npy": _array_file(value) for name, value in labels.items()}
    files |= {f"{name}_val.npy": _array_file("0.5") for name in labels}
    files |= {f"{name.replace('annotations', 'images')}.jpg": picture(kind="JPEG") for name in labels}
    files["train_set/annotations/9_exp.npy"] = _array_file("0")
    files["train_set/annotations/11_exp.npy"] = b"not an array"
    return write(root, files)


def pixels(level: int) -> str:
    """Return the pixels of a FER2013 image of one level, as its table has them."""
    return " ".join([str(level)] * 48 * 48)


def make_fer2013_csv(root: Path) -> Path:
    """Six images: 0 and 2 are one in two classes, 1 is also PublicTest's 3, 0 also PrivateTest's 4; two broken rows."""
    rows = (
        (0, 10, "Training"),
        (3, 20, "Training"),
        (6, 10, "Training"),
        (3, 20, "PublicTest"),
        (0, 10, "PrivateTest"),
        (5, 30, "PrivateTest"),
    )
    lines = [f"{label},{pixels(level)},{usage}\n" for label, level, usage in rows]
    return write(
        root, {"fer2013.csv": f"emotion,pixels,Usage\n{''.join(lines)}1,1 2 3,Training\n7,{pixels(0)},Training\n"}
    )


def make_fer2013_folders(root: Path) -> Path:
    """One image of train is also in test; a folder of no class."""
    return write(
        root,
        {
            "train/angry/a.jpg": picture(1),
            "train/neutral/b.jpg": picture(2),
            "test/surprise/c.jpg": picture(3),
            "test/angry/d.jpg": picture(1),
            "train/contempt/e.jpg": picture(4),
        },
    )


# Votes in the columns' order: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF.
FERPLUS_ROWS = {
    "clear": (0, 9, 1, 0, 0, 0, 0, 0, 0, 0),
    "divided": (4, 0, 0, 1, 3, 2, 0, 0, 0, 0),
    "contempt": (2, 0, 0, 0, 0, 0, 0, 8, 0, 0),
    "unknown": (0, 0, 0, 0, 4, 0, 0, 0, 6, 0),
}


def make_ferplus_csv(root: Path) -> Path:
    """The two tables; the second row has no image name, so that the third is image fer0000001."""
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    names = ("fer0000000.png", "", "fer0000001.png", "fer0000002.png", "fer0000003.png")
    votes = [FERPLUS_ROWS[word] for word in ("clear", "unknown", "divided", "contempt", "unknown")]
    usages = ("Training", "Training", "Training", "PublicTest", "PrivateTest")
    rows = [
        f"{usage},{name},{','.join(map(str, row))}\n" for usage, name, row in zip(usages, names, votes, strict=True)
    ]
    return write(
        root,
        {
            "fer2013.csv": "emotion,pixels,Usage\n"
            + "".join(f"0,{pixels(10 * row)},{usage}\n" for row, usage in enumerate(usages)),
            "fer2013new.csv": header + "".join(rows),
        },
    )


def make_ferplus_folders(root: Path) -> Path:
    """The authors' folders: names that are no row numbers, with a box and without, one image missing."""
    clear, divided = (",".join(map(str, FERPLUS_ROWS[word])) for word in ("clear", "divided"))
    return write(
        root,
        {
            "data/FER2013Train/label.csv": f'fer0000059.png,"(0, 0, 48, 48)",{clear}\nfer0000002.png,{divided}\n'
            f"fer0000003.png,{clear}\n,{clear}\n",
            "data/FER2013Train/fer0000059.png": picture(59),
            "data/FER2013Train/fer0000002.png": picture(2),
            "data/FER2013Test/label.csv": f"fer0032220.png,{clear}\n",
            "data/FER2013Test/fer0032220.png": picture(3),
        },
    )


def make_ferplus_packages(root: Path) -> Path:
    """The three packaged splits."""
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        votes = np.array(list(FERPLUS_ROWS.values()), np.uint8)
        images = np.arange(len(votes), dtype=np.uint8)[:, None, None] + np.zeros((1, 48, 48), np.uint8)
        labels = np.arange(len(votes), dtype=np.int8) % 8 - 1  # -1: unknown
        np.savez(root / f"ferplus_{split}.npz", image=images, votes=votes, fer2013_label=labels)
    return root


def make_rafdb(root: Path) -> Path:
    """A list with tabs and blanks, an image that is missing, a class that is none."""
    images = ("train_00001", "train_00002", "test_0001")
    files: dict[str, bytes | str] = {f"basic/Image/aligned/{name}_aligned.jpg": picture(kind="JPEG") for name in images}
    files["basic/EmoLabel/list_patition_label.txt"] = (
        "train_00001.jpg 5\ntrain_00002.jpg\t7\ntest_0001.jpg 1\ntest_0002.jpg 4\ntest_0001.jpg 0\n\n"
    )
    files["compound/EmoLabel/list_patition_label.txt"] = "train_00001.jpg 1\n"
    return write(root, files)


def make_cfee(root: Path) -> Path:
    """Categories in the folders' names and in the files', basic and compound; a picture of nobody."""
    names = (
        "Happily_Surprised/111.jpg",
        "happy/0111.jpg",
        "people/114/Appalled.jpg",
        "114_angrily disgusted.jpg",
        "115-neutral.jpg",
        "Awed/example.jpg",
        "logo.png",
    )
    return write(root, {name: picture(kind="JPEG") for name in names})


def make_kdef(root: Path) -> Path:
    """One person in both sessions, every angle, names in other letters; a name that the real release misspells."""
    names = (
        "AF01/AF01ANS.JPG",
        "AF01/AF01ANHL.JPG",
        "AF01/AF01ANFR.JPG",
        "BF01/BF01ANS.JPG",
        "AM35/am35afhr.jpg",
        "AM35/AM35NES.JPG",
        "AM35/AM35H.JPG",
    )
    return write(root, {name: picture(kind="JPEG") for name in names})


def make_jaffe(root: Path) -> Path:
    """Three people; one picture converted to another format, one beside the corpus."""
    names = ("KA.AN1.39.tiff", "KA.HA2.30.tiff", "YM.SU3.60.png", "NA.NE3.203.tiff", "KA.tiff")
    return write(root / "jaffe", {name: picture(kind="TIFF") for name in names})


def make_rafd(root: Path) -> Path:
    """Five cameras, three gazes, an emotion outside the seven."""
    shots = (
        "090_01_Caucasian_female_angry_frontal",
        "090_01_Caucasian_female_angry_left",
        "045_01_Caucasian_female_angry_frontal",
        "180_01_Caucasian_female_angry_frontal",
        "090_07_Moroccan_male_contemptuous_frontal",
        "135_07_Moroccan_male_fearful_right",
        "090_07_Moroccan_male_bored_frontal",
    )
    return write(root, {f"Rafd{shot}.jpg": picture(kind="JPEG") for shot in shots})


def make_sfew(root: Path) -> Path:
    """Both splits, one frame also aligned, a folder of no class."""
    names = (
        "Train/Angry/Airheads_000519240_00000005.png",
        "Train/Angry/Airheads_000519240_00000006.png",
        "Train_Aligned_Faces/Angry/Airheads_000519240_00000005.png",
        "Val_Aligned_Faces/Surprise/Bride_Wars_010203040_00000001.png",
        "set1/Neutral/Unknown_1.png",
        "Test/00001.png",
    )
    return write(root, {name: picture() for name in names})


def make_pedfe(root: Path, video: bytes = VIDEO) -> Path:
    """Four clips with a table of hit rates that lists a fifth, and one that no table lists; another table beside it."""
    clips = ("1_dg_1.avi", "1_ps_2.avi", "12_fg_1.avi", "12_ts_1.avi", "12_ss_1.avi")
    return write(
        root,
        {
            **{f"clips/{name}": video for name in clips},
            "clips.csv": "path,emotion,speaker,kind,hit_rate,genuineness,intensity\n"
            "clips/1_dg_1.avi,Disgust,01,genuine,78.79,2.12,2.94\nclips/1_ps_2.avi,Fear,01,posed,50.0,1,2\n"
            "clips/12_fg_1.avi,Happiness,12,genuine,100.0,1,2\nclips/12_ts_1.avi,Sadness,12,posed,,1,2\n"
            "clips/12_rg_1.avi,Anger,12,genuine,75.0,1,2\n",
            "labels.csv": "path,emotion,speaker\nclips/1_dg_1.avi,Disgust,01\n",
        },
    )


def make_pedfe_release(root: Path, video: bytes = VIDEO) -> Path:
    """The owners' table and folder."""
    return write(
        root,
        {
            "PEDFE_set_clips/1_dg_1.avi": video,
            "PEDFE_set_clips/1_ds_1.avi": video,
            "Supplemental_Material_T1.csv": "Subject,Gender,PEDFE_code,Type,Emotion,Hit rate Emotion (%),"
            "Hit rate Typo (%)\n1,F,1_dg_1,Genuine,Disgust,40.00,66.67\n1,F,1_ds_1,Posed,Disgust,60.00,36.36\n",
        },
    )


def tar_file(files: Mapping[str, bytes]) -> bytes:
    """Return a tar that is not compressed."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return content.getvalue()


PACKED_HEADER = "path,emotion,person,split,compound_a,compound_b\n"


def make_packed(name: str) -> Tree:
    """Return what makes faces in a tar: of both splits, of no split, of two emotions, missing, with a wrong split."""

    def make(root: Path) -> Path:
        pictures = {f"{name}/{number}.webp": picture(10 * number, kind="WEBP") for number in range(4)}
        pictures[f"./{name}/4.webp"] = picture(40, kind="WEBP")
        rows = (
            "0.webp,Anger,ann,train,,\n",
            "1.webp,Fear,ben,test,,\n",
            "2.webp,,ann,train,Surprise,Fear\n",
            "3.webp,Contempt,,,,\n",
            "4.webp,Sadness,,,,\n",
            "5.webp,Sadness,,,,\n",
            "0.webp,Anger,ann,dev,,\n",
            "0.webp,,ann,,Surprise,\n",
        )
        table = PACKED_HEADER + "".join(f"{name}/{row}" for row in rows)
        return write(root, {f"{name}_small.tar": tar_file(pictures), f"{name}_small.csv": table})

    make.__name__ = f"make_packed_{name}"
    return make


# Every layout of every corpus.
TREES: dict[str, tuple[Tree, ...]] = {
    "RAVDESS": (make_ravdess,),
    "CREMA-D": (make_cremad,),
    "SAVEE": (make_savee,),
    "AFEW": (make_afew,),
    "IEMOCAP": (make_iemocap,),
    "RAMAS": (make_ramas, make_ramas_votes),
    "Aff-Wild2": (make_affwild2,),
    "PEDFE": (make_pedfe, make_pedfe_release),
    "AffectNet": (make_affectnet_csv, make_affectnet_npy, make_packed("affectnet")),
    "CFEE": (make_cfee, make_packed("cfee")),
    "KDEF": (make_kdef, make_packed("kdef")),
    "JAFFE": (make_jaffe, make_packed("jaffe")),
    "RaFD": (make_rafd, make_packed("rafd")),
    "SFEW": (make_sfew, make_packed("sfew")),
    "FER2013": (make_fer2013_csv, make_fer2013_folders, make_ferplus_packages),
    "FER+": (make_ferplus_packages, make_ferplus_csv, make_ferplus_folders),
    "RAF-DB": (make_rafdb,),
}
