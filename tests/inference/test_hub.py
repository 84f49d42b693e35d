"""A bundle goes to the Hub and comes back, by way of a small Hub on this machine."""

import json
import os
import subprocess
import sys

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.hub import bundle_files, check_hub_id
from tests.bundle_making import make_bundle
from tests.hub_stub import HubStub

PUSH = (
    "import sys; from speechbrain_ext.inference.hub import push_bundle; print(push_bundle(sys.argv[1], 'ann/emotion'))"
)
LOAD = """
import json, torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.utils.fetching import FetchConfig
from speechbrain_ext.inference.classifier import load_classifier
wavs = torch.sin(torch.arange(16000.0)).unsqueeze(0)
guarded = load_classifier("ann/emotion")
plain = EncoderClassifier.from_hparams(source="ann/emotion", fetch_config=FetchConfig(token=True))
print(json.dumps([c.classify_batch(wavs)[0].tolist() for c in (plain, guarded)]))
"""


def run(code, hub, root, tmp_path, *words, token="hf_right"):
    """Run Python code for which the Hub is the stub."""
    env = {
        **os.environ,
        "PYTHONPATH": str(root),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env, cwd=tmp_path)


def test_a_bundle_is_pushed_private_and_loaded_by_its_name(root, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "notes.txt").write_text("not to be seen")
    with HubStub() as hub:
        done = run(PUSH, hub, root, tmp_path, str(bundle))
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{hub.url}/ann/emotion"
        pushed = hub.repos["ann/emotion"]
        assert pushed["private"] is True
        names = ["README.md", "bundle.json", "encoder.ckpt", "f_0.ckpt", "f_1.ckpt", "hyperparams.yaml"]
        assert pushed["files"] == {name: (bundle / name).read_bytes() for name in names}
        assert [path for _, path in hub.requests].count("/api/models/ann/emotion/commit/main") == 1

        loaded = run(LOAD, hub, root, tmp_path)
        assert loaded.returncode == 0, loaded.stderr
        plain, guarded = json.loads(loaded.stdout)
        assert plain == guarded and len(plain[0]) == 4

        # A weight file is swapped on the Hub: the guard sees it.
        pushed["files"]["f_1.ckpt"] = pushed["files"]["f_0.ckpt"]
        (tmp_path / "elsewhere").mkdir()
        refused = run(LOAD, hub, root, tmp_path / "elsewhere")
        assert refused.returncode == 1 and "f_1.ckpt is not the file that bundle.json lists" in refused.stderr


def test_who_may_not_write_is_told_what_to_do(root, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with HubStub() as hub:
        done = run(PUSH, hub, root, tmp_path, str(bundle), token="hf_wrong")
        assert hub.repos == {} and done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "ann/emotion was not uploaded: Client error '401" in said and "hf auth login" in said


def test_listed_files_and_nothing_else_go_up(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "secret.txt").write_text("x")
    files = bundle_files(bundle)
    assert list(files) == ["README.md", "bundle.json", "encoder.ckpt", "f_0.ckpt", "f_1.ckpt", "hyperparams.yaml"]
    assert files["README.md"] == len("# A test\n")


@pytest.mark.parametrize("name", ["emotion", "ann/emotion/1", "ann/emo tion", "../up", "ann/", ""])
def test_what_is_no_user_and_name_is_refused(name):
    with pytest.raises(InputError, match="is called USER/NAME"):
        check_hub_id(name)
