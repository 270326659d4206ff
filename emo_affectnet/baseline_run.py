"""A run that has to know all its people first: what was read of them becomes what is taken off each.

Three steps, each of which goes on where it was. READ leaves the reading of each video. MOVE, for the people who have a
baseline of their own, leaves what their recordings read as once their features are moved. REPORT writes the reports
from the readings. No step but the first looks at a video. Here are the inputs of the steps; `batch` runs them and
`analysis` does them.
"""

import json
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .baseline import LEAST_SECONDS, Rest, describe_amount, pool_rests
from .errors import ReportError, UsageError
from .inputs import MOVE, PERSON, READ, REPORT, RUN, Input, Step
from .people import PRIMARY, Persons
from .places import telling
from .records import record_path
from .report_folder import moved_name, reading_name, reading_path


@dataclass(frozen=True)
class Recording:
    """A video that was read, and what is known of its people."""

    source: Input
    rests: Mapping[int, Rest]  # by track; empty if no face was seen
    own: Mapping[int, str]  # by track, the people who have a baseline of their own


@dataclass(frozen=True)
class Cast:
    """Everyone in the recordings of a run."""

    recordings: Sequence[Recording]  # in the order of their labels
    people: Mapping[str, Rest]  # everybody who is in them

    def leave_out(self, labels: Container[str]) -> "Cast":
        """Return the same people without the recordings of some labels."""
        return replace(self, recordings=[each for each in self.recordings if each.source.label not in labels])

    def has_enough(self, person: str) -> bool:
        """Whether there is enough of a person for a baseline of their own."""
        rest = self.people[person]
        return rest.recordings > 1 or rest.seconds >= LEAST_SECONDS


def plan_readings(inputs: Sequence[Input]) -> list[Input]:
    """Return the first step for each video."""
    return [replace(source, name=reading_name(source.name), step=Step(READ)) for source in inputs]


def gather(inputs: Sequence[Input], save: Path, persons: Persons, *, baseline: str) -> Cast:
    """Return everyone in the videos that were read into `save`.

    Raises:
        UsageError: a table of people names somebody who is not in a video.
        ReportError: a reading is not there any more.
    """
    found = {source: _read_rests(save, reading_name(source.name)) for source in sorted(inputs, key=_take_label)}
    named: dict[str, dict[int, str]] = defaultdict(dict)
    for (label, track), person in persons.items() if baseline == PERSON else ():
        named[label][track] = person
    recordings = [
        Recording(source, rests, _match(named[source.label], rests, source)) for source, rests in found.items()
    ]
    parts: dict[str, list[Rest]] = defaultdict(list)
    for each in recordings:
        for track, person in each.own.items():
            parts[person].append(each.rests[track])
    return Cast(recordings, {person: pool_rests(rests) for person, rests in parts.items()})


def _take_label(source: Input) -> str:
    return source.label


def _match(named: Mapping[int, str], rests: Mapping[int, Rest], source: Input) -> dict[int, str]:
    """Return the people of a video by track, of those that were seen."""
    if strangers := sorted(set(named) - set(rests) - {PRIMARY}):
        raise UsageError(
            f"The table of people names track {strangers[0]} of {source.label}, but {len(rests)} "
            f"{'person was' if len(rests) == 1 else 'people were'} seen there. Correct the table; the readings stay."
        )
    return {track: person for track, person in named.items() if track in rests}


def _read_rests(save: Path, name: str) -> dict[int, Rest]:
    record = record_path(save, name)
    with telling(ReportError, f"The reading {record} cannot be used"):
        rests = json.loads(record.read_bytes())["rests"]
        return {int(track): Rest.from_json(fields) for track, fields in rests.items()}


def plan_moves(cast: Cast, save: Path) -> list[Input]:
    """Return the second step for each recording of somebody who has a baseline of their own."""
    texts = {person: json.dumps(rest.to_json()) for person, rest in cast.people.items() if cast.has_enough(person)}
    return [
        _take_step(each.source, save, moved_name(each.source.name), Step(MOVE, rests=known))
        for each in cast.recordings
        if (known := tuple((track, texts[person]) for track, person in sorted(each.own.items()) if person in texts))
    ]


def plan_reports(cast: Cast, save: Path, moves: Sequence[Input]) -> list[Input]:
    """Return the last step for each recording; `moves` are those of the second step that were done.

    Raises:
        ReportError: what the second step left is not there any more.
    """
    moved = {each.label: _read_rests(save, each.name) for each in moves}
    raw = [each.rests[PRIMARY] for each in cast.recordings if each.rests]
    if not raw:
        return [_take_step(each.source, save, each.source.name, Step(REPORT)) for each in cast.recordings]
    after = [moved.get(each.source.label, each.rests)[PRIMARY] for each in cast.recordings if each.rests]
    whole = pool_rests(raw)
    run = json.dumps([_drop_features(whole).to_json(), _drop_features(pool_rests(after)).to_json()])
    steps = {each.label: dict(each.step.rests) for each in moves if each.step}
    inputs = []
    for each in cast.recordings:
        known = steps.get(each.source.label, {})
        rests = tuple((track, known.get(track, "")) for track in sorted(each.rests))
        words = _describe(cast, each, whole, has_own=PRIMARY in known)
        step = Step(REPORT, words, rests, run) if rests else Step(REPORT)
        inputs.append(_take_step(each.source, save, each.source.name, step))
    return inputs


def _take_step(source: Input, save: Path, name: str, step: Step) -> Input:
    return replace(source, path=reading_path(save, source.name), name=name, step=step)


def _drop_features(rest: Rest) -> Rest:
    """Return a rest of which only the probabilities are needed, which is short."""
    return replace(rest, features=np.zeros(1))


def _describe(cast: Cast, recording: Recording, run: Rest, *, has_own: bool) -> str:
    """Say what the baseline of the primary person of a recording rests on."""
    person = recording.own.get(PRIMARY)
    if has_own and person:
        own = cast.people[person]
        return describe_amount(PERSON, own.recordings, own.seconds)
    words = describe_amount(RUN, run.recordings, run.seconds)
    if not person:
        return words
    return f"{words}; a single recording with {cast.people[person].seconds:.1f} s of this person is too short"
