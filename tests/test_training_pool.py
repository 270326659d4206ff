"""Several corpora become one set of faces: what trains, what chooses, and how often each face is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus_trees import (
    make_affectnet_csv,
    make_cfee,
    make_ferplus_packages,
    make_jaffe,
    make_packed,
    make_pedfe,
    make_rafdb,
    make_savee,
    picture,
    write,
)

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, UsageError
from emo_affectnet.training.corpora import FERPLUS_PREPROCESSING, FaceImages, LabelledImage, scan
from emo_affectnet.training.pool import read_pool, sampling_weights, set_aside


def test_faces_of_all_corpora_are_colour_of_one_side(tmp_path: Path) -> None:
    scans = [
        scan("FER+", make_ferplus_packages(tmp_path / "fer")),
        scan("CFEE", make_cfee(tmp_path / "cfee"), {"compound": "halves"}),
    ]
    train, valid = read_pool(scans, side=24, preprocessing=FERPLUS_PREPROCESSING)
    assert train.images.shape == (7, 24, 24, 3)  # a clear and a divided face of FER+, all five of CFEE
    assert train.images.dtype == np.uint8
    assert (train.images[0] == 0).all()  # the grey levels of the first face, repeated
    assert train.groups is not None
    assert np.bincount(train.groups).tolist() == [5, 2]
    np.testing.assert_allclose(train.targets.sum(axis=1), 1)
    assert len(valid) == 1  # only FER+ has a valid split


def test_a_test_split_has_no_part_in_training_and_faces_of_no_split_have(tmp_path: Path) -> None:
    found = scan("CFEE", make_packed("cfee")(tmp_path))
    train, valid = read_pool(
        [found, scan("FER+", make_ferplus_packages(tmp_path / "fer"))], side=8, preprocessing=FERPLUS_PREPROCESSING
    )
    assert Emotion.Fear not in train.labels[train.groups == 0]  # it is that of the test split
    assert train.labels[train.groups == 0].tolist() == [Emotion.Anger, Emotion.Sadness]
    assert len(valid) == 1


def test_without_a_valid_split_a_tenth_is_set_aside(tmp_path: Path) -> None:
    pictures = {f"kdef/AF{number:02d}/AF{number:02d}ANS.JPG": picture(number, kind="JPEG") for number in range(1, 31)}
    train, valid = read_pool([scan("KDEF", write(tmp_path, pictures))], side=8, preprocessing=FERPLUS_PREPROCESSING)
    assert (len(train), len(valid)) == (27, 3)


def make_image(corpus: str, name: str, person: str | None) -> LabelledImage:
    return LabelledImage(corpus, name, "fear", Emotion.Fear, lambda: np.zeros((8, 8, 3), np.uint8), person=person)


def test_people_who_are_named_are_set_aside_whole() -> None:
    images = [make_image("KDEF", f"{person} {shot}", f"F{person}") for person in range(20) for shot in range(5)]
    images += [make_image("RAF-DB", str(number), None) for number in range(100)]
    train, valid = set_aside(images, share=0.1, seed=0)
    assert len(train) + len(valid) == 200
    assert 15 <= len(valid) <= 20
    people = [{image.person for image in part if image.person} for part in (train, valid)]
    assert people[1]
    assert people[0].isdisjoint(people[1])


def test_people_of_one_name_in_two_corpora_are_two() -> None:
    images = [make_image(corpus, "1", "01") for corpus in ("KDEF", "RaFD")]
    train, valid = set_aside(images, share=0.1, seed=0)
    assert (len(train), len(valid)) == (1, 1)


def test_a_corpus_that_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PEDFE is for judging only"):
        read_pool([scan("PEDFE", make_pedfe(tmp_path / "pedfe"))], side=8, preprocessing=FERPLUS_PREPROCESSING)
    with pytest.raises(CorpusError, match="SAVEE is a corpus of videos"):
        read_pool([scan("SAVEE", make_savee(tmp_path / "savee"))], side=8, preprocessing=FERPLUS_PREPROCESSING)
    rafdb = scan("RAF-DB", make_rafdb(tmp_path / "rafdb"))
    only_test = replace(rafdb, images=tuple(image for image in rafdb.images if image.split == "test"))
    with pytest.raises(CorpusError, match="RAF-DB in .* has no face to train on"):
        read_pool(
            [scan("AffectNet", make_affectnet_csv(tmp_path / "affectnet")), only_test],
            side=8,
            preprocessing=FERPLUS_PREPROCESSING,
        )


def test_faces_that_cannot_be_read_are_no_set(tmp_path: Path) -> None:
    found = scan("JAFFE", make_jaffe(tmp_path))
    for image in (tmp_path / "jaffe").iterdir():
        image.write_bytes(b"text")
    with pytest.raises(CorpusError, match="no readable face to train on in JAFFE"):
        read_pool([found], side=8, preprocessing=FERPLUS_PREPROCESSING)


def make_faces(labels: list[int], groups: list[int] | None = None) -> FaceImages:
    return FaceImages(
        np.zeros((len(labels), 1, 1), np.uint8),
        np.eye(7, dtype=np.float32)[labels],
        np.array(labels),
        None if groups is None else np.array(groups),
    )


def test_rare_emotions_are_drawn_by_the_root_of_their_frequency() -> None:
    faces = make_faces([0] * 900 + [1] * 100)
    weights = sampling_weights(faces, balance=0.5, corpus_balance=0.75).numpy()
    shares = [weights[faces.labels == label].sum() / weights.sum() for label in (0, 1)]
    assert shares == pytest.approx([0.75, 0.25])  # sqrt(0.9) : sqrt(0.1) = 3 : 1
    np.testing.assert_allclose(sampling_weights(faces, balance=1.0, corpus_balance=0.75), 1)


def test_small_corpora_are_drawn_more_often_but_not_as_often_as_large_ones() -> None:
    groups = [0] * 10_000 + [1] * 100
    faces = make_faces([0] * 10_100, groups)
    weights = sampling_weights(faces, balance=0.5, corpus_balance=0.75).numpy()
    assert weights[-1] / weights[0] == pytest.approx(100**0.25, rel=1e-5)  # 3.2
    np.testing.assert_allclose(sampling_weights(faces, balance=0.5, corpus_balance=1.0), 1, rtol=1e-6)


def test_emotions_are_balanced_over_what_the_corpora_give_together() -> None:
    """An emotion that only a small corpus has is drawn by its share of all draws, not twice over."""
    faces = make_faces([0] * 900 + [1] * 100, [0] * 900 + [1] * 100)
    weights = sampling_weights(faces, balance=0.5, corpus_balance=0.5).numpy()
    # The corpora are drawn 3 : 1, so that the emotions would be; their roots are 1.732 : 1.
    assert weights[:900].sum() / weights[900:].sum() == pytest.approx(3**0.5, rel=1e-5)
