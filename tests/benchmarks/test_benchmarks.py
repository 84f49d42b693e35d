"""The benchmarks: each runs at a tiny size, and its numbers fit together."""

import json
import mmap
import statistics
import sys

import pytest
import torch

from benchmarks import (
    augment,
    checkpoint,
    families,
    flops,
    growth,
    infer,
    load,
    onnx_cpu,
    ours,
    precision,
    predict,
    prepare,
    scaling,
    timing,
    train_step,
)
from benchmarks import data as data_benchmark
from speechbrain_ext.augment.waveforms import PAPER_AUGMENTATIONS
from speechbrain_ext.dataio.dataset import pad_right
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import TruncatedEncoder
from tests.tiny_hubert import SMALL


def run(module, argv, tmp_path, capsys):
    """Run a benchmark; return (what it printed, what it wrote)."""
    module.main([*argv, "--json", str(tmp_path / "found.json")])
    return capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())


def test_spread_out_takes_the_middle_of_each_part():
    assert train_step.spread_out([5, 3, 1, 2, 4, 0], 3, int) == [1, 3, 5]
    assert train_step.spread_out([5, 3], 8, int) == [3, 5]


def test_seconds_of_counts_padding():
    assert train_step.seconds_of([[16000, 32000], [16000]]) == pytest.approx((4 / 3, 5 / 3))


def test_augment_measures_the_nine_and_their_combinations(tmp_path, capsys):
    out, found = run(augment, ["--clips", "1", "--repeats", "2"], tmp_path, capsys)
    assert {*PAPER_AUGMENTATIONS, "1 to 3 of the nine, prob 0.8", "the authors' two, prob 0.8"} <= set(found["seconds"])
    for name, seconds in found["seconds"].items():
        assert len(seconds) == 2 and min(seconds) > 0
        assert f"| {name} | " in out and f" | {1 / statistics.median(seconds):.0f} |" in out


TINY_STEP = ["--size", "tiny", "--steps", "1", "--repeats", "1", "--rivals", "", "--matmul_s", "0.05"]


def test_train_step_numbers_fit_together(tmp_path, capsys):
    argv = ["--size", "tiny", "--steps", "1", "--repeats", "1", "--rivals", "acd", "--matmul_s", "0.05"]
    out, found = run(train_step, [*argv, "--batch_size", "4"], tmp_path, capsys)
    assert [row["n_clips"] for row in found["rivals"].values()] == [4] * 4 and "batches of 4" in out
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


def test_epoch_is_timed_with_its_checkpoint(recipe, noise):
    times = train_step.time_epoch(recipe, [[(20_000, 0)] * 2], [[(20_000, 0)]], noise)
    assert 0 < times["checkpoint_s"] <= times["checkpoint_written_s"]
    assert len(recipe.brain.checkpointer.list_checkpoints()) == 1
    result = {**train_step.measure(train_step.parse(TINY_STEP)), "epoch": {"n_train": 2, "n_valid": 1, **times}}
    total = times["training_s"] + times["validation_s"] + times["checkpoint_s"]
    assert f"validate: {total:.1f} s" in train_step.report(result, train_step.parse(TINY_STEP))


def test_checkpoint_numbers_fit_together(tmp_path, capsys):
    out, found = run(checkpoint, ["--size", "tiny", "--repeats", "1"], tmp_path, capsys)
    config, n_layers = ours.sizes("tiny")
    # One checkpoint each, of the same files: weights and two moments of each that learns.
    assert len(set(found["n_bytes"].values())) == 1
    assert 1 < max(found["n_bytes"].values()) / (3 * 4 * flops.n_parameters(config, n_layers)) < 1.7
    for name, ratio in found["ratio"].items():
        assert ratio == [found["seconds"][name][0] / found["seconds"][checkpoint.BACKGROUND][0]]
        assert f"| {name} |" in out


def test_checkpoint_rivals_are_what_they_are_called(tmp_path):
    background, at_once, theirs = checkpoint.make_savers(tmp_path, {}).values()
    assert background.in_background and not at_once.in_background
    assert type(background) is type(at_once) is checkpoint.AtomicCheckpointer
    assert type(theirs) is checkpoint.Checkpointer and len(list(tmp_path.iterdir())) == 3


def test_predict_numbers_fit_together(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "BASE", SMALL)
    out, found = run(predict, ["--random_layers", "1", "--clips", "3", "--repeats", "1"], tmp_path, capsys)
    assert found["ratio"] == [found["seconds"]["loop"][0] / found["seconds"]["predict"][0]]
    assert found["difference"] < 1e-5 and "3 clips" in out


def test_onnx_numbers_fit_together(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx_cpu, "CASES", {"1 s": [1]})
    monkeypatch.setattr(onnx_cpu, "RIVALS", ("PyTorch, bf16", onnx_cpu.REFERENCE, "onnxruntime, int8"))
    monkeypatch.setattr(onnx_cpu.importlib.util, "find_spec", lambda name: None)  # without OpenVINO, that takes long
    out, found = run(onnx_cpu, ["--size", "tiny", "--repeats", "1"], tmp_path, capsys)
    assert list(found["measured"]) == ["1 s"] and found["model"]["n_layers"] == 3
    rows = found["measured"]["1 s"]
    assert list(rows) == list(onnx_cpu.RIVALS) and rows[onnx_cpu.REFERENCE]["difference"] == 0
    assert 0 < rows["onnxruntime, int8"]["difference"] < 0.1 and "| onnxruntime, int8 |" in out


def test_precision_numbers_fit_together(tmp_path, capsys, demo_corpus):
    config, n_layers = ours.sizes("tiny")
    bundle = timing.random_bundle(tmp_path / "bundle", n_layers, config)
    argv = [str(bundle), "--data_folder", str(demo_corpus), "--every", "20", "--ways", "bf16", "batch"]
    out, found = run(precision, argv, tmp_path, capsys)
    assert found["n"] == 4 and list(found["ways"]) == ["bf16", "batch"]
    assert 0 < found["ways"]["bf16"]["largest_difference"] < 0.01
    assert found["ways"]["bf16"]["UA_lost"] == pytest.approx(found["UA"] - found["ways"]["bf16"]["UA"])
    assert "| batch |" in out


def test_precision_says_what_openvino_needs(tmp_path):
    argv = ["bundle", "--data_folder", str(tmp_path), "--ways", "openvino"]
    with pytest.raises(InputError, match="^openvino needs --calibrate=FOLDER with training recordings.$"):
        precision.main(argv)
    with pytest.raises(InputError, match=r"holds no WAV file\. Give a folder with training recordings\.$"):
        precision.openvino_posteriors("bundle", [], tmp_path, 16000)


def test_precision_compares_with_fp32():
    reference = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.8, 0.2]])
    posteriors = torch.tensor([[0.6, 0.4], [0.55, 0.45], [0.1, 0.9], [0.8, 0.2]])
    found = precision.compare(posteriors, reference, torch.tensor([0, 1, 1, 0]), ["ang", "sad"])
    assert found["largest_difference"] == pytest.approx(0.15) and found["mean_difference"] == pytest.approx(0.0375)
    assert found["equal_decisions"] == 0.75
    assert (found["UA"], found["UA_lost"]) == pytest.approx((75, 25))


def test_scaling_is_the_rate_of_many_by_that_of_one(tmp_path, capsys):
    out, found = run(scaling, ["--clips", "8", "--epochs", "1", "--repeats", "1"], tmp_path, capsys)
    assert found["efficiency"] == [found["rates"]["2"][0] / (2 * found["rates"]["1"][0])]
    assert "2 processes" in out and ("CPU" in out) == (not found["on_gpu"])


def test_command_says_what_is_wrong_in_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/infer.py", "--repeats=0"])
    with pytest.raises(SystemExit, match="^infer.py: --repeats must be a whole number from 1, got 0.$"):
        timing.run(infer.main)


def test_infer_numbers_fit_together(tmp_path, capsys):
    argv = ["--size", "tiny", "--clips", "5", "--batch_size", "2", "--repeats", "1", "--rivals", "fc"]  # a process each
    out, found = run(infer, argv, tmp_path, capsys)
    assert list(found["ways"]) == list(infer.WAYS)
    for case in found["ways"].values():
        assert case["ratio"]["c"] == pytest.approx(
            [a / b for a, b in zip(case["seconds"]["c"], case["seconds"]["ours"])]
        )
    assert found["difference_of_batching"] < (1e-5 if found["precision"] == "fp32" else 1e-2)
    assert "a loop over files" in out


def test_load_numbers_fit_together(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load, "FORMATS", {"bin": load.FORMATS["bin"]})  # a process each
    out, found = run(load, ["--size", "tiny", "--families", "whisper", "--repeats", "1"], tmp_path, capsys)
    (row,) = found["measured"]["whisper"]["bin"]
    config = families.make_config("whisper", "tiny", load.N_WRITTEN)
    encoder = TruncatedEncoder(config=config, num_layers=load.N_KEPT)
    assert row["n_bytes"] == 4 * sum(weight.numel() for weight in encoder.parameters())  # in float32
    assert row["peak_bytes"] > 0
    assert f"whisper | pytorch_model.bin | float32 | {row['n_bytes'] / 1e6:.0f} |" in out


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
    assert type(mine) is type(theirs) and (mine.p, mine.num_transforms) == (theirs.p, theirs.num_transforms)
    assert [vars(transform) for transform in mine.transforms] == [vars(transform) for transform in theirs.transforms]
    assert list(map(type, mine.transforms)) == list(map(type, theirs.transforms))


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
    assert 30e6 < n_bytes < 200e6  # Linux counts resident pages by batches; the bytes that are written count as well


def test_lengths_are_iemocaps():
    lengths = timing.iemocap_lengths()
    assert len(lengths) == 5531
    assert statistics.fmean(n for _, n in lengths) / 16000 == pytest.approx(4.55, abs=0.005)


def test_families_numbers_fit_together(tmp_path, capsys):
    argv = ["--size", "tiny", "--families", "hubert", "--clips", "1", "--repeats", "1"]
    out, found = run(families, argv, tmp_path, capsys)
    ways = found["measured"]["hubert"]
    assert list(ways) == list(families.WAYS) and list(ways["step"]) == ["ours", "transformers"]
    ratio = ways["loop"]["transformers"]["cpu_s"][0] / ways["loop"]["ours"]["cpu_s"][0]
    assert f"| hubert | a loop over clips | {1 / ways['loop']['ours']['seconds'][0]:.2f} (" in out
    assert f"| {ratio:.2f} (" in out


@pytest.mark.parametrize("model_type", families.MODEL_TYPES)
def test_families_compares_the_same_layers(model_type, noise):
    config = families.make_config(model_type, "tiny", 2)
    ours_, theirs = (families.make_model(rival, config, 2).eval() for rival in (families.OURS, families.THEIRS))
    layers = ours_.family.layers(ours_.model), ours_.family.layers(theirs.model)
    sizes = [[tuple(p.shape) for p in part.parameters()] for part in layers]
    assert len(layers[0]) == 2 and sizes[0] == sizes[1]
    wavs, wav_lens = pad_right([noise(16000), noise(8000)])
    with torch.inference_mode():
        assert ours_(wavs, wav_lens).shape == theirs(wavs, wav_lens).shape == (2, 32)
