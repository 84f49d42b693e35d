"""Encoders side by side: the rows, the runs on one cache for each encoder, and the table."""

import json

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.launch import ablations
from speechbrain_ext.launch.encoder_grid import encoder_rows, rows_with_runs
from tests.launch.test_ablations import cells_of, jobs_of, run  # noqa: F401
from tests.launch.test_plan import pool  # noqa: F401
from tests.recipes.fold_reading import save_source
from tests.results.run_files import TRUE, write_run
from tests.tiny_encoders import save_checkpoint


@pytest.fixture
def encoders(tmp_path):
    """Save two encoders with 2 and 4 layers."""
    save_source(tmp_path / "tiny")
    save_checkpoint("whisper", tmp_path / "whisper")
    return [str(tmp_path / "tiny"), str(tmp_path / "whisper")]


def test_rows_are_encoders_by_layers(encoders):
    rows = encoder_rows(encoders, "sum,1-2")
    assert [row["name"] for row in rows] == [f"{name}-{kind}" for name in ("tiny", "whisper") for kind in ("sum", 1, 2)]
    assert [row["cells"] for row in rows][:2] == [["tiny", "sum"], ["tiny", 1]]
    assert rows[3]["overrides"] == {"encoder_source": encoders[1], "num_layers": 4, "layer_weights": "learned"}
    assert rows[5]["overrides"] == {"encoder_source": encoders[1], "num_layers": 2, "layer_weights": None}
    assert [row["cells"][1] for row in encoder_rows(encoders[1:], "each")] == [1, 2, 3, 4]


def test_wrong_encoders_and_layers_are_refused(encoders, tmp_path):
    for names, layers, message in (
        ([*encoders, encoders[0]], "sum", "--encoders names 'tiny' twice"),
        (encoders, "1-3", "--layers names layer 3, but tiny has 2: 1 to 2"),
        (encoders, "last", "--layers must be whole numbers .* Or sum, or each"),
        ([str(tmp_path)], "sum", "holds no checkpoint that can be read: config.json is missing"),
    ):
        with pytest.raises(InputError, match=message):
            encoder_rows(names, layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--table=encoders"], "the table encoders compares encoders: name them, --encoders="),
        (["--tables=fig2", "--encoders=x"], "--encoders belongs to the tables `encoders` and `layers`"),
        (["--table=layers", "--encoders={tiny}", "--layers=3"], "--layers names layer 3, but tiny has 2"),
    ],
)
def test_wrong_options_are_refused(root, run, encoders, pool, capsys, options, message):  # noqa: F811
    assert run(root / "hparams/frozen.yaml", *(option.format(tiny=encoders[0]) for option in options)) == 1
    assert message in capsys.readouterr().err and not pool


def test_all_runs_of_a_grid_share_one_cache_and_one_start(root, run, encoders, demo_corpus, pool, tmp_path):  # noqa: F811
    folder = tmp_path / "out"
    options = ["--table=encoders", f"--encoders={','.join(encoders)}", "--layers=sum,1", "--seeds=1,2", "--folds=1-2"]
    options += ["--corpus=synthetic", "--emotions=[ang, hap, sad, neu]", f"--data_folder={demo_corpus}"]
    run(root / "hparams/frozen.yaml", *options, f"--results_folder={folder}")
    jobs = jobs_of(pool)
    assert len(jobs) == 2 * 2 * 2 * 2 and all(job.warm for job in jobs)
    for job in jobs:
        assert f"--feature_cache={folder / 'features'}" in job.command
    assert "--num_layers=4" in jobs[8].command and "--layer_weights=learned" in jobs[8].command


def test_layer_curve_of_an_encoder_from_one_extraction(root, run, encoders, demo_corpus, tmp_path, monkeypatch):  # noqa: F811
    """Two layers, one fold, one epoch: a row for each layer, and the shards are written by the first run alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "out"
    options = ["--corpus=synthetic", "--emotions=[ang, hap, sad, neu]", f"--data_folder={demo_corpus}", "--folds=1"]
    options += ["--number_of_epochs=1", f"--results_folder={folder}", f"--encoders={encoders[0]}"]
    assert run(root / "hparams/frozen.yaml", "--table=layers", *options) == 0
    text = (folder / "ablations.md").read_text()
    for layer in (1, 2):
        metrics = json.loads((folder / f"layers/tiny-{layer}/seed1/fold1/test_metrics.json").read_text())
        row = cells_of(text, ["tiny", str(layer)])
        assert row[2:4] == [f"{100 * metrics[key]:.2f}" for key in ("WA", "UA")] and " to " in row[4]
        assert metrics["hyperparameters"]["num_layers"] == layer
    (cache,) = (folder / "features").glob("hubert-*")
    first = (folder / "layers/tiny-1/seed1/fold1/run.json").stat().st_mtime
    second = (folder / "layers/tiny-2/seed1/fold1/run.json").stat().st_mtime
    assert all(first < path.stat().st_mtime < second for path in cache.glob("*.safetensors"))
    assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_were_run_before_stay_in_the_table(tmp_path):
    settings = {"encoder_source": "a/wavlm", "num_layers": 24, "layer_weights": "learned"}
    write_run(tmp_path / "encoders/wavlm-sum/seed1/fold5", 1, 5, hyperparameters=settings)
    write_run(tmp_path / "encoders/wavlm-sum/seed2/fold5", 2, 5, predicted=TRUE, hyperparameters=settings)
    assert rows_with_runs(tmp_path / "encoders")[0]["cells"] == ["wavlm", "sum"]
    grids, _ = ablations.read_grids(ablations.GRID_FILE)
    assert ablations.write_tables(grids, [], tmp_path)
    row = cells_of((tmp_path / "ablations.md").read_text(), ["wavlm", "sum"])
    assert row[2] == "75.00 ± 35.36" and row[-1] == "2"  # of 50 and 100
    assert ablations.NOT_COMPARABLE not in (tmp_path / "ablations.md").read_text()  # the paper has no such table
