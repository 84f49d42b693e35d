"""What the examples share: a corpus's clips as a SpeechBrain dataset, and an encoder for those who have none."""

from pathlib import Path

import ruamel.yaml
import speechbrain as sb
import transformers
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataio import read_audio
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder

from speechbrain_ext.corpora import find_corpus_name, prepare_corpus
from speechbrain_ext.errors import InputError


def read_hparams(argv):
    """Read a recipe's command line; return what its YAML file holds, and SpeechBrain's run options."""
    hparams_file, run_opts, overrides = sb.parse_arguments(argv)
    with open(hparams_file, encoding="utf-8") as file:
        text = file.read()
    given = ruamel.yaml.YAML().load(overrides) or {}
    for key in given:
        if f"\n{key}:" not in text:
            raise InputError(f"{hparams_file} has no key {key!r}. Its keys are the words that its lines begin with.")
    if "data_folder" not in given:
        raise InputError("data_folder must be a corpus's folder: give --data_folder=demo_corpus, for instance.")
    return load_hyperpyyaml(text, overrides), run_opts


def load_clips(data_folder, label):
    """Read a corpus with `speechbrain_ext.corpora`, for recipes that are SpeechBrain's otherwise.

    Arguments
    ---------
    data_folder : str
        What `speechbrain-ext prepare` takes, such as demo_corpus.
    label : str
        "emo" or "speaker".

    Returns
    -------
    tuple
        (DynamicItemDataset, whose items have id, sig [T] and label, an index [1]; the labels' names, sorted).
    """
    manifest = prepare_corpus(find_corpus_name(data_folder), data_folder, progress=False).manifest
    clips = DynamicItemDataset(
        {name: {**clip, "wav": clip["wav"].replace("{data_root}", data_folder)} for name, clip in manifest.items()}
    )
    names = sorted({clip[label] for clip in manifest.values()})
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(names)
    encoder.expect_len(len(names))
    clips.add_dynamic_item(read_audio, takes="wav", provides="sig")
    clips.add_dynamic_item(encoder.encode_label_torch, takes=label, provides="label")
    clips.set_output_keys(["id", "sig", "label"])
    return clips, names


def split_clips(clips, test_group):
    """Return the clips of all groups but one, and those of that one."""
    groups = sorted({clip["group"] for clip in clips.data.values()})
    if test_group not in groups:
        raise InputError(f"test_group must be one of {', '.join(groups)}, got {test_group!r}.")
    return (
        clips.filtered_sorted(key_test={"group": lambda group: group != test_group}),
        clips.filtered_sorted(key_test={"group": lambda group: group == test_group}),
    )


def save_random_encoder(folder, hidden_size=64, num_hidden_layers=4):
    """Save a small HuBERT that has never heard speech, as the Hugging Face Hub has its models; return the folder."""
    config = transformers.HubertConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden_size,
        conv_dim=[32, hidden_size, hidden_size],
        conv_kernel=[400, 4, 2],
        conv_stride=[80, 4, 2],
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=16,
    )
    transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(Path(folder))
