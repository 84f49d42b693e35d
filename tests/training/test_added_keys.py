"""Settings that came later: switched off in files of earlier versions, which have the fingerprint they had."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.added_keys import ADDED_KEYS
from speechbrain_ext.training.hparams_file import hparams_text, plain_settings, read_settings, settings_fingerprint


def fingerprint(path, overrides=None):
    return settings_fingerprint(hparams_text(path, overrides))


def test_added_keys_are_off_in_the_papers_recipe(root):
    settings = plain_settings(hparams_text(root / "hparams" / "loso.yaml"))
    assert {key: settings[key] for key in ADDED_KEYS} == ADDED_KEYS


def test_a_file_of_an_earlier_version_has_new_keys_switched_off(hparams_file, tmp_path, monkeypatch):
    before = fingerprint(hparams_file)
    monkeypatch.setitem(ADDED_KEYS, "added", [])
    assert read_settings(hparams_file)[0]["added"] == []
    assert plain_settings(hparams_text(hparams_file))["added"] == []
    assert fingerprint(hparams_file) == before
    with pytest.raises(InputError, match="--added is unknown"):  # nothing there would use it
        read_settings(hparams_file, {"added": [1]})
    newer = tmp_path / "newer.yaml"
    newer.write_text(f"added: []\n{hparams_file.read_text()}")
    assert fingerprint(newer) == before
    assert fingerprint(newer, {"added": [1]}) != before
