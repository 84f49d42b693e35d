"""The benchmarks: each runs at a tiny size, its numbers fit together, and the peers are what they are said to be."""

import json
import mmap
import statistics
import sys
from pathlib import Path

import pytest
import torch
from torchaudio.models import hubert_large

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import data as data_benchmark  # noqa: E402
import flops  # noqa: E402
import growth  # noqa: E402
import infer  # noqa: E402
import load  # noqa: E402
import ours  # noqa: E402
import peers  # noqa: E402
import prepare  # noqa: E402
import timing  # noqa: E402
import train_step  # noqa: E402

from speechbrain_ext.errors import InputError  # noqa: E402
from speechbrain_ext.truncated_hubert import TruncatedHuBERT  # noqa: E402

# One convolution of kernel 2 and stride 2 makes 4 frames of 8 samples; width 4, feed-forward of 8.
BY_HAND = {
    "hidden_size": 4,
    "intermediate_size": 8,
    "conv_dim": [3],
    "conv_kernel": [2],
    "conv_stride": [2],
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 2,
}
STEM = 2 * 4 * 1 * 3 * 2  # frames, channels in and out, kernel
PROJECTION = 2 * 4 * 3 * 4
POSITION = 2 * 4 * 4 * (4 // 2) * 5
LAYER = 4 * 2 * 4 * 4 * 4 + 2 * 2 * 4 * 4 * 4 + 2 * 2 * 4 * 4 * 8  # four products of 4x4; scores and sums; 4x8 and 8x4
# Keys and values of 4 frames; query and output of one; scores and sums of one; feed-forward of one.
FIRST = 2 * 2 * 4 * 4 * 4 + 2 * 2 * 1 * 4 * 4 + 2 * 2 * 4 * 4 + 2 * 2 * 4 * 8


@pytest.fixture(scope="module")
def tiny():
    return ours.sizes("tiny")


@pytest.fixture(scope="module")
def recipe(tiny):
    return ours.Recipe(*tiny)


@pytest.fixture(scope="module")
def noise():
    return ours.Noise(200_000)


def run(module, argv, tmp_path, capsys):
    """Run a benchmark; return (what it printed, what it wrote)."""
    module.main([*argv, "--json", str(tmp_path / "found.json")])
    return capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())


class TestFlops:
    def test_forward_by_hand(self):
        assert flops.forward_flops(BY_HAND, 8, 2, first_frame=False) == {
            "stem": STEM,
            "projection": PROJECTION,
            "position": POSITION,
            "layers": 2 * LAYER,
        }
        assert flops.forward_flops(BY_HAND, 8, 2, first_frame=True)["layers"] == LAYER + FIRST

    def test_training_by_hand(self):
        frozen = flops.training_flops(BY_HAND, 8, 2, first_frame=True, trained_stem=False)
        assert frozen == STEM + 2 * PROJECTION + 3 * (POSITION + LAYER + FIRST)
        # The one convolution of the stem gets gradients of its weights; the waveform, its input, gets none.
        trained = flops.training_flops(BY_HAND, 8, 2, first_frame=False, trained_stem=True, n_forward_only=1)
        assert trained == 2 * STEM + 3 * (PROJECTION + POSITION + 2 * LAYER) + LAYER

    def test_forward_is_what_torch_counts(self, tiny, noise):
        from torch.utils.flop_counter import FlopCounterMode

        def product(_, left, right, **__):
            return 2 * left[0] * left[1] * right[1]

        in_place = {torch.ops.aten.addmm_: product}  # which torch's counter does not know by itself

        config, n_layers = tiny
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers, attn_implementation="eager").eval()
        counter = FlopCounterMode(display=False, custom_mapping=in_place)
        n_samples = 400 + 48 * 320  # 49 frames, and no sample that none of them sees
        with counter, torch.no_grad():
            encoder(noise(n_samples).unsqueeze(0))
        counted = counter.get_total_flops()
        found = flops.forward_flops(config, n_samples, n_layers, first_frame=True)
        frames = flops.frames(config, n_samples)[-1]
        # torch runs the convolution of the positions for one frame more, which is thrown away.
        assert counted == sum(found.values()) + found["position"] // frames

    @pytest.mark.parametrize("size", ["tiny", "small"])
    def test_parameters_are_the_encoders(self, size):
        config, n_layers = ours.sizes(size)
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers)
        assert flops.n_parameters(config, n_layers) == sum(p.numel() for p in encoder.parameters())


class TestPeers:
    def test_authors_model_is_hubert_large(self):
        config, n_layers = ours.sizes("large")
        with torch.device("meta"):
            expected = hubert_large()
            made = peers.AuthorsLoop(config, n_layers, device="meta").model
        shapes = {name: parameter.shape for name, parameter in expected.named_parameters()}
        assert {name: parameter.shape for name, parameter in made.named_parameters()} == shapes
        assert len(made.encoder.transformer.layers) == 24

    def test_authors_batch_is_fixed_and_padded_with_means(self, tiny, noise):
        peer = peers.AuthorsLoop(*tiny)
        clips = [noise(50_000), noise(120_000)]
        wavs, targets = peer.batch(clips)
        assert wavs.shape == (2, 100_000) and targets.sum() == 2
        assert torch.equal(wavs[0, 50_000:], clips[0].mean().expand(50_000))
        assert torch.equal(wavs[1], clips[1][:100_000])

    def test_authors_loop_runs_all_layers_and_trains_the_stem(self, tiny, noise):
        config, n_layers = tiny
        peer = peers.AuthorsLoop(config, n_layers)
        calls = []
        for layer in peer.model.encoder.transformer.layers:
            layer.register_forward_hook(lambda layer, args, out: calls.append(layer))
        stem = peer.model.feature_extractor.conv_layers[0].conv.weight
        before = stem.detach().clone()
        peer.step(peer.batch([noise(100_000)] * 2))
        assert len(calls) == config["num_hidden_layers"] == n_layers + 1
        assert not torch.equal(stem, before)
        assert calls[-1].attention.k_proj.weight.grad is None  # the loss does not depend on the last one
        assert calls[-2].attention.k_proj.weight.grad is not None

    def test_authors_precisions(self, tiny):
        assert [peers.make_peer(key, *tiny, "cpu", "fp16").precision for key in "abcd"] == [
            "fp32",
            "bf16",
            "fp16",
            "fp16",
        ]

    def test_authors_products_have_no_tf32(self, tiny, noise, request):
        before = torch.backends.cuda.matmul.allow_tf32
        request.addfinalizer(lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", before))
        torch.backends.cuda.matmul.allow_tf32 = True  # as SpeechBrain leaves it
        peer = peers.AuthorsLoop(*tiny)
        seen = []
        peer.f_0.register_forward_hook(lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32))
        peer.step(peer.batch([noise(1000)]))
        assert seen == [False] and torch.backends.cuda.matmul.allow_tf32

    @pytest.mark.parametrize("kind", [peers.StockLobe, peers.SequenceClassification])
    def test_lobes_train_all_but_the_stem_under_bf16_too(self, kind, tiny, noise):
        config, n_layers = tiny
        peer = kind(config, n_layers, precision="bf16")
        model = peer.lobe.model if kind is peers.StockLobe else peer.model.hubert
        assert len(model.encoder.layers) == n_layers
        batch = peer.batch([noise(20_000), noise(30_000)])
        assert batch[0].shape == (2, 30_000)
        assert batch[1].tolist() == pytest.approx([2 / 3, 1])
        stem, projection = (
            model.feature_extractor.conv_layers[0].conv.weight,
            model.feature_projection.projection.weight,
        )
        before = stem.detach().clone(), projection.detach().clone()
        peer.step(batch)
        assert torch.equal(stem, before[0]) and not torch.equal(projection, before[1])

    def test_stock_lobe_has_22_layers_and_the_encoders_weights(self):
        config, n_layers = ours.sizes(
            "small", hidden_size=16, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7
        )
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers)
        peer = peers.StockLobe(config, n_layers, weights=encoder.model.state_dict())
        found = peer.lobe.model.state_dict()
        assert len(peer.lobe.model.encoder.layers) == 22
        assert all(torch.equal(found[key], value) for key, value in encoder.model.state_dict().items())


class TestRecipe:
    def test_plan_is_loso_yamls(self, recipe):
        train, valid = recipe.plan(ours.iemocap_manifest())
        assert sum(map(len, train)) + sum(map(len, valid)) == 5531 - 1085  # fold 1 tests on session 1
        assert {len(batch) for batch in train[:-1]} >= {16}
        assert max(n for batch in train for pair in batch for n in pair) == 100_000
        paired = statistics.fmean(pair[1] > 0 for batch in train for pair in batch)
        assert abs(paired - recipe.hparams["mixup_prob"]) < 0.03
        assert max(n for batch in valid for n, _ in batch) > 100_000  # whole utterances

    def test_step_trains_and_keeps_the_batch(self, recipe, noise):
        batch = recipe.batch([(30_000, 0), (20_000, 40_000)], noise)
        before = batch["sig"].data.clone()
        weight = recipe.hparams["modules"]["f_0"].weight
        old = weight.detach().clone()
        recipe.step(batch)
        assert not torch.equal(weight, old) and torch.equal(batch["sig"].data, before)

    def test_overrides_are_yaml(self):
        assert ours.parse_overrides(["lr=0.1", "augment_prob=0", "source=null"]) == {
            "lr": 0.1,
            "augment_prob": 0,
            "source": None,
        }
        with pytest.raises(InputError, match="KEY=VALUE"):
            ours.parse_overrides(["lr"])


def test_spread_out_takes_the_middle_of_each_part():
    assert train_step.spread_out([5, 3, 1, 2, 4, 0], 3, int) == [1, 3, 5]
    assert train_step.spread_out([5, 3], 8, int) == [3, 5]


def test_seconds_of_counts_padding():
    assert train_step.seconds_of([[16000, 32000], [16000]]) == pytest.approx((4 / 3, 5 / 3))


def test_train_step_numbers_fit_together(tmp_path, capsys):
    argv = ["--size", "tiny", "--steps", "1", "--repeats", "1", "--rivals", "acd", "--matmul_s", "0.05"]
    out, found = run(train_step, argv, tmp_path, capsys)
    us = found["rivals"]["ours"]
    for key in "acd":
        row = found["rivals"][key]
        assert row["rate"] == pytest.approx([row["n_clips"] / t for t in row["seconds"]])
        assert row["ratio"] == pytest.approx([a / b for a, b in zip(us["rate"], row["rate"])])
        assert f"({key}) " in out
    assert [found["rivals"][key]["n_layers"] for key in ("ours", *"acd")] == [3, 4, 3, 3]
    assert found["rivals"]["a"]["padded_s"] == found["rivals"]["c"]["padded_s"] == 6.25
    assert us["useful_s"] <= us["padded_s"] <= 6.25
    assert found["utilisation"] == pytest.approx(
        found["our_flops_per_clip"] * statistics.median(us["rate"]) / found["matmul_flops_per_s"]
    )
    assert found["versions"]["torch"] and found["machine"]["cpu"]


def test_train_step_refuses_what_it_does_not_know(capsys):
    with pytest.raises(InputError, match="--rivals"):
        train_step.parse(["--rivals", "x"])
    with pytest.raises(InputError, match="--steps"):
        train_step.parse(["--steps", "-1"])
    with pytest.raises(InputError, match="--size"):
        ours.sizes("huge")


def test_infer_numbers_fit_together(tmp_path, capsys):
    out, found = run(infer, ["--size", "tiny", "--clips", "5", "--batch_size", "2", "--repeats", "1"], tmp_path, capsys)
    assert list(found["ways"]) == list(infer.WAYS)
    for case in found["ways"].values():
        for key in "cd":
            assert case["ratio"][key] == pytest.approx(
                [a / b for a, b in zip(case["seconds"][key], case["seconds"]["ours"])]
            )
    assert found["difference_of_batching"] < 1e-5
    assert "a loop over files" in out


def test_load_numbers_fit_together(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load, "FORMATS", {"safetensors": load.FORMATS["safetensors"]})
    monkeypatch.setattr(load, "RIVALS", {"ours": load.RIVALS["ours"]})  # each is a process that imports everything
    out, found = run(load, ["--size", "tiny", "--repeats", "1"], tmp_path, capsys)
    config, n_layers = ours.sizes("tiny")
    # The weights that `child` counts are those of the kept layers, in float32.
    assert found["needed_bytes"] == 4 * flops.n_parameters(config, n_layers)
    row = found["formats"]["safetensors"]["ours"]
    assert row["of_needed"] == pytest.approx([n / found["needed_bytes"] for n in row["peak_bytes"]])
    assert "TruncatedHuBERT" in out


@pytest.mark.parametrize("rival", list(load.RIVALS))
def test_load_rivals_keep_as_many_layers(rival, tmp_path):
    config, n_layers = ours.sizes("tiny")
    load.write_checkpoint(tmp_path, config, "bin")
    assert not (tmp_path / load.FORMATS["safetensors"]).exists()
    model = load.load(rival, tmp_path, n_layers)
    assert len((model.model if rival == "ours" else model).encoder.layers) == n_layers < config["num_hidden_layers"]


def test_data_numbers_fit_together(tmp_path, capsys):
    argv = ["--workers", "0", "--clips", "100", "--repeats", "1", "--step_rate", "1000000"]
    out, found = run(data_benchmark, argv, tmp_path, capsys)
    rates = found["rates"]["0"]
    assert found["ratio"]["0"] == pytest.approx([rates["ours"][0] / rates["plain"][0]])
    assert "NOT ENOUGH" in out


def test_busy_overlaps_with_workers_only():
    assert data_benchmark.busy(50, 100, 4) == 0.5
    assert data_benchmark.busy(300, 100, 4) == 1.0
    assert data_benchmark.busy(300, 100, 0) == 0.75
    assert data_benchmark.busy(300, None, 4) is None


@pytest.mark.parametrize(("share", "said"), [(0.95, "95% of the time with 2 workers: over 90%"), (0.5, "NOT ENOUGH")])
def test_verdict_says_whether_the_device_waits(share, said):
    result = {"step_rate": 10.0, "busy": {"0": 0.1, "2": share}, "machine": {"n_cpus": 2}}
    assert said in data_benchmark.verdict(result)


def test_plain_loader_augments_as_loso_yaml(recipe):
    theirs = recipe.hparams["augment"].compose
    mine = data_benchmark.PlainClips([]).augment
    assert mine.p == theirs.p
    for a, b in zip(mine.transforms, theirs.transforms, strict=True):
        assert type(a) is type(b) and a.p == b.p
    assert mine.transforms[0].min_gain_db == theirs.transforms[0].min_gain_db


def test_prepare_finds_the_same_utterances(demo_corpus, tmp_path, capsys):
    out, found = run(prepare, ["--data_folder", str(demo_corpus), "--repeats", "1"], tmp_path, capsys)
    assert len(set(found["n_utterances"].values())) == 1 and found["n_utterances"]["ours"] > 0
    for name in ("copies", "once"):
        assert found["ratio"][name] == pytest.approx([found["seconds"][name][0] / found["seconds"]["ours"][0]])
    assert "read once" in out


def test_prepare_peer_reads_the_lengths(demo_corpus, tmp_path):
    turns = prepare.annotated_turns(demo_corpus)
    prepare.write_splits(turns, tmp_path)
    entries = [json.loads((tmp_path / f"{part}.json").read_text()) for part in ("train", "valid", "test")]
    assert sum(map(len, entries)) == len(turns)
    import soundfile

    for entry in entries[1].values():
        assert entry["length"] == pytest.approx(soundfile.info(entry["wav"]).duration)


def test_growth_writes_table_and_plot(tmp_path, capsys, monkeypatch):
    asked = []

    def time_apart(rival, *point):
        asked.append((rival, *point[1:4]))
        return (0.5, 10**8) if rival == "ours" else (1.0, 3 * 10**8)

    monkeypatch.setattr(growth, "time_apart", time_apart)
    out, found = run(growth, ["--size", "tiny", "--rivals", "a", "--folder", str(tmp_path)], tmp_path, capsys)
    points = sum(map(len, growth.GROWTH.values())) - 2  # the base stands in all three, and is measured once
    assert len(asked) == len(set(asked)) == 2 * points
    assert out.count("| 0.5 s, 0.10 GB | 1 s, 0.30 GB (2.0x, 3.0x) |") == points + 2
    assert (tmp_path / "README.md").read_text() == f"{growth.MARKS[0]}\n{out}{growth.MARKS[1]}\n"
    assert (tmp_path / "growth.png").stat().st_size > 10_000


@pytest.mark.parametrize("rival", ["ours", *"acd"])
def test_growth_steps_train(rival, tiny):
    step = growth.make_step(rival, *tiny, 16000, 1, "cpu", "fp32")
    first, second = step(), step()
    assert first > 0 and first != second


def test_growth_keeps_the_rest_of_a_page(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Title\n{}\nold\n{}\nafter\n".format(*growth.MARKS))
    growth.put_into(page, "new\n")
    assert page.read_text() == "# Title\n{}\nnew\n{}\nafter\n".format(*growth.MARKS)


def test_growth_measures_in_a_process_of_its_own(monkeypatch):
    def make_step(*point):
        # Past malloc, which may have as much to reuse from the tests before.
        return lambda: mmap.mmap(-1, 50_000_000).write(b"x" * 50_000_000)

    monkeypatch.setattr(growth, "make_step", make_step)
    _, n_bytes = growth.time_apart("ours", {}, 1, 1, 1, "cpu", "fp32")
    assert 45e6 < n_bytes < 120e6  # Linux counts resident pages by batches; the bytes that are written count as well


def test_lengths_are_iemocaps():
    lengths = timing.iemocap_lengths()
    assert len(lengths) == 5531
    assert statistics.fmean(n for _, n in lengths) / 16000 == pytest.approx(4.55, abs=0.005)
