"""What the examples share: a corpus's clips as a SpeechBrain dataset, and an encoder for those who have none."""

import sys
from pathlib import Path

import speechbrain as sb
import transformers
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataio import read_audio
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder

from speechbrain_ext.corpora import find_corpus_name, prepare_corpus
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.hparams_file import load_hparams, read_settings


def read_hparams(argv, script, about):
    """Read a recipe's command line; return what its YAML file holds, and SpeechBrain's run options."""
    own_file = Path(script).with_suffix(".yaml")
    argv = argv if any(word.endswith((".yaml", ".yml")) for word in argv) else [str(own_file), *argv]
    asks = {"-h", "--help"} & set(argv)
    hparams_file, overrides, host_words = read_command_line([word for word in argv if word not in asks])
    if asks:
        keys = hparams_file.read_text(encoding="utf-8").split("\n\n")[0]
        print(f"{about}\nOptions are SpeechBrain's (train.py --help lists them) and --KEY=VALUE; keys:\n\n{keys}")
        sys.exit()
    own, given = load_hparams(own_file).keys, load_hparams(hparams_file).keys
    if missing := [key for key in own if key not in given]:
        raise InputError(f"{hparams_file} lacks {', '.join(missing[:3])}: give {own_file.name}, or a copy of it.")
    if "data_folder" not in overrides:
        raise InputError("data_folder must be a corpus's folder: give --data_folder=demo_corpus, for instance.")
    read_settings(hparams_file, overrides)  # refuses a text for a number
    run_opts = sb.parse_arguments([str(hparams_file), *host_words])[1]
    return load_hyperpyyaml(hparams_file.read_text(encoding="utf-8"), overrides), run_opts


def load_clips(hparams, label, count):
    """Read the corpus in data_folder: a dataset whose items have id, sig [T] and label, an index [1]; and the labels.

    The label is "emo" or "speaker"; `count` is the key that says how many there are.
    """
    data_folder = hparams["data_folder"]
    manifest = prepare_corpus(find_corpus_name(data_folder), data_folder, progress=False).manifest
    items = {key: {**clip, "wav": clip["wav"].replace("{data_root}", data_folder)} for key, clip in manifest.items()}
    clips = DynamicItemDataset(items)
    names = sorted({clip[label] for clip in manifest.values()})
    if len(names) != hparams[count]:
        raise InputError(f"{count} must be {len(names)}, for {', '.join(names)}, got {hparams[count]}.")
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


def save_random_encoder(folder):
    """Save a small HuBERT that has never heard speech, as the Hugging Face Hub has its models; return the folder."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
    convolutions = {"conv_dim": [32, 64, 64], "conv_kernel": [400, 4, 2], "conv_stride": [80, 4, 2], "conv_bias": True}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 16, "do_stable_layer_norm": True}
    config = transformers.HubertConfig(**sizes, **convolutions, **positions, feat_extract_norm="layer")
    transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(Path(folder))
