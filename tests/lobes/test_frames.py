"""Packed and padded frames: the same clips, the same attention, and nothing of the padding in either."""

import pytest
import torch

from speechbrain_ext.lobes.frames import PackedFrames, PaddedFrames

LENGTHS = {
    "ragged": [4, 2, 5],
    "equal": [3, 3],
    "one": [6],
    "a frame each": [1, 1, 1],
    "longer rows": [2, 3],
    "equal in longer rows": [3, 3],
}
N_FRAMES = {"longer rows": 5, "equal in longer rows": 4}
N_HEADS = 2


def layouts(lengths, n_frames, eager=False):
    lengths = torch.tensor(lengths)
    padded = bool((lengths < n_frames).any())
    return PackedFrames(lengths, n_frames, eager), PaddedFrames(lengths, n_frames, padded, eager)


@pytest.fixture(params=LENGTHS)
def batch(request):
    """Rows [B, F, 6] with ones' worth of noise in the padding, and the lengths of the clips."""
    lengths = LENGTHS[request.param]
    n_frames = N_FRAMES.get(request.param, max(lengths))
    return torch.randn(len(lengths), n_frames, 6, generator=torch.Generator().manual_seed(0)), lengths


def test_eager_attention_keeps_the_precision_of_autocast():
    frames = PackedFrames(torch.tensor([3, 2]), 3, eager=True)
    queries = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        attended = frames.attend(queries.bfloat16(), queries.bfloat16(), queries.bfloat16(), N_HEADS)
    assert attended.dtype == torch.bfloat16
    expected = torch.cat([attention_by_hand(x, x, x) for x in queries.split([3, 2])])
    torch.testing.assert_close(attended.float(), expected, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("eager", [True, False])
def test_eager_is_computed_step_by_step_and_sdpa_is_not(batch, eager, monkeypatch):
    rows, lengths = batch
    calls, sdpa = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **options: calls.append(args) or sdpa(*args, **options),
    )
    for frames in layouts(lengths, rows.shape[1], eager):
        calls.clear()
        own = frames.pack(rows)
        frames.attend(own, own, own, N_HEADS)
        frames.attend(frames.first(own), own, own, N_HEADS)
        assert bool(calls) != eager


def attention_by_hand(queries, keys, values):
    """Attend within one clip, [F, D] each, head by head."""
    size = keys.shape[1] // N_HEADS
    heads = []
    for h in range(N_HEADS):
        q, k, v = (x[:, h * size : (h + 1) * size] for x in (queries, keys, values))
        weights = (q @ k.T / size**0.5).exp()
        heads.append(weights / weights.sum(dim=1, keepdim=True) @ v)
    return torch.cat(heads, dim=1)


def test_packing_keeps_each_clips_own_frames_in_order(batch):
    rows, lengths = batch
    packed, _ = layouts(lengths, rows.shape[1])
    expected = torch.cat([row[:n] for row, n in zip(rows, lengths)])
    assert torch.equal(packed.pack(rows), expected)
    again = packed.pad(packed.pack(rows))
    assert again.shape == rows.shape
    for row, original, n in zip(again, rows, lengths):
        assert torch.equal(row[:n], original[:n]) and not row[n:].any()


def test_padding_is_zero_in_padded_rows(batch):
    rows, lengths = batch
    _, padded = layouts(lengths, rows.shape[1])
    for row, original, n in zip(padded.pad(padded.pack(rows)), rows, lengths):
        assert torch.equal(row[:n], original[:n]) and not row[n:].any()


@pytest.mark.parametrize("kind", [0, 1], ids=["packed", "padded"])
def test_first_and_mean_are_of_a_clips_own_frames(batch, kind):
    rows, lengths = batch
    frames = layouts(lengths, rows.shape[1])[kind]
    assert torch.equal(frames.first(frames.pack(rows)), rows[:, 0])
    expected = torch.stack([row[:n].mean(dim=0) for row, n in zip(rows, lengths)])
    torch.testing.assert_close(frames.mean(frames.pack(rows)), expected)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("kind", [0, 1], ids=["packed", "padded"])
def test_attention_and_its_gradients_are_those_of_each_clip_alone(batch, kind, eager):
    rows, lengths = batch
    frames = layouts(lengths, rows.shape[1], eager)[kind]
    results = []
    for by_hand in (False, True):
        leaves = [(rows * scale).requires_grad_() for scale in (1.0, 0.7, -1.3)]
        if by_hand:
            clips = [attention_by_hand(*(x[i, :n] for x in leaves)) for i, n in enumerate(lengths)]
            firsts = torch.stack([clip[0] for clip in clips])
        else:
            queries, keys, values = (frames.pack(x) for x in leaves)
            attended = frames.attend(queries, keys, values, N_HEADS)
            assert attended.shape == queries.shape
            clips = [row[:n] for row, n in zip(frames.pad(attended), lengths)]
            firsts = frames.attend(frames.first(queries), keys, values, N_HEADS)
        sum(((i + 1) * clip.square()).sum() for i, clip in enumerate([*clips, firsts])).backward()
        results.append([*clips, firsts, *(x.grad for x in leaves)])
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_density_is_the_share_of_own_frames():
    assert PackedFrames(torch.tensor([4, 2]), 4).density == 0.75
    assert PackedFrames(torch.tensor([3, 3]), 3).density == 1
    assert PackedFrames(torch.tensor([3, 3]), 6).density == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[2000, 1500], [2000, 2000]])
def test_mean_in_half_precision_is_that_of_double(lengths, dtype):
    """2000 frames around 40 sum to 80000, beyond float16; 8 bits of bfloat16 stop counting at 256."""
    torch.manual_seed(0)
    rows = (40 + torch.randn(2, 2000, 3)).to(dtype)
    expected = torch.stack([row[:length].double().mean(dim=0) for row, length in zip(rows, lengths)])
    packed, padded = PackedFrames(torch.tensor(lengths), 2000), PaddedFrames(torch.tensor(lengths), 2000)
    for found in (packed.mean(packed.pack(rows)), padded.mean(rows)):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=0)
