"""Bundles of a small random model, and ways to change them: what the tests of bundles share."""

import torch

from speechbrain_ext.inference.bundle import YAML_FILE
from speechbrain_ext.inference.bundle_writer import seal_bundle, write_bundle
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


def make_bundle(folder, emotions=EMOTIONS, feature_reduction="first", **options):
    """Write the bundle of `make_parts` to a folder, and return the folder."""
    parts = make_parts(len(emotions), feature_reduction=feature_reduction)
    write_bundle(
        folder,
        weights=save_parts(folder.with_name(f"{folder.name} weights"), parts),
        encoder_config=parts["encoder"].architecture(),
        emotions=emotions,
        emb_dim=64,
        card="# A test\n",
        feature_reduction=feature_reduction,
        **options,
    )
    return folder


def edit_yaml(bundle, old, new):
    """Replace a text in hyperparams.yaml, and write the hashes anew, as an attacker would."""
    text = (bundle / YAML_FILE).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {YAML_FILE}"
    (bundle / YAML_FILE).write_text(text.replace(old, new), encoding="utf-8")
    seal_bundle(bundle)


def add_yaml(bundle, lines):
    """Append lines to hyperparams.yaml, and write the hashes anew."""
    with open(bundle / YAML_FILE, "a", encoding="utf-8") as file:
        file.write(f"\n{lines}\n")
    seal_bundle(bundle)
