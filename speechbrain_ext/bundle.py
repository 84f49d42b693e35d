"""A bundle: the folder in which a trained classifier travels, and the check that nothing in it does harm.

A bundle holds `hyperparams.yaml` and one `<name>.ckpt` for each part with weights, as SpeechBrain's `EncoderClassifier`
wants them, `README.md` (the model card) and `bundle.json` (labels, sample rate, versions, SHA-256 of each file).

HyperPyYAML runs what a file names, so SpeechBrain's own `from_hparams` runs whatever the author of a bundle wrote.
`check_bundle` looks first; `speechbrain_ext.inference.load_classifier` loads only what it has let pass.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import ruamel.yaml
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.errors import InputError

FORMAT = 1
BUNDLE_FILE = "bundle.json"
YAML_FILE = "hyperparams.yaml"
CARD_FILE = "README.md"
LARGEST_YAML_BYTES = 65536
LARGEST_TREE = 10_000  # nodes, with every reference followed

# What a bundle may build, and with which arguments: none that reads a file, and none that takes weights from elsewhere.
CLASSES = {
    "speechbrain.nnet.containers.LengthsCapableSequential": (),
    "speechbrain.utils.parameter_transfer.Pretrainer": ("loadables", "custom_hooks"),
    "torch.nn.Identity": (),
    "speechbrain_ext.audio_normalizer.SoxrAudioNormalizer": ("sample_rate",),
    "speechbrain_ext.embedding_model.EmbeddingModel": (
        "encoder",
        "f_0",
        "sample_rate_hz",
        "waveform_scale",
        "max_s",
        "fixed_length_s",
        "mask_padding",
    ),
    "speechbrain_ext.label_encoder.FixedLabelEncoder": ("labels",),
    "speechbrain_ext.projection.EmotionClassifier": ("emb_dim", "n_classes"),
    "speechbrain_ext.projection.EmotionEmbedding": ("input_dim", "emb_dim"),
    "speechbrain_ext.truncated_hubert.TruncatedHuBERT": (
        "config",
        "num_layers",
        "projection_dropout",
        "feature_reduction",
        "waveform_scale",
    ),
}
FUNCTIONS = {"speechbrain.utils.checkpoints.torch_recovery": ("end_of_epoch",)}
NEEDED = ("modules", "pretrainer", "label_encoder", "audio_normalizer", "emotions", "n_classes", "sample_rate")
PLAIN_TAGS = tuple("tag:yaml.org,2002:" + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))
REFERENCE = re.compile(r"<(\w+)(?:\.\w+)?>")


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    yaml : str
        The text of its hyperparams.yaml, as it was checked.
    about : dict
        What bundle.json says.
    """

    folder: Path
    yaml: str
    about: dict


def sha256_of(path):
    """Compute the SHA-256 of a file, as a hexadecimal number."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_bundle(folder, within=None):
    """Inspect a bundle, without building or running anything that it names.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.
    within : str or pathlib.Path, optional
        The folder that its files have to lie in, links followed; by default the bundle's own.

    Returns
    -------
    Bundle
        What was inspected: the text to load, and what bundle.json says.

    Raises
    ------
    InputError
        If it is no bundle; if a file is not the one that bundle.json lists; if hyperparams.yaml names anything but a
        few classes of speechbrain, torch.nn and speechbrain_ext with their harmless arguments, or a path.
    """
    folder = Path(folder)
    about = _read_about(folder)
    yaml_path = _listed_file(folder, YAML_FILE, about, within)
    if yaml_path.stat().st_size > LARGEST_YAML_BYTES:
        raise _refusal(
            folder, f"{YAML_FILE} has {yaml_path.stat().st_size} bytes; at most {LARGEST_YAML_BYTES} are read"
        )
    try:
        text = yaml_path.read_text(encoding="utf-8")
        root = ruamel.yaml.YAML(typ="safe", pure=True).compose(text)
        parts = _check_tree(root)
    except _Forbidden as error:
        raise _refusal(folder, f"{YAML_FILE}, line {error.line}: {error.args[0]}") from None
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(folder, f"{YAML_FILE} is no YAML: {' '.join(str(error).split())}") from error
    for name in parts:
        _listed_file(folder, f"{name}.ckpt", about, within)
    return Bundle(folder, text, about)


class _Forbidden(Exception):
    """What in a YAML file may not be there."""

    def __init__(self, message, node):
        super().__init__(message)
        self.line = node.start_mark.line + 1


def _refusal(folder, why):
    return InputError(f"the bundle {folder} is refused: {why}. Nothing of it was run. Get it again from who made it.")


def _read_about(folder):
    if not (folder / BUNDLE_FILE).is_file():
        raise InputError(
            f"{folder} is no bundle: it has no {BUNDLE_FILE}. `python recipes/IEMOCAP/export.py FOLD_DIR OUT_DIR` makes "
            "one out of a trained fold."
        )
    try:
        about = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refusal(folder, f"{BUNDLE_FILE} is no JSON ({error})") from error
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise _refusal(folder, f"{BUNDLE_FILE} lists no files with their SHA-256")
    for name in files:
        if Path(name).name != name or "\\" in name or name in ("", ".", ".."):
            raise _refusal(folder, f"{BUNDLE_FILE} lists {name!r}, a path out of the folder")
    if about.get("format") != FORMAT:
        raise _refusal(folder, f"its format is {about.get('format')!r}, and this version reads {FORMAT}")
    return about


def _listed_file(folder, name, about, within):
    """Return the path of one of the bundle's own files, once it is known to be the listed one."""
    if name not in about["files"]:
        raise _refusal(folder, f"{BUNDLE_FILE} does not list {name}")
    path = folder / name
    if not path.is_file():
        raise _refusal(folder, f"{name} is missing")
    if not path.resolve().is_relative_to(Path(within or folder).resolve()):
        raise _refusal(folder, f"{name} is a link to {path.resolve()}, out of the folder")
    found = sha256_of(path)
    if found != about["files"][name]:
        raise _refusal(
            folder,
            f"{name} is not the file that {BUNDLE_FILE} lists (SHA-256 {found[:12]}..., not {about['files'][name][:12]}...)",
        )
    return path


def _check_tree(root):
    """Check all nodes of a YAML file, and return the names of the parts that have weights."""
    if not isinstance(root, ruamel.yaml.nodes.MappingNode):
        raise _Forbidden("it has to be a mapping", root)
    _check_node(root, set())
    top = {}
    for key, value in root.value:
        if key.value in top:
            raise _Forbidden(f"the key {key.value!r} stands there twice", key)
        top[key.value] = value
    _expanded_size(root, top, {}, ())
    for name in NEEDED:
        if name not in top:
            raise _Forbidden(f"the key {name!r} is missing", root)
    modules = _mapping(top["modules"], "modules")
    if sorted(modules) != sorted(EncoderClassifier.MODULES_NEEDED):
        raise _Forbidden(f"modules has to hold {', '.join(EncoderClassifier.MODULES_NEEDED)}", top["modules"])
    if str(top["pretrainer"].tag) != "!new:speechbrain.utils.parameter_transfer.Pretrainer":
        raise _Forbidden("pretrainer has to be a speechbrain.utils.parameter_transfer.Pretrainer", top["pretrainer"])
    parts = _mapping(_mapping(top["pretrainer"], "pretrainer").get("loadables"), "loadables", top["pretrainer"])
    for name, value in parts.items():
        if not re.fullmatch(r"\w+", name):
            raise _Forbidden(f"{name!r} is no name of a part", value)
    return sorted(parts)


def _mapping(node, name, parent=None):
    if not isinstance(node, ruamel.yaml.nodes.MappingNode):
        raise _Forbidden(f"{name} has to be a mapping", node or parent)
    return {key.value: value for key, value in node.value}


def _check_node(node, seen):
    if id(node) in seen:
        raise _Forbidden("an alias (*name) is used; only !ref <key> may repeat something", node)
    seen.add(id(node))
    tag = str(node.tag)
    allowed = _allowed_arguments(tag, node)
    if isinstance(node, ruamel.yaml.nodes.ScalarNode):
        _check_scalar(node, tag)
        return
    if isinstance(node, ruamel.yaml.nodes.SequenceNode):
        for item in node.value:
            _check_node(item, seen)
        return
    for key, value in node.value:
        if not isinstance(key, ruamel.yaml.nodes.ScalarNode) or str(key.tag) != "tag:yaml.org,2002:str":
            raise _Forbidden(f"a key is no plain text ({key.tag})", key)
        _check_scalar(key, str(key.tag))
        if allowed is not None and key.value not in allowed:
            raise _Forbidden(f"{tag} may not be given {key.value!r} (allowed: {', '.join(allowed) or 'nothing'})", key)
        _check_node(value, seen)


def _allowed_arguments(tag, node):
    """Return the arguments that a tag may have, or None for plain values; refuse any tag that is not on the list."""
    for prefix, known in (("!new:", CLASSES), ("!name:", FUNCTIONS)):
        if tag.startswith(prefix) and tag.removeprefix(prefix) in known:
            return known[tag.removeprefix(prefix)]
    if tag in PLAIN_TAGS or (tag == "!ref" and isinstance(node, ruamel.yaml.nodes.ScalarNode)):
        return None
    raise _Forbidden(f"the tag {tag} is not on the list of what a bundle may build", node)


def _check_scalar(node, tag):
    value = node.value
    if tag == "!ref":
        if not REFERENCE.fullmatch(value):
            raise _Forbidden(f"!ref {value} is more than a reference to one key", node)
    elif tag.startswith(("!new:", "!name:")):
        if value:
            raise _Forbidden(f"{tag} is given the text {value!r}", node)
    elif value.startswith("("):  # HyperPyYAML parses such a text once more, by a loader that runs what it finds
        raise _Forbidden(f"the text {value!r} begins with a parenthesis", node)
    elif value.startswith(("/", "~")) or any(part in value for part in ("..", "://", "\\")):
        raise _Forbidden(f"the text {value!r} looks like a path; a bundle names none", node)


def _expanded_size(node, top, sizes, path):
    """Count the nodes of a tree with its references followed; refuse one that refers to itself, or grows too large."""
    if isinstance(node, ruamel.yaml.nodes.ScalarNode):
        if str(node.tag) != "!ref":
            return 1
        key = REFERENCE.fullmatch(node.value)[1]
        if key not in top:
            raise _Forbidden(f"!ref <{key}> refers to nothing", node)
        if key in path:
            raise _Forbidden(f"!ref <{key}> refers to itself", node)
        if key not in sizes:
            sizes[key] = _expanded_size(top[key], top, sizes, (*path, key))
        return sizes[key]
    if isinstance(node, ruamel.yaml.nodes.SequenceNode):
        size = 1 + sum(_expanded_size(item, top, sizes, path) for item in node.value)
    else:
        size = 1 + sum(_expanded_size(value, top, sizes, path) for _, value in node.value)
    if size > LARGEST_TREE:
        raise _Forbidden(f"its references make more than {LARGEST_TREE} values of it", node)
    return size
