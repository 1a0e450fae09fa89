"""Signs as movement: smooth, told apart, the same for the same name."""

from itertools import combinations

import numpy as np
import pytest

from slt_pipeline.avatar.face import FACES, face, label_face
from slt_pipeline.avatar.hands import SHAPES, label_shape
from slt_pipeline.avatar.lexicon import LEXICON, PATHS, PLACES, Sign, sign_of
from slt_pipeline.avatar.motion import plan, rest, stroke
from slt_pipeline.avatar.reenact import reenact
from slt_pipeline.config.synth import SynthConfig

CONFIG = SynthConfig()
SENTENCE = [LEXICON[gloss] for gloss in ("MONTAG", "NORD", "REGEN", "SONNE")]
MOUTHS = ["neutral", "neutral", "stark", "neutral"]


def _plan(seed=0, **changes):
    return plan(SENTENCE, MOUTHS, CONFIG.model_copy(update=changes), np.random.default_rng(seed))


def test_a_sentence_starts_and_ends_at_rest_with_a_neutral_face():
    motion = _plan()
    assert np.array_equal(motion.hands[0], rest())
    assert np.array_equal(motion.hands[-1], rest())
    assert np.array_equal(motion.faces[0], face("neutral"))
    assert np.array_equal(motion.faces[-1], face("neutral"))


def test_strokes_follow_each_other_with_transitions_between():
    motion = _plan()
    assert len(motion.spans) == 4
    for (first, last), (following, _) in zip(motion.spans, motion.spans[1:], strict=False):
        assert last - first >= 4
        assert following - last >= 2


def test_the_face_is_held_during_the_modified_sign_alone():
    motion = _plan()
    (first, last) = motion.spans[2]
    assert np.allclose(motion.faces[first : last - 1], face("stark"))
    for other in (0, 1, 3):
        middle = sum(motion.spans[other]) // 2
        assert np.allclose(motion.faces[middle], face("neutral"))


def test_hands_never_jump():
    for seed in range(5):
        steps = np.hypot(*np.moveaxis(np.diff(_plan(seed).hands[:, :, :2], axis=0), 2, 0))
        assert steps.max() < 26


def test_no_strength_hides_the_adverbs():
    assert np.allclose(_plan(nonmanual_strength=0).faces, face("neutral"))


def test_without_jitter_a_sign_repeats_exactly():
    first, second = _plan(0, jitter=0, stroke_frames=(6, 6)), _plan(1, jitter=0, stroke_frames=(6, 6))
    (a, b), (c, d) = first.spans[1], second.spans[1]
    assert np.array_equal(first.hands[a:b], second.hands[c:d])


def test_all_signs_name_known_shapes_places_and_paths():
    for sign in [*LEXICON.values(), *(sign_of(f"UNBEKANNT{number}") for number in range(200))]:
        assert {sign.shape, sign.end_shape or sign.shape} <= SHAPES.keys()
        assert {sign.start, sign.end} <= PLACES.keys()
        assert sign.path in PATHS
        assert sign.hands in {"one", "mirror", "parallel", "base"}


def test_every_two_signs_of_the_lexicon_differ_clearly():
    """In pixels of the design, averaged over time: positions of both hands and of the dominant finger tips."""
    tracks = {gloss: _track(sign) for gloss, sign in LEXICON.items()}
    distances = {pair: np.abs(tracks[pair[0]] - tracks[pair[1]]).mean() for pair in combinations(tracks, 2)}
    nearest = min(distances, key=distances.get)
    assert distances[nearest] > 2.8, f"{nearest} look alike: {distances[nearest]:.2f}"


def _track(sign: Sign) -> np.ndarray:
    states = stroke(sign, 16)
    shapes = states[:, 0, 3:].reshape(16, 5, 3)
    directions = np.radians(states[:, 0, 2:3] + shapes[:, :, 0] + shapes[:, :, 2] / 2)
    tips = 5.5 * shapes[:, :, 1:2] * np.stack([np.sin(directions), -np.cos(directions)], axis=-1)
    return np.concatenate([states[:, :, :2].reshape(16, -1), tips.reshape(16, -1)], axis=1)


def test_an_unknown_gloss_gets_a_sign_from_its_name_alone():
    assert sign_of("VULKAN") == Sign("thumb", "chest", "front", "straight", "parallel", -30.0, repeat=1, size=9.0)
    assert len({sign_of(f"WORT{number}") for number in range(300)}) > 295


def test_labels_of_hands_and_mouths_all_look_different():
    assert len({label_shape(label) for label in range(1, 61)}) == 60
    faces = [label_face(label) for label in range(40)]
    assert all(not np.array_equal(a, b) for a, b in combinations(faces, 2))
    assert np.array_equal(faces[0], FACES["neutral"])


def test_reenactment_has_the_given_length_and_follows_the_labels():
    hand_labels = [0] * 4 + [5] * 8 + [0] * 2 + [9] * 8 + [0] * 8
    mouth_labels = [0] * 6 + [7] * 6 + [0] * 18
    signs = [LEXICON["NORD"], LEXICON["REGEN"]]
    motion = reenact(signs, [(4, 12), (12, 22)], 30, hand_labels=hand_labels, mouth_labels=mouth_labels)
    assert motion.hands.shape == (30, 2, 18)
    assert np.allclose(motion.hands[8, 0, 3:], SHAPES[label_shape(5)[0]])
    assert np.allclose(motion.hands[18, 0, 3:], SHAPES[label_shape(9)[0]])
    assert np.allclose(motion.hands[8, 1, 3:], SHAPES["relaxed"]), "the other hand of a one-handed sign rests"
    assert np.allclose(motion.hands[18, 1, 3:], SHAPES[label_shape(9)[0]]), "the other hand of a mirrored sign follows"
    assert np.allclose(motion.faces[8], label_face(7))
    assert np.allclose(motion.faces[20], face("neutral"))
    assert np.allclose(motion.hands[-1, 0, :2], PLACES["rest"], atol=1)


@pytest.mark.parametrize("spans", [[(0, 1), (1, 2)], [(0, 5), (5, 10)], [(6, 7), (9, 10)]])
def test_reenactment_copes_with_signs_that_fill_the_clip(spans):
    motion = reenact(SENTENCE[:2], spans, spans[-1][1])
    assert motion.hands.shape[0] == spans[-1][1]
    assert np.isfinite(motion.hands).all()
