"""Speech by espeak-ng: what a manner changes, measured in the samples."""

import numpy as np
import pytest

from speechbrain_ext.corpora.espeak import Espeak, Manner, say_with_effort

TEXT, VOICE = "We can talk about it later.", "en+f2"
NEUTRAL = Manner(0.0, 1.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def espeak():
    return Espeak()


def test_speech_is_at_full_scale_1_and_faster_speech_is_shorter(espeak):
    slow, fast = (espeak.say(TEXT, VOICE, NEUTRAL._replace(rate_factor=rate), seed=1) for rate in (0.8, 1.6))
    assert 0.05 < np.abs(slow).max() <= 1
    assert len(slow) > 1.5 * len(fast) > espeak.sample_rate_hz / 2


def test_more_effort_is_louder_and_brighter(espeak):
    def measure(effort_db):
        rng = np.random.default_rng(0)
        wav = say_with_effort(espeak, TEXT, VOICE, NEUTRAL._replace(effort_db=effort_db), 16000, rng)
        return 10 * np.log10(np.mean(wav**2)), np.mean(np.diff(wav) ** 2) / np.mean(wav**2)

    (quiet_db, dull), (loud_db, bright) = measure(-6.0), measure(6.0)
    assert loud_db - quiet_db == pytest.approx(12, abs=0.5)
    assert bright > 1.5 * dull


def test_a_voice_that_is_not_there_is_named(espeak):
    with pytest.raises(RuntimeError, match="espeak-ng has no voice xx-nowhere"):
        espeak.say(TEXT, "xx-nowhere", NEUTRAL, seed=1)
