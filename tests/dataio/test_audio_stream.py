"""A stream of blocks is the whole recording, whatever the blocks."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio.audio import read_audio, resample_blocks
from speechbrain_ext.dataio.audio_stream import cut_windows, read_mono_blocks, trace_envelope


def split(wav, lengths):
    """Cut a waveform into blocks, the lengths over and over."""
    blocks = []
    while len(wav):
        blocks.append(wav[: lengths[len(blocks) % len(lengths)]])
        wav = wav[len(blocks[-1]) :]
    return blocks


@hypothesis.given(
    n=st.integers(1, 60),
    n_window=st.integers(1, 20),
    hop_share=st.floats(0, 1),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
)
def test_cut_windows_gives_those_of_the_whole_whatever_the_blocks(n, n_window, hop_share, lengths):
    n_hop = max(1, round(hop_share * n_window))
    wav = np.arange(n, dtype=np.float32)
    expected = [(start, wav[start : start + n_window].tolist()) for start in range(0, n - n_window + 1, n_hop)]
    if not expected or expected[-1][1][-1] != n - 1:
        expected.append((max(0, n - n_window), wav[-n_window:].tolist()))
    found = [(start, window.tolist()) for start, window in cut_windows(split(wav, lengths), n_window, n_hop)]
    assert found == expected


@pytest.mark.parametrize("n_frames", [999, 4096, 10**6])
@pytest.mark.parametrize(("sample_rate", "n_channels"), [(16000, 1), (16000, 3), (44100, 2), (8000, 1)])
def test_blocks_are_the_waveform_that_read_audio_gives(tmp_path, sample_rate, n_channels, n_frames):
    wav = 0.2 * np.random.default_rng(0).standard_normal((30011, n_channels))
    sf.write(tmp_path / "a.flac", wav, sample_rate)
    blocks = list(resample_blocks(read_mono_blocks(tmp_path / "a.flac", n_frames), sample_rate, 16000))
    whole = read_audio(tmp_path / "a.flac", "a", 16000)
    assert len(blocks) >= 30011 / n_frames
    found = np.concatenate(blocks)
    assert found.dtype == np.float32 and found.shape == whole.shape
    if sample_rate == 16000:
        assert (found == whole).all()
    np.testing.assert_allclose(found, whole, atol=1e-6)


@pytest.mark.parametrize("lengths", [[7], [1], [3, 1]])
def test_trace_envelope_of_equal_stretches_in_blocks(lengths):
    wav = np.float32([3, -1, 2, 0, 5, 4, -2])
    envelope = np.tile(np.float32([np.inf, -np.inf]), (3, 1))
    passed = np.concatenate(list(trace_envelope(split(wav, lengths), 7, envelope)))
    assert (passed == wav).all()
    # Sample i of 7 is in stretch 3 i // 7: 0, 0, 0, 1, 1, 2, 2.
    assert envelope.tolist() == [[-1, 3], [0, 5], [-2, 4]]
