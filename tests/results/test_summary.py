"""What many runs say together: against numpy, scikit-learn, a bootstrap written anew here, and the hand."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.result_set import ResultSet
from speechbrain_ext.results.summary import compare, summarise
from speechbrain_ext.results.tested_run import TestedRun

EMOTIONS = ("ang", "hap", "sad")


def make_run(seed, fold, true, predicted, ids=None, speakers=None, **changes):
    """Make a run as it is read; its WA and UA are scikit-learn's."""
    metrics = {
        "seed": seed,
        "fold": fold,
        "WA": accuracy_score(true, predicted),
        "UA": recall_score(true, predicted, labels=sorted(set(true)), average="macro"),
        "n": len(true),
        "test_group": f"g{fold}",
        "validation": "random",
        "tested_epoch": 3,
        "n_epochs": 5,
        "tested_weights": "best",
        "epochs": [{"epoch": 1, "train_loss": 1.0}],
        "corpus": "csv",
        "corpus_faults": [],
        "fold_cautions": [],
        "hyperparameters": {},
        "versions": {},
        **changes,
    }
    ids = tuple(ids or (f"f{fold}_{i}" for i in range(len(true))))
    speakers = speakers or tuple(f"s{fold}{'fm'[i % 2]}" for i in range(len(true)))
    return TestedRun(
        Path(f"results/seed{seed}/fold{fold}"), metrics, ids, np.array(true), np.array(predicted), speakers
    )


def make_set(*runs, name="results", emotions=EMOTIONS, notes=()):
    """Put runs together."""
    return ResultSet(Path(name), runs, emotions, "", notes)


def random_set(sizes=(13, 30, 8), seeds=(1, 2), share=0.6, draw=0, by_speaker=0.0):
    """Make a set whose folds are unequal; a fold's labels and speakers are the same in every seed.

    Emotions are unequally frequent. Speakers differ in how well they are recognised, by up to `by_speaker`.
    """
    runs = []
    for seed, (fold, size) in itertools.product(seeds, enumerate(sizes, start=1)):
        true = np.random.default_rng(fold).choice(3, p=[0.5, 0.3, 0.2], size=size)
        rng = np.random.default_rng([draw, seed, fold])
        right = rng.random(size) < share + by_speaker * np.resize([-1, 1], size) * (fold % 3) / 2
        predicted = np.where(right, true, (true + rng.integers(1, 3, size)) % 3)
        speakers = tuple(f"s{fold}{'fm'[i % 2]}" for i in range(size))
        runs.append(make_run(seed, fold, true.tolist(), predicted.tolist(), speakers=speakers))
    return make_set(*runs)


def flat(result_set, key):
    """Put a column of all runs into one list."""
    return [value for run in result_set.runs for value in getattr(run, key)]


def recall_mean(true, predicted):
    """Compute UA plainly: the mean recall of the classes that occur."""
    return np.mean([(predicted[true == emo] == emo).mean() for emo in np.unique(true)])


class PlainBootstrap:
    """Units drawn with all their decisions, one draw after the other: [(true, predicted)] of each system."""

    def __init__(self, systems, n_resamples=2500):
        # Each system is (true, predicted, clusters), and has the same clusters.
        self.rows = []
        for true, predicted, clusters in systems:
            rows = {cluster: [i for i, one in enumerate(clusters) if one == cluster] for cluster in set(clusters)}
            self.rows.append((np.array(true), np.array(predicted), rows))
        self.labels, rng = sorted(self.rows[0][2]), np.random.default_rng(987)
        self.draws = [self.take(rng.choice(self.labels, len(self.labels))) for _ in range(n_resamples)]

    def take(self, labels):
        """Put the decisions of these clusters together."""
        chosen = [[i for label in labels for i in rows[label]] for _, _, rows in self.rows]
        return [(true[picked], predicted[picked]) for (true, predicted, _), picked in zip(self.rows, chosen)]

    def assert_interval(self, found, statistic, atol=0.012):
        """Hold an interval against the percentiles of the draws."""
        expected = np.percentile([statistic(*draw) for draw in self.draws], [2.5, 97.5])
        np.testing.assert_allclose(found, expected, atol=atol)


def plain_WA(true, predicted):
    """Compute WA plainly."""
    return (true == predicted).mean()


def plain_UA(true, predicted):
    """Compute UA plainly: the mean recall of the classes that occur."""
    return np.mean([(predicted[true == emo] == emo).mean() for emo in np.unique(true)])


def assert_intervals(found, true, predicted, clusters):
    """Hold the intervals of one system against the plain bootstrap."""
    plain = PlainBootstrap([(true, predicted, clusters)])
    for name, measure in (("WA", plain_WA), ("UA", plain_UA)):
        plain.assert_interval(found[name], lambda decisions, measure=measure: measure(*decisions))


# Seeds 7 and 8 in rows, folds 1 to 3 in columns.
TABLES = {"WA": np.array([[0.5, 0.7, 0.9], [0.6, 1.0, 0.2]]), "UA": np.array([[0.3, 0.4, 0.9], [0.1, 0.8, 0.8]])}


def table_set(chosen):
    """Make runs for these (seed, fold), with the accuracies of TABLES."""
    return make_set(
        *(
            make_run(seed, fold, [0], [0], **{name: float(table[seed - 7, fold - 1]) for name, table in TABLES.items()})
            for seed, fold in chosen
        )
    )


@pytest.mark.parametrize("name", TABLES)
def test_mean_of_folds_and_spreads_are_those_of_numpy(name):
    found = summarise(table_set(itertools.product((7, 8), (1, 2, 3))))["mean_of_folds"][name]
    table = TABLES[name]
    assert found["mean"] == pytest.approx(table.mean(), abs=1e-12)
    assert found["std_folds"] == pytest.approx(np.std(table.mean(axis=0), ddof=1), abs=1e-12)
    assert found["std_seeds"] == pytest.approx(np.std(table.mean(axis=1), ddof=1), abs=1e-12)


def test_mean_of_folds_by_hand():
    """Seeds 0.5, 0.7 and 0.6, 1.0: means of the folds 0.55, 0.85, of the seeds 0.6, 0.8."""
    found = summarise(table_set(itertools.product((7, 8), (1, 2))))["mean_of_folds"]["WA"]
    assert found["mean"] == pytest.approx(0.7)
    assert found["std_folds"] == pytest.approx(0.3 / 2**0.5)
    assert found["std_seeds"] == pytest.approx(0.2 / 2**0.5)


def test_mean_of_folds_has_no_spread_over_a_single_fold_or_seed():
    one_seed = summarise(table_set([(7, 1), (7, 2), (7, 3)]))["mean_of_folds"]["WA"]
    assert one_seed["std_folds"] == pytest.approx(np.std([0.5, 0.7, 0.9], ddof=1)) and one_seed["std_seeds"] is None
    one_fold = summarise(table_set([(7, 2), (8, 2)]))["mean_of_folds"]["WA"]
    assert one_fold["std_seeds"] == pytest.approx(np.std([0.7, 1.0], ddof=1)) and one_fold["std_folds"] is None
    one_run = summarise(table_set([(8, 3)]))["mean_of_folds"]["UA"]
    assert one_run == {"mean": pytest.approx(0.8), "std_folds": None, "std_seeds": None}


def test_mean_of_folds_of_an_incomplete_set_counts_each_fold_once():
    """A seed that lacks folds weighs no more in those it has, and its mean is not that of the other seed's folds."""
    found = summarise(table_set([(7, 1), (7, 2), (7, 3), (8, 1)]))["mean_of_folds"]["WA"]
    assert found["mean"] == pytest.approx(np.mean([0.55, 0.7, 0.9]))
    assert found["std_folds"] == pytest.approx(np.std([0.55, 0.7, 0.9], ddof=1))
    assert found["std_seeds"] is None


def test_pooled_accuracies_equal_those_of_scikit_learn_over_all_decisions():
    result_set = random_set()
    found = summarise(result_set)
    true, predicted = flat(result_set, "true"), flat(result_set, "predicted")
    pooled = found["pooled"]
    assert found["n_utterances"] == pooled["n_utterances"] == len(true) / 2 == 13 + 30 + 8
    assert pooled["WA"] == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert pooled["UA"] == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-12)
    assert list(pooled["recall"]) == list(EMOTIONS) and pooled["absent"] == []
    assert list(pooled["recall"].values()) == pytest.approx(recall_score(true, predicted, average=None), abs=1e-12)
    assert pooled["confusion"] == confusion_matrix(true, predicted).tolist()
    for name in ("WA", "UA"):  # the folds are unequal
        assert abs(pooled[name] - found["mean_of_folds"][name]["mean"]) > 1e-3


def test_pooled_is_not_the_mean_of_folds():
    """Nine of nine "ang" right, then none of one "sad": pooled WA 9/10 and UA (1 + 0) / 2, mean of folds 1/2 each."""
    found = summarise(make_set(make_run(1, 1, [0] * 9, [0] * 9), make_run(1, 2, [2], [0])))
    assert (found["pooled"]["WA"], found["pooled"]["UA"]) == (0.9, 0.5)
    assert [found["mean_of_folds"][name]["mean"] for name in ("WA", "UA")] == [0.5, 0.5]
    # "hap" does not occur: it has no recall, and no part in UA.
    assert found["pooled"]["recall"] == {"ang": 1.0, "hap": None, "sad": 0.0}
    assert found["pooled"]["absent"] == ["hap"]
    assert found["pooled"]["confusion"] == [[9, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_pooled_intervals_equal_a_plain_bootstrap_over_utterances_and_over_speakers():
    result_set = random_set((18, 24, 12, 20, 16), by_speaker=0.35)
    pooled = summarise(result_set)["pooled"]
    true, predicted = flat(result_set, "true"), flat(result_set, "predicted")
    assert_intervals(pooled["over_utterances"], true, predicted, flat(result_set, "ids"))
    assert_intervals(pooled["over_speakers"], true, predicted, flat(result_set, "speakers"))
    by_utterances, by_speakers = (np.diff(pooled[key]["WA"]).item() for key in ("over_utterances", "over_speakers"))
    assert by_speakers > 1.2 * by_utterances  # the two cannot be taken for each other


def test_pooled_interval_over_utterances_does_not_shrink_with_the_same_decisions_again():
    """A seed that decides as another one did says nothing new, as it would if each decision were drawn by itself."""
    once = random_set((40,), seeds=(1,)).runs[0]
    again = make_run(2, 1, once.true.tolist(), once.predicted.tolist(), speakers=once.speakers)
    one, two = (summarise(make_set(*runs))["pooled"] for runs in ((once,), (once, again)))
    assert two["n_utterances"] == one["n_utterances"] == 40
    assert two["over_utterances"] == one["over_utterances"]
    assert two["over_speakers"] == one["over_speakers"]


def test_intervals_need_two_clusters():
    found = summarise(make_set(make_run(1, 1, [0, 1], [0, 0], speakers=("a", "a"))))["pooled"]
    assert found["over_speakers"] is None and found["over_utterances"] is not None
    assert summarise(make_set(make_run(1, 1, [0], [0], speakers=("a",))))["pooled"]["over_utterances"] is None


def test_parts_are_summarised_apart():
    result_set = random_set((40, 50))
    part_names = {0: "scripted", 1: "improvised", 2: None}  # every third utterance is in no part

    def part_of(utt_id):
        return part_names[int(utt_id.split("_")[1]) % 3]

    found = summarise(result_set, part_of)["parts"]
    assert list(found) == ["improvised", "scripted"]
    ids = flat(result_set, "ids")
    for name in found:
        rows = [i for i, utt_id in enumerate(ids) if part_of(utt_id) == name]
        true, predicted, clusters, speakers = (
            [flat(result_set, key)[i] for i in rows] for key in ("true", "predicted", "ids", "speakers")
        )
        assert found[name]["n_utterances"] == len(rows) / 2 == len(set(clusters))
        assert found[name]["WA"] == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
        assert found[name]["UA"] == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-12)
        assert_intervals(found[name]["over_utterances"], true, predicted, clusters)
        assert_intervals(found[name]["over_speakers"], true, predicted, speakers)
    incomplete = summarise(make_set(*result_set.runs[:3]), part_of)["parts"]  # each utterance counts once all the same
    assert [incomplete[name]["n_utterances"] for name in found] == [found[name]["n_utterances"] for name in found]


def test_parts_are_none_without_a_function_and_for_ids_that_have_none():
    result_set = random_set((5,))
    assert summarise(result_set)["parts"] == summarise(result_set, lambda utt_id: None)["parts"] == {}


def epochs_of(*pairs):
    """Write the epochs with these test WA and UA."""
    return [{"epoch": i + 1, "train_loss": 1.0, "test_WA": WA, "test_UA": UA} for i, (WA, UA) in enumerate(pairs)]


def test_selection_on_test_takes_the_first_epoch_with_the_best_wa_of_each_run():
    first = make_run(1, 1, [0], [0], WA=0.4, UA=0.45, epochs=epochs_of((0.5, 0.9), (0.75, 0.5), (0.75, 0.8)))
    second = make_run(1, 2, [0], [0], WA=0.3, UA=0.1, epochs=epochs_of((0.25, 0.2), (0.25, 0.3), (0.125, 0.9)))
    assert summarise(make_set(first, second))["selection"] == {
        "by_protocol": {"WA": pytest.approx((0.4 + 0.3) / 2), "UA": pytest.approx((0.45 + 0.1) / 2)},
        "on_test": {"WA": pytest.approx((0.75 + 0.25) / 2), "UA": pytest.approx((0.5 + 0.2) / 2)},
    }


@pytest.mark.parametrize(
    "epochs", [[], [{"epoch": 1, "test_WA": 0.5, "test_UA": 0.5}, {"epoch": 2}], [{"epoch": 1, "test_WA": 0.5}]]
)
def test_selection_is_absent_where_one_run_lacks_it(epochs):
    tracked = make_run(1, 1, [0], [0], epochs=epochs_of((0.5, 0.5)))
    assert summarise(make_set(tracked))["selection"] is not None
    assert summarise(make_set(tracked, make_run(1, 2, [0], [0], epochs=epochs)))["selection"] is None


def test_summary_says_what_was_summarised_and_json_takes_it():
    runs = [make_run(seed, fold, [0, 1], [0, 0]) for seed in (1, 2) for fold in (2, 3)]
    runs[0].metrics["validation"] = "none"
    runs[1].metrics.update(hyperparameters={"lr": 0.1, "k": [1]}, versions={"torch": "2"}, corpus_faults=["half of it"])
    for run in runs:
        run.metrics["fold_cautions"] = [f"fold {run.fold} leaks"]
    runs[2].metrics.update(hyperparameters={"lr": 0.2, "k": [1]})
    found = summarise(make_set(*runs, notes=("mixed: 2 kinds",)))
    assert json.loads(json.dumps(found, allow_nan=False))["runs"] == found["runs"]
    assert (found["folds"], found["seeds"], found["emotions"]) == ([2, 3], [1, 2], list(EMOTIONS))
    assert (found["notes"], found["validation"], found["n_utterances"]) == (["mixed: 2 kinds"], ["none", "random"], 4)
    assert (found["corpus"], found["corpus_faults"], found["subset"]) == (["csv"], ["half of it"], "")
    assert found["fold_cautions"] == ["fold 2 leaks", "fold 3 leaks"]
    assert found["hyperparameters"] == {"lr": [None, 0.1, 0.2], "k": [None, [1]]}
    assert found["versions"] == {"torch": [None, "2"]}
    assert found["runs"][3] == {
        "folder": "seed2/fold3",
        "seed": 2,
        "fold": 3,
        "test_group": "g3",
        "n": 2,
        "WA": 0.5,
        "UA": 0.5,
        "tested_epoch": 3,
        "n_epochs": 5,
    }
    assert [(row["seed"], row["fold"]) for row in found["runs"]] == [(1, 2), (1, 3), (2, 2), (2, 3)]


TRUE = [0, 1, 2, 0, 1, 2, 0, 1]


def run_right_in(right, seed=1, true=TRUE, **kwargs):
    """Make a run that is right in these utterances alone."""
    return make_run(seed, 1, true, [emo if i in right else (emo + 1) % 3 for i, emo in enumerate(true)], **kwargs)


def test_compare_mcnemar_is_by_common_seed_and_by_hand():
    a = make_set(run_right_in({0, 1, 2, 3, 4}, 1), run_right_in({0, 7}, 2), run_right_in({1}, 3))
    b = make_set(run_right_in({3}, 9), run_right_in({4, 5, 6, 7}, 1), run_right_in({0, 7}, 2))
    # Seed 1: a alone 0 1 2 3, b alone 5 6 7: p is 1 (4 of 7). Seed 2: alike. Seeds 3 and 9 are of one system only.
    assert compare(a, b)["mcnemar"] == [
        {"seed": 1, "only_a": 4, "only_b": 3, "p": 1.0},
        {"seed": 2, "only_a": 0, "only_b": 0, "p": 1.0},
    ]
    b = make_set(run_right_in({7}, 1))
    # Five for a, one for b: 2 (1 + 6) / 2^6.
    assert compare(make_set(a.runs[0]), b)["mcnemar"] == [{"seed": 1, "only_a": 5, "only_b": 1, "p": 14 / 64}]


def test_compare_mcnemar_pairs_by_id_and_not_by_place():
    ids = [f"u{i}" for i in range(8)]
    a = make_set(run_right_in({0, 1, 2}, ids=ids))
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    right = {order.index(i) for i in (0, 1, 3)}
    b = make_set(run_right_in(right, true=[TRUE[i] for i in order], ids=[ids[i] for i in order]))
    assert compare(a, b)["mcnemar"] == [{"seed": 1, "only_a": 1, "only_b": 1, "p": 1.0}]


def test_compare_mcnemar_leaves_out_a_seed_that_lacks_common_utterances():
    whole, half = [run_right_in({0}, seed) for seed in (1, 2)], make_run(2, 1, [0, 1], [0, 0])
    assert [row["seed"] for row in compare(make_set(*whole), make_set(*whole))["mcnemar"]] == [1, 2]
    for sets in ((whole, [whole[0], half]), ([whole[0], half], whole)):
        assert [row["seed"] for row in compare(*(make_set(*runs) for runs in sets))["mcnemar"]] == [1]


def test_compare_differences_are_a_minus_b_pooled():
    """A is right in 6 of 8, b in 3 of 8; UA: a 3/3, 1/3, 2/2 and b 1/3, 1/3, 1/2."""
    a, b = (make_set(run_right_in(right)) for right in ({0, 1, 2, 3, 5, 6}, {0, 1, 2}))
    for sign, (one, other) in ((1, (a, b)), (-1, (b, a))):
        found = compare(one, other)
        assert found["n_utterances"] == 8 and found["over_speakers"]["WA"]["difference"] == pytest.approx(sign * 3 / 8)
        assert found["over_utterances"]["WA"]["difference"] == pytest.approx(sign * 3 / 8)
        assert found["over_utterances"]["UA"]["difference"] == pytest.approx(sign * (7 / 3 - 7 / 6) / 3)
        low, high = found["over_utterances"]["WA"]["interval"]
        assert min(sign * low, sign * high) > 0


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_compare_intervals_equal_a_plain_bootstrap_that_draws_the_same_clusters_for_both(seeds):
    """B repeats most of a's decisions, so that two draws apart from each other would give far wider intervals."""
    a = random_set((16, 24, 12, 20, 15, 17), seeds=(1, 2), share=0.7)
    runs = []
    for run in random_set((16, 24, 12, 20, 15, 17), seeds=seeds, share=0.7).runs:
        predicted = run.predicted.copy()
        predicted[::4] = run.true[::4]
        runs.append(make_run(run.seed, run.fold, run.true.tolist(), predicted.tolist(), speakers=run.speakers))
    b = make_set(*runs[::-1])
    found = compare(a, b)
    for key, cluster in (("over_utterances", "ids"), ("over_speakers", "speakers")):
        plain = PlainBootstrap([[flat(one, column) for column in ("true", "predicted", cluster)] for one in (a, b)])
        for name, measure in (("WA", plain_WA), ("UA", plain_UA)):

            def difference(of_a, of_b, measure=measure):
                return measure(*of_a) - measure(*of_b)

            plain.assert_interval(found[key][name]["interval"], difference)
            assert found[key][name]["difference"] == pytest.approx(difference(*plain.take(plain.labels)), abs=1e-12)


def test_compare_takes_the_common_utterances_alone():
    """Of a's eight and b's eight, four are the same: a is right in three of them, b in one."""
    a = make_set(run_right_in({0, 1, 2, 3, 4, 5, 6}, ids=[f"u{i}" for i in range(8)], speakers=tuple("stuvstuv")))
    true = TRUE[4:] + [2, 2, 2, 2]
    b = make_set(run_right_in({3, 4, 5, 6, 7}, true=true, ids=[f"u{i}" for i in range(4, 12)]))
    found = compare(a, b)
    assert found["n_utterances"] == 4
    assert found["over_utterances"]["WA"]["difference"] == pytest.approx(3 / 4 - 1 / 4)
    assert found["over_speakers"]["WA"]["difference"] == pytest.approx(3 / 4 - 1 / 4)
    assert found["mcnemar"] == [{"seed": 1, "only_a": 3, "only_b": 1, "p": 10 / 16}]


def test_compare_refuses_what_cannot_be_compared():
    a = make_set(run_right_in({0}), name="x/a")
    other = make_set(run_right_in({0}), name="x/b", emotions=("ang", "sad", "hap"))
    with pytest.raises(InputError, match="x/a and x/b cannot be compared: .* ang, hap, sad and ang, sad, hap"):
        compare(a, other)
    with pytest.raises(InputError, match="x/a and x/b have tested no utterance in common"):
        compare(a, make_set(make_run(1, 2, TRUE, TRUE), name="x/b"))
    with pytest.raises(InputError, match="^f1_3 is ang in x/a and sad in x/b: they are not of the same corpus"):
        compare(a, make_set(run_right_in({0}, true=[0, 1, 2, 2, 1, 2, 0, 1]), name="x/b"))


def test_compare_is_plain_values_that_json_takes():
    found = compare(random_set((12,)), random_set((12,), draw=1))
    assert json.loads(json.dumps(found, allow_nan=False))["mcnemar"] == found["mcnemar"]
