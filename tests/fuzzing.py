"""What the fuzz tests share: how many examples a run tries, and damage to bytes."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from emo_affectnet.errors import EmoAffectNetError

USUAL = 100  # `max_examples` of Hypothesis's own profile

# Cells and words that have broken readers of tables and texts before.
WORDS = (
    "", "0", "-1", "1e999", "-0.0", "nan", "NaN", "inf", "1" * 400, "9" * 5000, "0x10", "1_000", "\N{SUPERSCRIPT TWO}",
    "\N{ARABIC-INDIC DIGIT THREE}", "null", "true", "[]", "{}", '"', "'", ",", ";", "\t", "\r", "\0", "\ufeff",
    "\N{RIGHT-TO-LEFT OVERRIDE}", "\u2028", "../..", "/etc/passwd", "=1+1", "%s%n", "{0.__class__}", "[" * 3000,
)  # fmt: skip


def examples(count: int) -> settings:
    """Try `count` examples, the same in each run; a profile such as `fuzz` tries more, and others each time."""
    is_usual = settings.default.max_examples == USUAL
    return settings(
        max_examples=max(count * settings.default.max_examples // USUAL, 1),
        derandomize=is_usual,
        deadline=None,
        phases=[phase for phase in Phase if phase is not Phase.explain],  # which traces all code, and takes minutes
        suppress_health_check=list(HealthCheck),
        database=None if is_usual else settings.default.database,
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return `content` with pieces cut out, put in and overwritten."""
    piece = st.one_of(
        st.binary(max_size=8),
        st.sampled_from([word.encode() for word in WORDS]),
        st.sampled_from([b"\xff", b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\x1f\x8b", b"PK\x05\x06"]),
    )
    edits = st.tuples(st.integers(0, len(content)), st.sampled_from([0, 0, 1, 2, 8, 40, 400]), piece)
    for place, length, new in draw(st.lists(edits, min_size=1, max_size=4)):
        content = content[:place] + new + content[place + length :]
    return content


def check_sentence(error: EmoAffectNetError) -> None:
    """Check that an error speaks to a person: in one line that ends in a full stop."""
    text = str(error)
    assert text.endswith("."), text
    assert "\n" not in text, text
