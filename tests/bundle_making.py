"""Bundles of a small random model, and ways to change them: what the tests of bundles share."""

import json

import torch

from speechbrain_ext.inference.bundle import BUNDLE_FILE, YAML_FILE
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.bundle_writer import seal_bundle, write_bundle
from speechbrain_ext.json_reader import with_checksum
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding
from tests.tiny_hubert import TINY

EMOTIONS = ("ang", "hap", "sad", "neu")


def make_parts(n_classes=4, emb_dim=64, feature_reduction="first"):
    """Make a random encoder, f_0 and f_1 in evaluation mode, always the same; the encoder does not scale."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "encoder": TruncatedHuBERT(
                config=TINY, num_layers=2, feature_reduction=feature_reduction, waveform_scale=None
            ).eval(),
            "f_0": EmotionEmbedding(16, emb_dim).eval(),
            "f_1": EmotionClassifier(emb_dim, n_classes).eval(),
        }


def save_parts(folder, parts):
    """Save the parts' weights as a checkpoint does; return what `write_bundle` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        torch.save(part.state_dict(), folder / f"{name}.ckpt")
    return {name: folder / f"{name}.ckpt" for name in parts}


def make_bundle(folder, emotions=EMOTIONS, card="# A test\n", **options):
    """Write the bundle of `make_parts` to a folder, and return the folder."""
    parts = make_parts(len(emotions), feature_reduction=options.get("feature_reduction", "first"))
    settings = BundleSettings(list(emotions), 64, parts["encoder"].architecture(), **options)
    write_bundle(folder, save_parts(folder.with_name(f"{folder.name} weights"), parts), settings, card)
    return folder


def edit_json(bundle, **changes):
    """Change values in bundle.json, as an attacker would."""
    about = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    text = json.dumps(with_checksum({**about, **changes}))
    text = text.replace("Infinity", "1e999")  # which JSON allows, and reads as infinity
    (bundle / BUNDLE_FILE).write_text(text, encoding="utf-8")


def edit_config(bundle, **changes):
    """Change values in bundle.json's encoder_config."""
    config = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))["encoder_config"]
    edit_json(bundle, encoder_config={**config, **changes})


def write_yaml(bundle, text):
    """Write hyperparams.yaml anew, and the hashes, as an attacker would."""
    (bundle / YAML_FILE).write_text(text, encoding="utf-8")
    seal_bundle(bundle)
