"""A bundle goes to the Hub and comes back, by way of a small Hub on this machine."""

import socket

import pytest
import torch
from huggingface_hub import HfApi, constants
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.utils.fetching import FetchConfig

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference import hub as hub_module
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.hub import bundle_files, check_hub_id, fetch_bundle, push_bundle
from tests.hub_stub import HubStub

NAMES = ["README.md", "bundle.json", "encoder.ckpt", "f_0.ckpt", "f_1.ckpt", "hyperparams.yaml"]


def use_hub(monkeypatch, url, folder, token="hf_right"):
    """Let the Hub be at an address, with a cache of its own: what HF_ENDPOINT and HF_HOME do for a new process."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.chdir(folder.parent)  # there is no folder of the model's name


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubStub() as stub:
        use_hub(monkeypatch, stub.url, tmp_path / "cache")
        yield stub


def test_bundle_is_pushed_private_and_loaded_by_its_name(hub, bundle):
    (bundle / "notes.txt").write_text("not to be seen")
    assert push_bundle(bundle, "ann/emotion") == f"{hub.url}/ann/emotion"
    pushed = hub.repos["ann/emotion"]
    assert pushed["private"] is True
    assert pushed["files"] == {name: (bundle / name).read_bytes() for name in NAMES}
    assert [path for _, path in hub.requests].count("/api/models/ann/emotion/commit/main") == 1

    wavs = torch.sin(torch.arange(16000.0)).unsqueeze(0)
    ours = load_classifier("ann/emotion")
    plain = EncoderClassifier.from_hparams(source="ann/emotion", fetch_config=FetchConfig(token=True))
    torch.testing.assert_close(ours.classify_batch(wavs)[0], plain.classify_batch(wavs)[0], atol=1e-6, rtol=0)


def test_weights_that_were_swapped_on_the_hub_are_refused(hub, good_bundle):
    push_bundle(good_bundle, "ann/emotion")
    files = hub.repos["ann/emotion"]["files"]
    files["f_1.ckpt"] = files["f_0.ckpt"]
    with pytest.raises(InputError, match="f_1.ckpt is not the file that bundle.json lists"):
        load_classifier("ann/emotion")


def test_who_may_not_write_is_told_what_to_do(hub, good_bundle, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="ann/emotion was not uploaded: Client error '401.*hf auth login"):
        push_bundle(good_bundle, "ann/emotion")
    assert hub.repos == {}


def test_model_that_is_not_on_the_hub_is_an_error(hub):
    with pytest.raises(InputError, match="ann/nothing is no folder here and no model on the .* Check the name and"):
        fetch_bundle("ann/nothing")


def test_downloaded_bundle_loads_where_the_hub_cannot_be_reached(hub, good_bundle, monkeypatch, tmp_path):
    push_bundle(good_bundle, "ann/emotion")
    folder = fetch_bundle("ann/emotion")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    use_hub(monkeypatch, nobody, tmp_path / "cache")
    assert fetch_bundle("ann/emotion") == folder
    use_hub(monkeypatch, nobody, tmp_path / "another cache")
    with pytest.raises(InputError) as caught:
        fetch_bundle("ann/emotion")
    assert "cannot be downloaded from the Hugging Face Hub: " in str(caught.value)
    assert str(caught.value).endswith(
        "Where there is internet, `hf download ann/emotion --local-dir FOLDER`; then give that FOLDER here."
    )


def test_hub_that_never_answers_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 0.2)
    model_info, timeouts_s = HfApi.model_info, []
    monkeypatch.setattr(
        HfApi, "model_info", lambda *args, **given: [timeouts_s.append(given["timeout"]), model_info(*args, **given)][1]
    )
    with socket.create_server(("127.0.0.1", 0)) as mute:
        use_hub(monkeypatch, f"http://127.0.0.1:{mute.getsockname()[1]}", tmp_path / "cache")
        with pytest.raises(InputError, match="timed out"):
            fetch_bundle("ann/emotion")
    assert timeouts_s == [0.2]  # asked once


def test_offline_mode_is_said(monkeypatch, tmp_path):
    use_hub(monkeypatch, "http://127.0.0.1", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="offline mode is enabled.*hf download ann/emotion"):
        fetch_bundle("ann/emotion")


def test_listed_files_and_nothing_else_go_up(bundle):
    (bundle / "secret.txt").write_text("x")
    files = bundle_files(bundle)
    assert list(files) == NAMES
    assert files["README.md"] == len("# A test\n")


@pytest.mark.parametrize("name", ["emotion", "ann/emotion/1", "ann/emo tion", "../up", "ann/", ""])
def test_what_is_no_user_and_name_is_refused(name):
    with pytest.raises(InputError, match="is called USER/NAME"):
        check_hub_id(name)
