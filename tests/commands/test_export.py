"""A trained fold becomes a bundle whose answers are the fold's own."""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from ruamel.yaml import YAML
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.commands import export
from speechbrain_ext.commands.main import run_command
from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference import bundle_writer, hub
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.training.checkpoint_files import SUMS_FILE, seal_checkpoint
from speechbrain_ext.training.hparams_file import hparams_text, sealed
from tests.recipes.fold_reading import results, save_source
from tests.results.run_files import write_run


@pytest.fixture(scope="module")
def fold(root, demo_corpus, tmp_path_factory):
    """Train a fold for two epochs, in a process of its own: several tests read it."""
    from tests.recipes.fold_reading import SMALL

    folder = tmp_path_factory.mktemp("fold") / "fold1"
    options = [f"--data_folder={demo_corpus}", f"--output_folder={folder}", *SMALL, "--number_of_epochs=2"]
    command = [sys.executable, str(root / "train.py"), str(root / "hparams/demo.yaml"), *options]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


def main(fold_dir, out_dir, *words):
    """Run the command, and let what it raises through."""
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    assert export.run(parser.parse_args([str(fold_dir), str(out_dir), *words])) == 0


def answers(classifier, folder, demo_corpus):
    """Classify the test clips of a fold by `classify_file`; return the greatest difference from predictions.csv."""
    manifest = json.loads((folder / "manifest.json").read_text())
    metrics, rows = results(folder)
    worst = 0.0
    for row in rows:
        path = manifest[row["id"]]["wav"].replace("{data_root}", str(demo_corpus))
        log_posteriors, _, _, labels = classifier.classify_file(path)
        expected = torch.tensor([float(row[emo]) for emo in metrics["emotions"]])
        worst = max(worst, float((log_posteriors[0].exp() - expected).abs().max()))
        assert labels == [row["predicted"]]
    assert len(rows) == metrics["n"] > 10
    return worst


def test_an_unmodified_encoder_classifier_predicts_what_the_fold_did(fold, demo_corpus, tmp_path):
    main(fold, tmp_path / "exported")
    classifier = EncoderClassifier.from_hparams(source=str(tmp_path / "exported"), run_opts={"device": "cpu"})
    assert answers(classifier, fold, demo_corpus) < 1e-5


def test_a_fold_from_scratch_is_trained_and_exported(root, demo_corpus, tmp_path, monkeypatch):
    from recipes.IEMOCAP import train

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the experiment folder sets its own
    corpus = ["--corpus=synthetic", f"--data_folder={demo_corpus}"]
    folder = tmp_path / "fold"
    train.main([str(root / "hparams/scratch.yaml"), *corpus, f"--output_folder={folder}", "--number_of_epochs=1"])
    main(folder, tmp_path / "exported")
    for load in (load_classifier, lambda bundle: EncoderClassifier.from_hparams(source=str(bundle))):
        assert answers(load(tmp_path / "exported"), folder, demo_corpus) < 1e-5
    text = (
        (folder / "hyperparams.yaml").read_text().replace("sample_rate_hz: !ref <sample_rate>", "sample_rate_hz: 8000")
    )
    (folder / "hyperparams.yaml").write_text(sealed(text.split("\n", 1)[1]))
    with pytest.raises(InputError, match="its own wiring of .*encoder.sample_rate_hz"):
        main(folder, tmp_path / "other")


@pytest.mark.parametrize(
    "options",
    [["--lora_rank=2", "--lora_projections=[k_proj, out_proj]", "--lr=0.05"], ["--freeze_encoder=True"]],
    ids=["lora", "frozen"],
)
def test_encoder_whose_checkpoint_holds_a_part_is_exported_whole(fit, demo_corpus, tmp_path, options):
    options += [save_source(tmp_path / "source"), "--number_of_epochs=1"]
    folder = fit("fold", *options)
    (checkpoint,) = {path.stat().st_size for path in folder.glob("save/*/encoder.ckpt")}
    main(folder, tmp_path / "exported")
    assert checkpoint < 0.6 * (tmp_path / "exported" / "encoder.ckpt").stat().st_size
    assert answers(load_classifier(tmp_path / "exported"), folder, demo_corpus) < 1e-5
    assert "adapter" not in " ".join(torch.load(tmp_path / "exported" / "encoder.ckpt"))
    save_source(tmp_path / "source", seed=1)
    with pytest.raises(InputError, match="trained on other weights than those of .*source.* Give the encoder_source"):
        main(folder, tmp_path / "other")
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(InputError, match="source .*: there is no such folder"):
        main(folder, tmp_path / "other")


@pytest.mark.parametrize(
    "options",
    [
        ["--fixed_length_s=2.0", "--mask_padding=False", "--waveform_scale=layer"],
        ["--fixed_length_s=1.0", "--feature_reduction=first"],  # most clips are longer: they are cut
        ["--max_eval_s=0.8", "--waveform_scale=null", "--validation=none", "--emotions=[neu, ang, sad, hap]"],
    ],
    ids=["fixed", "fixed_masked", "cut"],
)
def test_each_way_of_preparing_clips_is_exported(fit, demo_corpus, tmp_path, options):
    folder = fit("fold", *options, "--number_of_epochs=1")
    main(folder, tmp_path / "exported")
    assert answers(load_classifier(tmp_path / "exported"), folder, demo_corpus) < 1e-5


@pytest.mark.parametrize(
    "option, part",
    [
        ("--encoder={waveform_scale: layer}", "encoder.waveform_scale"),
        ("--encoder={feature_reduction: first}", "encoder.feature_reduction"),
        ("--encoder=!new:mine.TruncatedHuBERT {waveform_scale: null}", "encoder"),
        ("--encoder=!new:speechbrain_ext.lobes.CachedEncoder {}", "encoder"),
        ("--eval_clip={max_s: 1.0}", "eval_clip.max_s"),
        ("--eval_clip={augment: !ref <augment>}", "eval_clip.augment"),
        ("--waveform_store=!new:mine.HighPassStore {}", "waveform_store"),
        ("--f_0=!new:torch.nn.Sequential {}", "f_0"),
        ("--f_1=!new:speechbrain.nnet.linear.Linear {n_neurons: 4}", "f_1"),
        ("--modules={f_0: !new:torch.nn.Identity {}}", "modules.f_0"),
        ("--modules={norm: !new:torch.nn.Identity {}}", "modules.norm"),
    ],
)
def test_wiring_that_a_bundle_cannot_hold_is_refused(fold, tmp_path, option, part):
    copy = copy_with(fold, tmp_path, option)
    with pytest.raises(InputError, match=f"cannot be exported: its own wiring of {part} has no place in a bundle"):
        main(copy, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def copy_with(fold, tmp_path, option):
    """Copy a fold, as if it had been trained by a whole file of one's own that differs from loso.yaml in an option."""
    key, value = option[2:].split("=", 1)
    text = hparams_text(fold / "hyperparams.yaml", {key: YAML().load(value)})
    text = re.sub(r"^custom_wiring:.*\n(?: .*\n)*", "", text, flags=re.MULTILINE)
    copy = shutil.copytree(fold, tmp_path / "fold")
    (copy / "hyperparams.yaml").write_text(sealed(text))
    return copy


@pytest.mark.parametrize(
    "option",
    [
        "--encoder={feature_reduction: mean, projection_dropout: 0.3}",  # as the setting says, and of training only
        "--f_1=!new:speechbrain_ext.nnet.EmotionClassifier {emb_dim: 64, n_classes: 4}",
        "--modules={mixup: !new:torch.nn.Identity {}}",
    ],
)
def test_wiring_of_ones_own_that_changes_no_answer_is_exported(fold, demo_corpus, tmp_path, option):
    main(copy_with(fold, tmp_path, option), tmp_path / "exported")
    assert answers(load_classifier(tmp_path / "exported"), fold, demo_corpus) < 1e-5


def test_the_tested_epoch_is_exported_and_not_the_last(fold, tmp_path):
    metrics = json.loads((fold / "test_metrics.json").read_text())
    for epoch in (1, 2):
        weights = None
        try:
            weights = export.tested_weights(fold, epoch, metrics)
        except InputError as error:
            assert epoch != metrics["tested_epoch"] and f"no checkpoint of epoch {epoch}" in str(error)
        if epoch == metrics["tested_epoch"]:
            main(fold, tmp_path / "exported")
            for name, path in weights.items():
                assert (tmp_path / "exported" / f"{name}.ckpt").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="no checkpoint of epoch 7, which was tested"):
        export.tested_weights(fold, 7, metrics)


def test_damage_that_hides_which_epoch_a_checkpoint_is_of_is_named(fold, tmp_path):
    copy = shutil.copytree(fold, tmp_path / "fold")
    for meta in copy.glob("save/CKPT*/CKPT.yaml"):
        meta.write_text(f"{meta.read_text()}appended\n")
    with pytest.raises(
        InputError, match=r"the checkpoint .*CKPT\S+ is damaged: CKPT.yaml cannot be read. Copy the run"
    ):
        main(copy, tmp_path / "exported")


def test_weights_that_are_no_numbers_are_named_by_their_checkpoint(fold, tmp_path):
    copy = shutil.copytree(fold, tmp_path / "fold")
    for path in copy.glob("save/CKPT*/encoder.ckpt"):
        weights = torch.load(path)
        next(iter(weights.values()))[:] = torch.nan
        torch.save(weights, path)
        (path.parent / SUMS_FILE).unlink()
        seal_checkpoint(path.parent)
    with pytest.raises(
        InputError, match=r"CKPT\S+/encoder.ckpt are refused: \S+ holds .*NaN.* was run. Train it anew.$"
    ):
        main(copy, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_the_bundle_says_what_it_is(fold, tmp_path):
    main(fold, tmp_path / "exported")
    metrics = json.loads((fold / "test_metrics.json").read_text())
    about = json.loads((tmp_path / "exported/bundle.json").read_text())
    assert about["emotions"] == ["ang", "hap", "sad", "neu"] and about["sample_rate"] == 16000
    assert (about["corpus"], about["corpus_title"]) == ("synthetic", "the synthetic demo corpus")
    assert about["encoder_config"] == metrics["encoder_config"]
    assert about["result"]["UA"] == metrics["UA"] and about["trained_with"] == metrics["versions"]
    names = {path.name for path in (tmp_path / "exported").iterdir()} - {"bundle.json"}
    assert about["files"] == {name: sha256_of(tmp_path / "exported" / name) for name in names}
    for path in (tmp_path / "exported").iterdir():  # no path of this machine
        assert str(fold.parent).encode() not in path.read_bytes()


def test_the_card_holds_the_results_and_says_what_they_are_of(fold, tmp_path):
    main(fold, tmp_path / "exported")
    metrics = json.loads((fold / "test_metrics.json").read_text())
    card = ModelCard.load(tmp_path / "exported/README.md")
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {"accuracy": round(100 * metrics["WA"], 2), "recall": round(100 * metrics["UA"], 2)}
    assert {result.dataset_name for result in card.data.eval_results} == {"the synthetic demo corpus, fold 1: Session1"}
    assert card.data.library_name == "speechbrain" and card.data.pipeline_tag == "audio-classification"
    for text in (
        "synthetic speech",
        "0 = ang, 1 = hap",
        "Fold 1 of 5",
        "do not\n  judge people",
        'load_classifier("exported")',
    ):
        assert text in card.text, text
    with open(fold / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for emo in metrics["emotions"]:
        own = [row for row in rows if row["true"] == emo]
        right = sum(row["predicted"] == emo for row in own)
        assert f"| {emo} | {100 * right / len(own):.1f} | {len(own)} |" in card.text


def test_the_same_command_again_changes_nothing_and_another_fold_is_refused(fold, tmp_path):
    out = tmp_path / "exported"
    main(fold, out)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    main(fold, out)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before
    (out / "README.md").write_text("changed")
    with pytest.raises(InputError, match="README.md has been changed since it was written"):
        main(fold, out)
    assert (out / "README.md").read_text() == "changed"
    (out / "f_1.ckpt").write_bytes((out / "f_0.ckpt").read_bytes())  # another model's
    with pytest.raises(InputError, match="is there and holds something else"):
        main(fold, out)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_further_options_bring_the_same_bundle_up_to_date(fold, tmp_path, capsys):
    out = tmp_path / "exported"
    main(fold, out)
    weights = (out / "encoder.ckpt").stat().st_mtime_ns
    main(fold, out, "--push_to_hub=ann/emotion", "--dry_run")
    assert 'load_classifier("ann/emotion")' in (out / "README.md").read_text()
    assert (out / "encoder.ckpt").stat().st_mtime_ns == weights
    listed = json.loads((out / "bundle.json").read_text())["files"]
    assert listed["README.md"] == sha256_of(out / "README.md")
    load_classifier(out)


def test_onnx_is_written_listed_and_agrees(fold, demo_corpus, tmp_path, monkeypatch, root):
    out = tmp_path / "exported"
    main(fold, out, "--onnx")
    assert json.loads((out / "bundle.json").read_text())["files"]["model.onnx"] == sha256_of(out / "model.onnx")
    session = onnxruntime.InferenceSession(out / "model.onnx")
    _, rows = results(fold)
    manifest = json.loads((fold / "manifest.json").read_text())
    for row in rows[:5]:
        wav = read_audio(manifest[row["id"]]["wav"].replace("{data_root}", str(demo_corpus)), row["id"], 16000)
        inputs = {"wavs": wav[None], "wav_lens": np.ones(1, dtype=np.float32)}
        posteriors = np.exp(session.run(["log_posteriors"], inputs)[0][0])
        assert posteriors == pytest.approx([float(row[emo]) for emo in ("ang", "hap", "sad", "neu")], abs=1e-4)
    # The page's snippets run as they are written.
    monkeypatch.chdir(tmp_path)
    for name in ("recording.wav", "recording.flac"):
        soundfile.write(name, wav, 16000)
    snippets = re.findall(r"```python\n(.*?)```", (root / "docs/models.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        names = {}
        exec(snippet, names)
        if "log_posteriors" in names:
            posteriors = np.exp(np.asarray(names["log_posteriors"])[0])
            assert posteriors == pytest.approx([float(row[emo]) for emo in ("ang", "hap", "sad", "neu")], abs=1e-3)
    before = (out / "model.onnx").stat().st_mtime_ns
    # Exporting takes seconds; that of the same model gives the same bytes.
    model = (out / "model.onnx").read_bytes()
    monkeypatch.setattr(bundle_writer, "write_onnx", lambda classifier, path, _: path.write_bytes(model))
    main(fold, out, "--onnx")
    assert (out / "model.onnx").stat().st_mtime_ns == before
    main(fold, out, "--onnx=int8")
    assert "model_int8.onnx" in json.loads((out / "bundle.json").read_text())["files"]


def test_a_dry_run_says_what_would_go_up_and_contacts_nobody(fold, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", None)
    out = tmp_path / "exported"
    main(fold, out, "--push_to_hub=ann/emotion", "--dry_run")
    printed = capsys.readouterr().out
    assert "Nothing was uploaded. To ann/emotion, private" in printed
    for path in out.iterdir():
        assert f"{path.stat().st_size:,} bytes  {path.name}\n" in printed
    assert 'load_classifier("ann/emotion")' in (out / "README.md").read_text()


def test_pushing_is_private_unless_public_is_asked_for(fold, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(hub, "push_bundle", lambda *args, **kwargs: pushed.append((args, kwargs)))
    out = str(tmp_path / "exported")
    main(fold, out, "--push_to_hub=ann/emotion")
    main(fold, out, "--push_to_hub=ann/emotion", "--public")
    assert pushed == [((out, "ann/emotion"), {"private": True}), ((out, "ann/emotion"), {"private": False})]


def write_again(folder, **changes):
    """Write the results of a run, in place of those that are there."""
    shutil.rmtree(folder)
    write_run(folder, **{"recall": {"ang": 0.5, "sad": 0.5}, "encoder_config": {}, **changes})
    (folder / "hyperparams.yaml").touch()


@pytest.mark.parametrize(
    "spoil, text",
    [
        (
            lambda folder: (folder / "test_metrics.json").unlink(),
            "has not been tested yet.*train.py .*hyperparams.yaml",
        ),
        (lambda folder: (folder / "hyperparams.yaml").unlink(), "is no fold's folder"),
        (lambda folder: (folder / "test_metrics.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "test_metrics.json").write_text("{}"), "WA is missing.*--test_only"),
        (lambda folder: write_again(folder, debug=True), "was run with --debug"),
        (lambda folder: write_again(folder, recall={"ang": 0.5}), "recall must have the emotions' names"),
        (lambda folder: write_again(folder, recall={"ang": 2, "sad": 0}), "recall must be a mapping"),
        (lambda folder: write_again(folder, validation="none at all"), "validation must be one of"),
    ],
    ids=["untested", "no_fold", "no_json", "empty", "debug", "recall_of_others", "recall", "validation"],
)
def test_a_fold_that_is_no_model_is_refused(tmp_path, spoil, text):
    folder = tmp_path / "fold"
    folder.mkdir()
    for name in ("hyperparams.yaml", "test_metrics.json"):
        (folder / name).write_text("{}")
    spoil(folder)
    with pytest.raises(InputError, match=text):
        main(folder, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_settings_that_are_a_named_pipe_are_refused(tmp_path):
    write_run(tmp_path / "fold", recall={"ang": 0.5, "sad": 0.5}, encoder_config={})
    (tmp_path / "fold/hyperparams.yaml").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "fold/hyperparams.yaml")
    with pytest.raises(InputError, match="hyperparams.yaml is no regular file. Leave it out"):
        main(tmp_path / "fold", tmp_path / "exported")


def test_options_of_the_hub_without_its_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="belong to --push_to_hub=USER/NAME"):
        main(tmp_path, tmp_path / "out", "--public")
    with pytest.raises(InputError, match="is called USER/NAME, got 'emotion'"):
        main(tmp_path, tmp_path / "out", "--push_to_hub=emotion")


def test_the_script_prints_a_sentence_and_no_traceback(tmp_path, capsys):
    assert run_command("export", [str(tmp_path), str(tmp_path / "out")], "export.py") == 1
    said = capsys.readouterr().err
    assert said == (
        f"export.py: {tmp_path} is no fold's folder: it has no hyperparams.yaml. Give results/<yaml>/seed<s>/fold<k>.\n"
    )
