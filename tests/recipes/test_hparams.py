"""The YAML files: alike where they must be, different where they say so, and every key of use."""

import re

import pytest
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from speechbrain.utils.run_opts import RunOptions

from speechbrain_ext.training.hparams_file import CUSTOM_WIRING, WIRING, hparams_text, plain_settings
from tests.recipes.fold_reading import TINY_CONFIG

FILES = ("loso.yaml", "authors_code.yaml", "demo.yaml", "frozen.yaml", "scratch.yaml")
OF_TRANSFORMERS = (  # keys of loso.yaml that mean nothing to a FilterbankEncoder
    "encoder_save_path",
    "feature_reduction",
    "freeze_feature_extractor",
    "freeze_encoder",
    "checkpoint_activations",
    "compile_layers",
    "layer_weights",
    "lora_rank",
    "lora_projections",
)
TINY = {"encoder_source": None, "num_layers": 1, "encoder_config": {**TINY_CONFIG, "num_hidden_layers": 1}}


def choices(root, name):
    """Read the plain keys of a file, those above the mark."""
    return YAML().load(resolve_references(hparams_text(root / "hparams" / name).split(WIRING)[0]))


@pytest.mark.parametrize("name", FILES[1:])
def test_other_files_say_what_differs_alone(root, name):
    keys = yaml.safe_load(re.sub("!(ref|new|name)\\S*", "", (root / "hparams" / name).read_text()))
    assert keys.pop("base") == "loso.yaml"
    loso, own = (plain_settings(hparams_text(root / "hparams" / file)) for file in ("loso.yaml", name))
    wired = own.pop(CUSTOM_WIRING, {})
    assert list(own) == list(loso)
    assert {key for key in own if own[key] != loso[key]} | set(wired) == set(keys)


def test_loso_is_whole(root):
    text = (root / "hparams/loso.yaml").read_text()
    assert "base" not in YAML().load(text)
    load_hyperpyyaml(text, {**TINY, "output_folder": "unused"})


@pytest.mark.parametrize("name", FILES)
def test_first_line_is_the_command(root, name):
    first = (root / "hparams" / name).read_text().splitlines()[0]
    assert first.startswith(f"# python train.py hparams/{name}")


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_used(root, name):
    text = hparams_text(root / "hparams" / name)
    library = [path for room in ("training", "results") for path in (root / "speechbrain_ext" / room).glob("*.py")]
    code = "".join(path.read_text() for path in [root / "recipes/IEMOCAP/train.py", *library])
    unused = (*OF_TRANSFORMERS, CUSTOM_WIRING) if name == "scratch.yaml" else ()
    for key in YAML().load(text):
        referred = re.search(rf"!ref .*<{key}(\.\w+)?>", text)
        read = re.search(rf"""(\["{key}"\]|"{key}",|hparams\.{key}\b)""", code)
        read_by_brain = key in RunOptions().as_dict()
        assert referred or read or read_by_brain or key.startswith("__") or key in unused, key


@pytest.mark.parametrize("name", FILES)
def test_no_key_is_swallowed_by_a_run_option(root, name):
    """argparse takes an unambiguous prefix of a run option for the option itself."""
    options = [action.option_strings for action in RunOptions._create_parser()._actions]
    names = {option.lstrip("-") for strings in options for option in strings}
    for key in YAML().load(hparams_text(root / "hparams" / name)):
        assert key in names or not any(option.startswith(key) for option in names), key


@pytest.mark.parametrize("name", FILES)
def test_file_builds_its_objects(root, tmp_path, name):
    tiny = TINY if name != "scratch.yaml" else {}
    hparams = load_hyperpyyaml(
        hparams_text(root / "hparams" / name), {**tiny, "output_folder": str(tmp_path), "emb_dim": 8}
    )
    assert hparams["f_0"].weight.shape == (8, 16 if tiny else 128)
    assert hparams["f_1"].weight.shape == (4, 8)
    assert hparams["center_loss"].centers.shape == (4, 8)
    assert set(hparams["modules"]) == {"mixup", "encoder", "f_0", "f_1", "center_loss"}
    recoverables = hparams["checkpointer"].recoverables
    for module in hparams["modules"].values():  # whatever has weights is saved
        if any(True for _ in module.parameters()):
            assert any(module is saved for saved in recoverables.values())


def test_loso_is_the_paper(root):
    """The numbers of Sec. 2 and 3, and of the code where the paper is silent."""
    paper = {
        "num_layers": 22,
        "projection_dropout": 0.4,
        "feature_reduction": "first",
        "emb_dim": 64,
        "mixup_lam": 0.5,
        "mixup_prob": 0.5,
        "mixup_overwrite_same_class": False,
        "lambda_c": 0.002,
        "lr": 1e-4,
        "lr_centers": 1e-3,
        "lr_divisor": 1.25,
        "lr_last_epoch": 20,
        "batch_size": 16,
        "number_of_epochs": 100,
        "patience": 10,
        "validation": "random",
        "valid_fraction": 0.1,
        "tested_weights": "best",
        "max_train_s": 6.25,
        "max_eval_s": None,
        "waveform_scale": "peak",
        "freeze_feature_extractor": True,
        "augment_prob": 0.8,
        "n_augmentations": [1, 3],
        "encoder_source": "facebook/hubert-large-ll60k",
        "max_grad_norm": float("inf"),
    }
    found = choices(root, "loso.yaml")
    assert {key: found[key] for key in paper} == paper


def test_authors_code_differs_where_it_is_documented(root):
    """The differences: feature encoder, same-class pairs, length and padding, tested weights; fp32; no sorting."""
    loso, code = choices(root, "loso.yaml"), choices(root, "authors_code.yaml")
    same = ("augmentations", "adam_betas")  # objects, tested below
    differing = {key: code[key] for key in code if key not in same and code[key] != loso[key]}
    assert differing.pop("output_folder") == "results/authors_code/seed1/fold1"
    assert differing == {
        "precision": "fp32",
        "tested_weights": "last",
        "max_eval_s": 6.25,
        "fixed_length_s": 6.25,
        "mask_padding": False,
        "mixup_overwrite_same_class": True,
        "freeze_feature_extractor": False,
        "sort_window": 1,
        "n_augmentations": None,
    }


@pytest.mark.parametrize("name", ["loso.yaml", "authors_code.yaml"])
def test_optimizers_are_those_of_the_paper(root, tmp_path, name):
    hparams = load_hyperpyyaml(hparams_text(root / "hparams" / name), {**TINY, "output_folder": str(tmp_path)})
    for key, lr in (("opt_class", 1e-4), ("center_opt_class", 1e-3)):
        optimizer = hparams[key]([torch.nn.Parameter(torch.zeros(1))])
        assert type(optimizer) is torch.optim.Adam
        assert optimizer.defaults["lr"] == lr
        assert optimizer.defaults["betas"] == (0.9, 0.98)
        assert optimizer.defaults["eps"] == 1e-9
        assert optimizer.defaults["weight_decay"] == 0


def test_augmentations_are_the_papers_nine(root):
    """Sec. 3.4: Gaussian noise, clipping distortion, gain, gain transition, polarity inversion, tanh distortion, ..."""
    assert choices(root, "loso.yaml")["augmentations"] == [
        "gaussian_noise", "clipping_distortion", "gain", "gain_transition", "polarity_inversion", "tanh_distortion",
        "time_mask", "time_stretch", "pitch_shift",
    ]  # fmt: skip


def test_augmentations_of_the_authors_code_are_two(root, tmp_path):
    """Gain of -10 to 10 dB with probability 0.3, then polarity inversion with 0.9; each clip with 0.8."""
    text = hparams_text(root / "hparams/authors_code.yaml", {**TINY, "output_folder": str(tmp_path)})
    compose = load_hyperpyyaml(text)["augment"].compose
    gain, polarity = compose.transforms
    assert (type(gain).__name__, gain.min_gain_db, gain.max_gain_db, gain.p) == ("Gain", -10.0, 10.0, 0.3)
    assert (type(polarity).__name__, polarity.p) == ("PolarityInversion", 0.9)
    assert compose.p == 0.8
