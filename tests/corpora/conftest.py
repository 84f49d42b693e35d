"""What the tests of corpora share."""

import numpy as np
import pytest
import soundfile as sf


@pytest.fixture
def recordings(tmp_path):
    """Write four recordings of noise, all different and equally long."""
    rng = np.random.default_rng(1)
    (tmp_path / "deep").mkdir()
    for name in ("a.wav", "b.wav", "c.wav", "deep/d.wav"):
        sf.write(tmp_path / name, rng.uniform(-0.5, 0.5, 16000), 16000)
    return tmp_path
