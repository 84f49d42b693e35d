"""BundleYaml: what a bundle's hyperparams.yaml describes, checked against a short list and built without HyperPyYAML.

HyperPyYAML runs what a file names: `!apply:`, any class or function after `!new:` and `!name:`, other files after
`!include:`, PyYAML's own `!!python/` tags, also in texts of the form (...), which it parses a second time. Here a file
is parsed once, into nodes; what has been checked is what is built, and nothing else can be named.
"""

import functools
import pydoc
import re

import ruamel.yaml
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from speechbrain.core import RunOptions
from speechbrain.inference.classifiers import EncoderClassifier
from torch import nn

from speechbrain_ext.lobes.truncated_encoder import ARCHITECTURE_KEYS

ENCODER = "!new:speechbrain_ext.lobes.truncated_encoder.TruncatedHuBERT"
LABELS = "!new:speechbrain_ext.dataio.label_encoder.FixedLabelEncoder"
NORMALIZER = "!new:speechbrain_ext.dataio.audio_normalizer.SoxrAudioNormalizer"
PRETRAINER = "!new:speechbrain.utils.parameter_transfer.Pretrainer"
SEQUENTIAL = "!new:speechbrain.nnet.containers.LengthsCapableSequential"
HOOK = "!name:speechbrain.utils.checkpoints.torch_recovery"
# What may be built, and with which arguments: none that reads a file, and none that takes weights from elsewhere.
ARGUMENTS = {
    ENCODER: ("config", "num_layers", "projection_dropout", "feature_reduction", "waveform_scale"),
    LABELS: ("labels",),
    NORMALIZER: ("sample_rate",),
    PRETRAINER: ("loadables", "custom_hooks"),
    SEQUENTIAL: (),  # its layers stand as a list
    HOOK: ("end_of_epoch",),
    "!new:torch.nn.Identity": (),
    "!new:speechbrain_ext.nnet.projection.EmotionClassifier": ("emb_dim", "n_classes"),
    "!new:speechbrain_ext.nnet.projection.EmotionEmbedding": ("input_dim", "emb_dim"),
    "!new:speechbrain_ext.inference.embedding_model.EmbeddingModel": (
        "encoder",
        "f_0",
        "sample_rate_hz",
        "waveform_scale",
        "max_s",
        "fixed_length_s",
        "mask_padding",
    ),
}
CONFIG_KEYS = ("model_type", *ARCHITECTURE_KEYS)  # the others name code on the Hub, or change what is computed
NEEDED = ("emotions", "n_classes", "sample_rate", "modules", "pretrainer", "label_encoder", "audio_normalizer")
FIXED_TAGS = {"pretrainer": PRETRAINER, "label_encoder": LABELS, "audio_normalizer": NORMALIZER}
RUN_OPTIONS = frozenset(RunOptions().as_dict())  # SpeechBrain takes them out of the file, too
PLAIN_KINDS = {
    ScalarNode: ("str", "int", "float", "bool", "null"),
    MappingNode: ("map",),
    SequenceNode: ("seq",),
}
PLAIN_TAGS = {kind: tuple("tag:yaml.org,2002:" + name for name in names) for kind, names in PLAIN_KINDS.items()}
DEEPEST = 50  # levels of values within values, references followed
LARGEST_SIZE = 10_000  # values, references followed; a list that refers to a list twice doubles it
REFERENCE = re.compile(r"<(\w+)>")
# Nothing here would follow such a text; `from_hparams` might, and no bundle needs one.
REFUSED_TEXTS = (
    (re.compile(r"\s*\("), "begins with a parenthesis, and HyperPyYAML would run what stands in it"),
    (re.compile(r".*<.*>", re.DOTALL), "looks like a reference without !ref"),
    (re.compile(r"\s*([/~]|[A-Za-z]:[/\\])|.*(\.\.|://|\\|\0)", re.DOTALL), "looks like a path; a bundle names none"),
)


class YamlFault(Exception):
    """What in a YAML file may not be there, with its `line`."""

    def __init__(self, message, line):
        super().__init__(" ".join(message.split()).rstrip("."))
        self.line = line


class BundleYaml:
    """A checked hyperparams.yaml.

    Arguments
    ---------
    text : str
        The file's text.

    Attributes
    ----------
    parts : list of str
        The names of the parts that have weights.

    Raises
    ------
    YamlFault
        If the text is no YAML, or names anything but a few classes of speechbrain, torch.nn and speechbrain_ext with
        their harmless arguments. Nothing has been built then.

    Example
    -------
    >>> BundleYaml("a: !apply:os.system [ls]")
    Traceback (most recent call last):
    speechbrain_ext.inference.bundle_yaml.YamlFault: the tag !apply:os.system is not on the list of what a bundle may build
    """

    def __init__(self, text):
        self._yaml = ruamel.yaml.YAML(typ="safe", pure=True)
        try:
            root = self._yaml.compose(text)
            _check_node(root)
        except YamlFault:
            raise
        except Exception as error:  # ruamel.yaml raises what it meets, RecursionError among it
            mark = getattr(error, "problem_mark", None)
            raise YamlFault(f"it cannot be parsed: {error}", mark.line + 1 if mark else 1) from error
        if directive := re.search("^%", text, re.MULTILINE):  # such as %TAG, which renames tags
            raise YamlFault("a line begins with %", text.count("\n", 0, directive.start()) + 1)
        if not isinstance(root, MappingNode):
            raise _fault("it has to be a mapping", root)
        self._top = {key.value: value for key, value in root.value}
        for key, _ in root.value:
            if key.value in RUN_OPTIONS or key.value.startswith("_"):
                raise _fault(f"the key {key.value!r} is not a bundle's to set", key)
        for name in NEEDED:
            if name not in self._top:
                raise _fault(f"the key {name!r} is missing", root)
        self._expanded_size(root, (), {})
        for name, tag in FIXED_TAGS.items():
            if str(self._top[name].tag) != tag:
                raise _fault(f"{name} has to be {tag}", self._top[name])
        self.parts = self._check_structure(root)

    def build(self):
        """Build what the file describes.

        Returns
        -------
        dict
            What HyperPyYAML would make of the file.

        Raises
        ------
        YamlFault
            If a class does not take its arguments.
        """
        built = {}

        def value(name):
            if name not in built:
                built[name] = make(self._top[name])
            return built[name]

        def make(node):
            tag = str(node.tag)
            if tag == "!ref":
                return value(REFERENCE.fullmatch(node.value)[1])
            args, kwargs = [], {}
            if isinstance(node, SequenceNode):
                args = [make(item) for item in node.value]
            elif isinstance(node, MappingNode):
                kwargs = {key.value: make(item) for key, item in node.value}
            try:
                if tag in ARGUMENTS:
                    named = pydoc.locate(tag.split(":")[1])
                    return functools.partial(named, *args, **kwargs) if tag == HOOK else named(*args, **kwargs)
                if isinstance(node, ScalarNode):
                    return self._yaml.constructor.construct_object(node)
            except Exception as error:  # a constructor raises what it meets
                raise _fault(f"{tag} cannot be built: {error}", node) from error
            return args if isinstance(node, SequenceNode) else kwargs

        hparams = {name: value(name) for name in self._top}
        for name, members in (("modules", hparams["modules"]), ("pretrainer", hparams["pretrainer"].loadables)):
            for key, member in members.items():
                if not isinstance(member, nn.Module):
                    raise _fault(f"{key} in {name} is no torch.nn.Module", self._top[name])
        return hparams

    def _expanded_size(self, node, path, sizes, depth=0):
        """Count values with all references followed; refuse references to nothing and to themselves, and too many."""
        if id(node) in sizes:
            return sizes[id(node)]
        if depth > DEEPEST:
            raise _fault(f"values lie within each other, more than {DEEPEST} levels", node)
        children = _children(node)
        if str(node.tag) == "!ref":
            key = REFERENCE.fullmatch(node.value)[1]
            if key not in self._top:
                raise _fault(f"!ref <{key}> refers to nothing", node)
            if key in path:
                raise _fault(f"!ref <{key}> refers to itself", node)
            path = (*path, key)
            children = [self._top[key]]
        size = 1 + sum(self._expanded_size(child, path, sizes, depth + 1) for child in children)
        if size > LARGEST_SIZE:
            raise _fault(f"its references make more than {LARGEST_SIZE} values of it", node)
        sizes[id(node)] = size
        return size

    def _check_structure(self, root):
        """Check what belongs where, and return the names of the parts that have weights."""
        modules = _members(self._top["modules"], "modules")
        if sorted(modules) != sorted(EncoderClassifier.MODULES_NEEDED):
            raise _fault(f"modules has to hold {', '.join(EncoderClassifier.MODULES_NEEDED)}", self._top["modules"])
        pretrainer = _members(self._top["pretrainer"], "pretrainer")
        if "loadables" not in pretrainer:
            raise _fault("pretrainer has no loadables", self._top["pretrainer"])
        parts = _members(pretrainer["loadables"], "loadables")
        for name, node in parts.items():
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise _fault(f"{name!r} is no name of a part", node)
        hooks = pretrainer.get("custom_hooks")
        hooks = [] if hooks is None else _members(hooks, "custom_hooks").values()
        self._check_placed(root, {id(hook) for hook in hooks})
        return sorted(parts)

    def _check_placed(self, node, hooks):
        """Refuse a hook that stands elsewhere, and an encoder whose config is more than an architecture."""
        if str(node.tag) == HOOK and id(node) not in hooks:
            raise _fault(f"{HOOK} belongs in the pretrainer's custom_hooks", node)
        if str(node.tag) == ENCODER and isinstance(node, MappingNode):
            for key, config in node.value:
                if key.value == "config":
                    self._check_config(config)
        for child in _children(node):
            self._check_placed(child, hooks)

    def _check_config(self, node):
        for key, value in _members(self._follow(node), "the encoder's config").items():
            if key not in CONFIG_KEYS:
                raise _fault(f"the encoder's config may not have {key!r} (allowed: {', '.join(CONFIG_KEYS)})", value)
            values = value.value if isinstance(value, SequenceNode) else [value]
            for plain in values:
                if str(plain.tag) not in PLAIN_TAGS[ScalarNode]:
                    raise _fault(f"the encoder's config has a {key} that is no plain value", value)

    def _follow(self, node):
        while str(node.tag) == "!ref":
            node = self._top[REFERENCE.fullmatch(node.value)[1]]
        return node


def _fault(message, node):
    return YamlFault(message, node.start_mark.line + 1 if node else 1)


def _children(node):
    if isinstance(node, MappingNode):
        return [value for _, value in node.value]
    return node.value if isinstance(node, SequenceNode) else []


def _members(node, name):
    if not isinstance(node, MappingNode):
        raise _fault(f"{name} has to be a mapping", node)
    return {key.value: value for key, value in node.value}


def _check_node(node, seen=None):
    """Refuse a tag, an argument or a text that a bundle may not have, here and below."""
    if node is None:  # an empty file
        return
    seen = set() if seen is None else seen
    if id(node) in seen:
        raise _fault("an alias (*name) is used; only !ref <key> may repeat something", node)
    seen.add(id(node))
    tag = str(node.tag)
    if isinstance(node, ScalarNode):
        _check_scalar(node, tag)
        return
    if tag not in ARGUMENTS and tag not in PLAIN_TAGS[type(node)]:
        raise _forbidden_tag(node)
    if isinstance(node, SequenceNode):
        if tag in ARGUMENTS and tag != SEQUENTIAL:
            raise _fault(f"{tag} is given a list; its arguments have to be named", node)
        for item in node.value:
            _check_node(item, seen)
        return
    names = set()
    for key, value in node.value:
        if str(key.tag) != "tag:yaml.org,2002:str":
            raise _fault(f"a key is no plain text ({key.tag})", key)
        _check_node(key, seen)
        if key.value in names:
            raise _fault(f"the key {key.value!r} stands there twice", key)
        names.add(key.value)
        if tag in ARGUMENTS and key.value not in ARGUMENTS[tag]:
            known = ", ".join(ARGUMENTS[tag]) or "nothing"
            raise _fault(f"{tag} may not be given {key.value!r} (allowed: {known})", key)
        _check_node(value, seen)


def _check_scalar(node, tag):
    if tag == "!ref":
        if not REFERENCE.fullmatch(node.value):
            raise _fault(f"!ref {node.value} is more than a reference to one key", node)
    elif tag in ARGUMENTS:
        if node.value:
            raise _fault(f"{tag} is given the text {node.value!r}", node)
    elif tag not in PLAIN_TAGS[ScalarNode]:
        raise _forbidden_tag(node)
    elif tag == "tag:yaml.org,2002:str":
        for pattern, why in REFUSED_TEXTS:
            if pattern.match(node.value):
                raise _fault(f"the text {node.value[:100]!r} {why}", node)


def _forbidden_tag(node):
    return _fault(f"the tag {node.tag} is not on the list of what a bundle may build", node)
