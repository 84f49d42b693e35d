"""What SECURITY.md says of a run's folder: neither the report nor the export runs anything that is in it."""

import pytest
import yaml
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.commands.main import main


def test_a_hostile_runs_folder_runs_nothing(fit, tmp_path, capsys):
    fold = fit("results/seed1/fold1", "--number_of_epochs=1")
    attack = f"x: !apply:os.makedirs [{tmp_path / 'marker'}]"
    with pytest.raises(FileExistsError):  # makes the folder, and cannot make it twice: this is an attack
        [load_hyperpyyaml(attack) for _ in range(2)]
    (tmp_path / "marker").rmdir()
    with open(fold / "hyperparams.yaml", "a", encoding="utf-8") as file:
        file.write(f"\n{attack}\n")
    assert main(["report", str(tmp_path / "results"), "--allow=incomplete"]) == 0
    assert main(["export", str(fold), str(tmp_path / "bundle")]) == 0

    attack = f"unixtime: !!python/object/apply:os.mkdir [{tmp_path / 'marker'}]\n"
    yaml.unsafe_load(attack)
    (tmp_path / "marker").rmdir()
    for checkpoint in fold.glob("save/CKPT*"):
        (checkpoint / "CKPT.yaml").write_text(attack)
    assert main(["export", str(fold), str(tmp_path / "second")]) == 1
    assert "holds no checkpoint of epoch" in capsys.readouterr().err  # none that can be read
    assert not (tmp_path / "marker").exists()
