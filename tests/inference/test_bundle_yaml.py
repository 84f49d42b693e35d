"""Each attack is run by plain HyperPyYAML first, so that what is refused is known to be an attack."""

import shutil
import subprocess
import sys

import pytest
import ruamel.yaml
import transformers
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import YAML_FILE
from speechbrain_ext.inference.bundle_yaml import RUN_OPTIONS, BundleYaml, YamlFault
from speechbrain_ext.inference.classifier import load_classifier
from tests.bundle_making import add_yaml, edit_yaml, make_bundle

# HyperPyYAML alone makes the folder `marker` of each.
RUNNING = {
    "apply": "x: !apply:os.mkdir [marker]",
    "apply system": "x: !apply:os.system [mkdir 'marker']",
    "new": "x: !new:subprocess.Popen [[mkdir, marker]]",
    "applyref": "x: !applyref:os.mkdir [marker]",
    "python tag": "x: !!python/object/apply:os.mkdir [marker]",
    "verbatim tag": "x: !<!apply:os.mkdir> [marker]",
    "escaped tag": "x: !apply:os%2Emkdir [marker]",
    "anchor": "x: &x !apply:os.mkdir [marker]",
    "nested": "x: {y: [{z: !apply:os.mkdir [marker]}]}",
    "argument": "x: !new:torch.nn.Identity {y: !apply:os.mkdir [marker]}",
    "layer": "x: !new:speechbrain.nnet.containers.LengthsCapableSequential [!apply:os.mkdir [marker]]",
    "hidden key": "__x: !apply:os.mkdir [marker]",
    "merge key": "x:\n    <<: {y: !apply:os.mkdir [marker]}",
    "tuple as a key": "x:\n    ? (!!python/object/apply:os.mkdir [marker])\n    : 1",
    "tuple": "x: (!!python/object/apply:os.mkdir [marker])",
    "tagged tuple": "x: !tuple \"(!!python/object/apply:os.mkdir ['marker'])\"",
}
# HyperPyYAML runs these in the first file that a process loads, which teaches it what a tuple is; it quotes later ones.
RUNNING_FIRST = {
    "quoted tuple": "x: \"(!!python/object/apply:os.mkdir ['marker'])\"",
    "tuple by reference": "y: \"!!python/object/apply:os.mkdir ['marker']\"\nx: !ref (<y>)",
    "tuple after nothing": "y: ''\nx: !ref <y>(!!python/object/apply:os.mkdir ['marker'])",
}
# What HyperPyYAML does not run at once, or not at all: a name is enough.
NAMED = {
    "new of a function": ("x: !new:os.system [ls]", "the tag !new:os.system is not on the list"),
    "name": ("x: !name:os.system", "the tag !name:os.system is not on the list"),
    "a listed class by name": ("x: !name:torch.nn.Identity", "the tag !name:torch.nn.Identity is not on the list"),
    "module": ("x: !module:os", "the tag !module:os is not on the list"),
    "another class of torch.nn": ("x: !new:torch.nn.Linear [1, 1]", "the tag !new:torch.nn.Linear is not on the list"),
    "a listed class's relative": ("x: !new:torch.nn.Identity.forward", "not on the list"),
    "spelling": ("x: !NEW:torch.nn.Identity", "the tag !NEW:torch.nn.Identity is not on the list"),
    "placeholder": ("x: !PLACEHOLDER", "the tag !PLACEHOLDER is not on the list"),
    "copy": ("x: !copy <emotions>", "the tag !copy is not on the list"),
    "own tag": ("x: !ours text", "the tag !ours is not on the list"),
    "tagged key": ("? !apply:os.getcwd []\n: 1", "a key is no plain text"),
    "list as a key": ("? [x]\n: 1", "a key is no plain text"),
    "number as a key": ("1: x", "a key is no plain text"),
    "alias": ("x: &x [1]\ny: *x", "an alias"),
    "two times a key": ("emotions: [sad]", "the key 'emotions' stands there twice"),
    "two times a nested key": ("x: {y: 1, y: 2}", "the key 'y' stands there twice"),
    "two documents": ("---\nx: 1", "cannot be parsed"),
    "sum": ("x: !ref <n_classes> * 9", "more than a reference to one key"),
    "attribute": ("x: !ref <encoder.__class__>", "more than a reference to one key"),
    "list of references": ("x: !ref [emotions]", "the tag !ref is not on the list"),
    "reference to nothing": ("x: !ref <nothing>", "!ref <nothing> refers to nothing"),
    "reference to itself": ("x: !ref <y>\ny: [{z: !ref <x>}]", "refers to itself"),
    "untagged reference": ("x: a<emotions>", "looks like a reference without !ref"),
    "absolute path": ("x: /etc/passwd", "looks like a path"),
    "path to a parent": ("x: ../weights", "looks like a path"),
    "path by way of a parent": ("x: a/../../weights", "looks like a path"),
    "path as a key": ("../x: 1", "looks like a path"),
    "home": ("x: ~root", "looks like a path"),
    "address": ("x: https://example.org", "looks like a path"),
    "drive": ("x: C:/weights", "looks like a path"),
    "Windows path": (r"x: a\b", "looks like a path"),
    "zero byte": (r'x: "a\0b"', "looks like a path"),
    "text for a class": ("x: !new:torch.nn.Identity text", "is given the text 'text'"),
    "text for the hook": ("x: !name:speechbrain.utils.checkpoints.torch_recovery text", "is given the text 'text'"),
    "hook elsewhere": ("x: !name:speechbrain.utils.checkpoints.torch_recovery", "belongs in the pretrainer's"),
    "private key": ("_x: 1", "the key '_x' is not a bundle's to set"),
}
HOSTILE_EDITS = {
    "collect_in": ("    loadables:\n", "    collect_in: here\n    loadables:\n", "may not be given 'collect_in'"),
    "paths": ("    loadables:\n", "    paths: {encoder: evil/x.ckpt}\n    loadables:\n", "may not be given 'paths'"),
    "conditions": ("    loadables:\n", "    conditions: {f_0: no}\n    loadables:\n", "may not be given 'conditions'"),
    "hook": ("f_0: !name:speechbrain.utils.checkpoints.torch_recovery", "f_0: !name:os.system", "!name:os.system"),
    "hook's argument": (
        "        f_1: !name:speechbrain.utils.checkpoints.torch_recovery\n            end_of_epoch",
        "        f_1: !name:speechbrain.utils.checkpoints.torch_recovery\n            path",
        "may not be given 'path'",
    ),
    "part's name": ("        f_1: !ref <f_1>", '        "f 1": !ref <f_1>', "'f 1' is no name of a part"),
    "save_path": ("    config: !ref <encoder_config>", "    save_path: here", "may not be given 'save_path'"),
    "source": ("    config: !ref <encoder_config>", "    source: evil/hub", "may not be given 'source'"),
    "attention": ("    config: !ref <encoder_config>", "    attn_implementation: evil/kernel", "may not be given"),
    "config by a list": ("    config: !ref <encoder_config>", "    config: [1]", "the encoder's config has to be a"),
    "config by a class": ("    config: !ref <encoder_config>", "    config: !ref <f_0>", "may not have 'input_dim'"),
    "kernel": ("    hidden_act: gelu", "    _attn_implementation: evil/kernel", "may not have '_attn_implementation'"),
    "remote code": ("    hidden_act: gelu", "    auto_map: {AutoModel: evil.Model}", "may not have 'auto_map'"),
    "quantization": ("    hidden_act: gelu", "    quantization_config: {}", "may not have 'quantization_config'"),
    "object in the config": ("    hidden_act: gelu", "    hidden_act: !new:torch.nn.Identity", "is no plain value"),
    "map in the config": ("    hidden_act: gelu", "    hidden_act: {a: 1}", "is no plain value"),
    "list in the config": ("    hidden_act: gelu", "    hidden_act: [[1]]", "is no plain value"),
    "reference in the config": ("    hidden_act: gelu", "    hidden_act: !ref <f_0>", "is no plain value"),
    "another normalizer": (
        "audio_normalizer: !new:speechbrain_ext.dataio.audio_normalizer.SoxrAudioNormalizer",
        "audio_normalizer: !new:torch.nn.Identity {}\nx:",
        "audio_normalizer has to be !new:",
    ),
    "another label encoder": (
        "label_encoder: !new:speechbrain_ext.dataio.label_encoder.FixedLabelEncoder",
        "label_encoder: [ang]\nx:",
        "label_encoder has to be !new:",
    ),
    "no emotions": ("emotions: [ang, hap, sad, neu]\n", "", "the key 'emotions' is missing"),
    "one module more": ("    classifier: !ref <f_1>", "    classifier: !ref <f_1>\n    x: 1", "modules has to hold"),
    "one module less": ("    classifier: !ref <f_1>\n", "", "modules has to hold compute_features, mean_var_norm, "),
    "no loadables": (".Pretrainer\n", ".Pretrainer {}\nx:\n", "pretrainer has no loadables"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("good") / "bundle")


@pytest.fixture
def bundle(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(good, tmp_path / "bundle")


def run_plainly(bundle):
    """Load hyperparams.yaml as `from_hparams` does, and wait for the processes that it starts."""
    try:
        with open(bundle / YAML_FILE, encoding="utf-8") as file:
            loaded = load_hyperpyyaml(file)
    except Exception:  # what it has run by then, it has run
        return
    if isinstance(loaded.get("x"), subprocess.Popen):
        loaded["x"].wait()


def assert_runs_plainly_and_is_refused(bundle, match):
    marker = bundle.with_name("marker")
    run_plainly(bundle)
    marker.rmdir()  # it is there: that was an attack
    with pytest.raises(InputError, match=match):
        load_classifier(bundle)
    assert not marker.exists()


@pytest.mark.parametrize("name", RUNNING)
def test_attack_is_refused_and_runs_nothing(bundle, tmp_path, name):
    n_lines = (bundle / YAML_FILE).read_text().count("\n")
    add_yaml(bundle, RUNNING[name])
    refused = rf"bundle is refused: hyperparams.yaml, line ({n_lines + 2}|{n_lines + 3}|{n_lines + 4}): .*Nothing"
    assert_runs_plainly_and_is_refused(bundle, refused)


@pytest.mark.parametrize("name", RUNNING_FIRST)
def test_attack_on_a_fresh_process_is_refused_and_runs_nothing(bundle, tmp_path, name):
    load = "import sys, hyperpyyaml; hyperpyyaml.load_hyperpyyaml(sys.argv[1])"
    subprocess.run([sys.executable, "-c", load, RUNNING_FIRST[name]], capture_output=True)
    (tmp_path / "marker").rmdir()  # it is there: that was an attack
    add_yaml(bundle, RUNNING_FIRST[name])
    with pytest.raises(InputError, match="parenthesis|more than a reference"):
        load_classifier(bundle)
    assert not (tmp_path / "marker").exists()


def test_attack_in_the_encoder_config_is_refused_and_runs_nothing(bundle, tmp_path):
    edit_yaml(bundle, "    hidden_act: gelu", "    hidden_act: !apply:os.mkdir [marker]")
    assert_runs_plainly_and_is_refused(bundle, "the tag !apply:os.mkdir is not on the list")


def test_attack_by_a_renamed_tag_is_refused_and_runs_nothing(bundle, tmp_path):
    text = (bundle / YAML_FILE).read_text()
    (bundle / YAML_FILE).write_text(f"%TAG !x! !apply:os.\n---\n{text}")
    add_yaml(bundle, "x: !x!mkdir [marker]")
    assert_runs_plainly_and_is_refused(bundle, "the tag !apply:os.mkdir is not on the list")


def test_attack_by_an_included_file_is_refused_and_runs_nothing(bundle, tmp_path):
    (bundle / "more.yaml").write_text("y: !apply:os.mkdir [marker]")
    add_yaml(bundle, "x: !include:more.yaml")
    assert_runs_plainly_and_is_refused(bundle, "the tag !include:more.yaml is not on the list")


@pytest.mark.parametrize("tag", ["!module:bundle_evil", "!name:bundle_evil.f", "!new:bundle_evil.f"])
def test_attack_by_an_imported_module_is_refused_and_runs_nothing(bundle, tmp_path, monkeypatch, tag):
    (tmp_path / "bundle_evil.py").write_text("import os\nos.mkdir('marker')\nraise ValueError")
    monkeypatch.syspath_prepend(tmp_path)
    add_yaml(bundle, f"x: {tag}")
    assert_runs_plainly_and_is_refused(bundle, f"the tag {tag} is not on the list")


@pytest.mark.parametrize("arguments", ["[evil/hub]", "{source: evil/hub}", "{source: evil/hub, save_path: here}"])
def test_encoder_from_the_hub_is_refused_and_asks_for_nothing(bundle, monkeypatch, arguments):
    asked = []
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda source, **options: asked.append(source))
    add_yaml(bundle, f"x: !new:speechbrain_ext.lobes.truncated_encoder.TruncatedHuBERT {arguments}")
    run_plainly(bundle)
    assert asked == ["evil/hub"]
    with pytest.raises(InputError, match="is given a list|may not be given 'source'"):
        load_classifier(bundle)
    assert asked == ["evil/hub"]


@pytest.mark.parametrize("name", NAMED)
def test_forbidden_line_is_refused(good, name):
    line, words = NAMED[name]
    with pytest.raises(YamlFault) as caught:
        BundleYaml((good / YAML_FILE).read_text() + line)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", HOSTILE_EDITS)
def test_forbidden_setting_is_refused(good, name):
    old, new, words = HOSTILE_EDITS[name]
    text = (good / YAML_FILE).read_text()
    assert text.count(old) == 1
    with pytest.raises(YamlFault) as caught:
        BundleYaml(text.replace(old, new))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", sorted(RUN_OPTIONS))
def test_option_for_running_is_refused(good, name):
    with pytest.raises(YamlFault, match=f"the key '{name}' is not a bundle's to set"):
        BundleYaml((good / YAML_FILE).read_text() + f"{name}: 1")


def test_options_for_running_are_those_that_the_classifier_takes():
    assert {"device", "jit", "compile", "data_parallel_backend", "distributed_launch", "precision"} <= RUN_OPTIONS


def test_fault_names_its_line(good):
    with pytest.raises(YamlFault) as caught:
        BundleYaml("a: 1\nb:\n    - 2\n    - !apply:os.getcwd []\n")
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has to be a mapping"),
        ("# nothing", "it has to be a mapping"),
        ("[a, b]", "it has to be a mapping"),
        ("a: [1", "cannot be parsed"),
        ("a: \x07", "cannot be parsed"),
        ("%YAML 1.1\n---\na: 1", "a line begins with %"),
        ("a: " + "[" * 500, "cannot be parsed"),
        ("a: " + "{a: " * 2_000, "cannot be parsed"),
        ("- " * 2_000, "cannot be parsed"),
    ],
)
def test_text_that_is_no_mapping_is_refused(text, words):
    with pytest.raises(YamlFault, match=words):
        BundleYaml(text)


def test_references_that_lead_too_deep_are_refused(good):
    lines = [*(f"x{n}: [!ref <x{n + 1}>]" for n in range(2_000)), "x2000: 1"]
    with pytest.raises(YamlFault, match="more than 50 levels"):
        BundleYaml((good / YAML_FILE).read_text() + "\n".join(lines))


def test_references_that_multiply_are_refused(good):
    lines = ["x0: [1, 1]", *(f"x{n}: [!ref <x{n - 1}>, !ref <x{n - 1}>]" for n in range(1, 60))]  # 2^60 values
    text = (good / YAML_FILE).read_text()
    with pytest.raises(YamlFault, match="its references make more than 10000 values of it") as caught:
        BundleYaml(text + "\n".join(lines))
    # x0 has 3 values, and each next one the double and a list and two references: 6 * 2^n - 3, above 10000 for n = 11
    assert caught.value.line == text.count("\n") + 12
    BundleYaml(text + "\n".join(lines[:3]))


def test_build_gives_the_values_of_hyperpyyaml(good):
    text = (good / YAML_FILE).read_text()
    text += 'a: [1e-05, -1.5, .inf, 0x1F, 1_000, "1", no, yes, 12:30, null, ~, "", 1e3, 2.]\nb: {c: {d: "no"}}\n'
    built, expected = BundleYaml(text).build(), load_hyperpyyaml(text)
    assert built.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, (str, int, float, list, dict, type(None))) and key != "modules":
            assert repr(built[key]) == repr(value)  # of the same types
        else:
            assert type(built[key]) is type(value)
    assert repr(built["encoder_config"]["layer_norm_eps"]) == "1e-05"
    assert built["modules"]["embedding_model"].encoder is built["encoder"] is built["pretrainer"].loadables["encoder"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_layers: 2", "num_layers: 3", "num_layers is 3, but the config has 2 layers"),
        ("n_classes: 4", "n_classes: four", "EmotionClassifier cannot be built"),
        ("emb_dim: 64", "emb_dim: -1", "EmotionEmbedding cannot be built"),
        ("    hidden_act: gelu", "    hidden_act: nothing", "TruncatedHuBERT cannot be built"),
        ("    classifier: !ref <f_1>", "    classifier: text", "classifier in modules is no torch.nn.Module"),
        ("    classifier: !ref <f_1>", "    classifier: null", "classifier in modules is no torch.nn.Module"),
        ("        f_1: !ref <f_1>", "        f_1: !ref <emotions>", "f_1 in pretrainer is no torch.nn.Module"),
        ("sample_rate: 16000", "sample_rate: !!int text", "tag:yaml.org,2002:int cannot be built"),
    ],
)
def test_build_of_wrong_values_names_the_line(good, old, new, words):
    text = (good / YAML_FILE).read_text()
    assert text.count(old) == 1
    with pytest.raises(YamlFault) as caught:
        BundleYaml(text.replace(old, new)).build()
    assert words in str(caught.value)
    assert 1 < caught.value.line <= text.count("\n")


def test_good_file_is_not_built_by_the_check(good, monkeypatch):
    monkeypatch.setattr(ruamel.yaml.constructor.BaseConstructor, "construct_object", None)
    monkeypatch.setattr("pydoc.locate", None)
    assert BundleYaml((good / YAML_FILE).read_text()).parts == ["encoder", "f_0", "f_1"]
