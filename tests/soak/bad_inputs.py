"""Kind `bad inputs`: commands that cannot be obeyed; each ends at once, with the sentence that says why."""

import random
import re
import shutil

from tests.soak import children
from tests.soak.bad_files import make_files
from tests.soak.outcome import Outcome
from tests.soak.workshop import Workshop

TRAIN = ["train", "{yaml}", "--corpus_csv={corpus}", "--output_folder={out}"]


def train(*options, yaml="{yaml}"):
    """Return the command that trains a fold with other options."""
    return [TRAIN[0], yaml, *TRAIN[2:], *options]


COMMANDS = [
    # (words, what the last lines say)
    (["predict", "absent", "{wav}"], "absent is no folder. Give the folder that `speechbrain-ext export` wrote"),
    (["predict", "{bad}/notes.txt", "{wav}"], "notes.txt is no folder"),
    (["predict", "{wavs}", "{wav}"], "wavs is no bundle: it has no bundle.json"),
    (["predict", "a/b/c", "{wav}"], "a/b/c is no folder"),
    (["predict", "{bundle}", "absent.wav"], "absent.wav is neither a file nor a folder"),
    (["predict", "{bundle}", "{bad}/nothing.wav"], r"nothing.wav is empty \(0 bytes\). Copy it again"),
    (["predict", "{bundle}", "{bad}/text.wav"],
     "text.wav cannot be read as audio: .* Replace the file, or leave it out"),
    (["predict", "{bundle}", "{bad}/cut.wav"], "cut.wav is 0.0019 s long; at least 0.025 s are needed"),
    (["predict", "{bundle}", "{bad}/header.wav"], "header.wav cannot be read as audio"),
    (["predict", "{bundle}", "{bad}/page.html.wav"], "page.html.wav cannot be read as audio"),
    (["predict", "{bundle}", "{bad}/pipe.wav"], "pipe.wav is no regular file. Leave it out"),
    (["predict", "{bundle}", "{bad}/short.wav"], "short.wav is 0.0013 s long; at least 0.025 s are needed"),
    (["predict", "{bundle}", "{bad}/nan.wav"], "holds samples that are NaN or infinite, the first at 0.00 s"),
    (["predict", "{bundle}", "{bad}/quick.flac"], "655350 Hz.* at most 384000"),
    (["predict", "{bundle}", "{bad}/empty folder"], "empty folder holds no recordings: no file's name ends as"),
    (["predict", "{bundle}", "-"], "nothing came through the pipe: neither a recording nor a path"),
    (["predict", "{bundle}", "{wav}", "--out", "{out}.txt"], "--out must end in .csv, .json, .jsonl, got"),
    (["predict", "{bundle}", "{wav}", "--out", "{bad}/answers.csv"],
     r"answers.csv holds other columns \(a, b\). Give another --out"),
    (["predict", "{bundle}", "{wav}", "--out", "{bad}/notes.txt/x.csv"], "notes.txt"),
    (["predict", "{bundle}", "{wav}", "--batch_size", "0"], "--batch_size must be a whole number from 1, got 0"),
    (["predict", "{bundle}", "{wav}", "--batch_size", "x"], "argument --batch_size: invalid int value: 'x'"),
    (["predict", "{bundle}", "{wav}", "--max_s", "nan"], "--max_s must be a number from 0.025 to 3600.0, got nan"),
    (["predict", "{bundle}", "{wav}", "--max_s", "0.1"], "is longer than the 0.1 s that are classified as one"),
    (["predict", "{bundle}", "{wav}", "--device", "tpu"], "device 'tpu' cannot be used"),
    (["predict", "{bundle}", "{wav}", "--device", "cuda:99"], "device 'cuda:99' cannot be used"),
    (["predict", "{bundle}", "{wav}", "--precision", "int4"], "argument --precision: invalid choice: 'int4'"),
    (["predict", "{bundle}"], "the following arguments are required: FILE"),
    (["timeline", "{bundle}", "absent.wav"], "absent.wav: the recording cannot be opened: .* Check the path"),
    (["timeline", "{bundle}", "{bad}/text.wav"], "text.wav cannot be read as audio"),
    (["timeline", "{bundle}", "{wav}", "--hop_s", "9"],
     r"hop_s must be at most window_s \(4\), got 9: speech between windows would not be heard"),
    (["timeline", "{bundle}", "{wav}", "--window_s", "-1"], "window_s must be a number from 0.025 to 300.0, got -1.0"),
    (["timeline", "{bundle}", "{wav}", "--formats", "pdf"],
     "--formats must be some of csv,json,audacity,png, with commas alone, got 'pdf'"),
    (["timeline", "{bundle}", "{wav}", "--out", "{bad}/notes.txt"],
     "--out must be a folder, and .*notes.txt is a file"),
    (["export", "absent", "{out}"], "absent is no fold's folder: it has no hyperparams.yaml"),
    (["export", "{wavs}", "{out}"], "wavs is no fold's folder"),
    (["export", "{fold}", "{wavs}"], "wavs is there and holds something else. Choose another folder"),
    (["export", "{fold}", "{bad}/notes.txt"], "notes.txt is there and holds something else"),
    (["export", "{fold}", "{out}", "--dry_run"], "belong to --push_to_hub=USER/NAME, which is missing"),
    (["export", "{fold}", "{out}", "--push_to_hub", "no name"],
     "a model on the Hub is called USER/NAME, got 'no name'"),
    (["export", "{fold}", "{out}", "--onnx=int4"], "argument --onnx: invalid choice: 'int4'"),
    (["report", "absent"], "the folder absent does not exist. Give one that holds tested runs"),
    (["report", "{wavs}"], "no run below .*wavs has been tested: there is no test_metrics.json"),
    (["report", "{loso}"], "are incomplete: seed 1 lacks fold 3"),
    (["report", "{loso}", "--folds=9"], "folds must be from 1 to 3, as many as the corpus has, got 9"),
    (["report", "{loso}", "--folds=x"], "--folds must be whole numbers such as 1-5 or 1,3, got 'x'"),
    (["report", "{loso}", "--allow=everything"],
     "--allow must be among incomplete, mixed, duplicates .*, got 'everything'"),
    (["prepare", "absent.csv", "{out}.json"], "the list absent.csv does not exist. Check the path"),
    (["prepare", "{bad}/empty.csv", "{out}.json"], "empty.csv is empty; needed are wav, emo, speaker"),
    (["prepare", "{bad}/header.csv", "{out}.json"], "header.csv has a header, but no row"),
    (["prepare", "{bad}/no_speaker.csv", "{out}.json"],
     r"the columns \['speaker'\] are missing; needed are wav, emo, speaker"),
    (["prepare", "{bad}/no_file.csv", "{out}.json"], "absent.wav"),
    (["prepare", "{bad}/no_label.csv", "{out}.json"], "row 2: the field 'emo' is empty. Fill it in"),
    (["prepare", "{bad}/one_field.csv", "{out}.json"], r"row 2: 1 fields in place of 3 \(wav, emo, speaker\)"),
    (["prepare", "{bad}/open_quote.csv", "{out}.json"], "row 2: unexpected end of data. A quote is not closed"),
    (["prepare", "{bad}/latin.csv", "{out}.json"], 'line 2 is not UTF-8 .* Save it as "CSV UTF-8"'),
    (["prepare", "{bad}/zeros.csv", "{out}.json"], "is no text in UTF-8: it holds zero bytes"),
    (["prepare", "{bad}/twice.csv", "{out}.json"], "row 3: the id .* stands already in row 2. Leave one of them out"),
    (["prepare", "{bad}/times.csv", "{out}.json"], "segments cannot be used"),
    (["prepare", "{bad}/backwards.csv", "{out}.json"], "row 2: end must be after start, got 0.1 s and 0.3 s"),
    (["prepare", "{bad}/not_finite.csv", "{out}.json"], "row 2: end must be a number of seconds from 0, got 'inf'"),
    (["prepare", "{bad}/shares.csv", "{out}.json"], "row 2: the share of 'ang' must be a number from 0, got '-1'"),
    (["prepare", "{bad}/deep.json", "{out}.json"], "deep.json holds a JSON list that cannot be read"),
    (["prepare", "{bad}/number.json", "{out}.json"], "line 1: no object, but 7"),
    (["prepare", "{bad}/zip.csv", "{out}.json"], r"zip.csv is a spreadsheet \(Excel, LibreOffice\), not a CSV"),
    (["prepare", "{bad}/bad_wav.csv", "{out}.json"], "text.wav cannot be read as audio"),
    (["prepare", "{corpus}", "{out}.json", "--n_folds=9"],
     r"n_folds must be at most the number of speakers, .* has 3 \(s0, s1, s2\), got 9"),
    (["prepare", "{corpus}", "{out}.json", "--n_folds=1"], "n_folds must be a whole number from 2, got 1"),
    (["prepare", "{corpus}", "{out}.json", "--group_by=age"],
     "group_by must be one of group, speaker, which every utterance has, got 'age'"),
    (["prepare", "{corpus}", "{out}.json", "--emotions=ang,joy"],
     "no utterance of .*corpus.csv is labelled 'joy'; it has ang 15, sad 15"),
    (["prepare", "{corpus}", "{out}.json", "--emotions=ang"],
     "emotions must be at least two different labels, got ang"),
    (["prepare", "{corpus}", "{out}.json", "--corpus=emodbb"], r"got 'emodbb'. Did you mean emodb\?"),
    (["prepare", "{wavs}", "{out}.json", "--corpus=ravdess"],
     r"holds no recording named as RAVDESS's are, .* Is it another corpus\?"),
    (["prepare", "{wavs}", "{out}.json"], "--corpus=urdu"),
    (["check", "{bad}/no_file.csv"], "absent.wav"),
    (["check", "absent"], "the data folder absent does not exist"),
    (["audit"], "nothing to audit: give split files, --predictions=FILE, or both"),
    (["audit", "train=absent.csv", "test={corpus}"], "absent.csv does not exist. Check the path"),
    (["audit", "{bad}/audit.csv"], "nothing says which part it is. Write train="),
    (["audit", "train={corpus}", "test={corpus}"], "independent"),
    (["audit", "--predictions={bad}/answers.csv"], "a column 'id' is needed"),
    (["train"], "no hyperparameter file was given"),
    (["train", "absent.yaml"], "the hyperparameter file absent.yaml does not exist"),
    (train(yaml="{bad}/empty.yaml"), "empty.yaml holds no settings"),
    (train(yaml="{bad}/list.yaml"), "list.yaml holds no settings"),
    (train(yaml="{bad}/tab.yaml"), "tab.yaml"),
    (train(yaml="{bad}/deep.yaml"), "deep.yaml is nested too deeply"),
    (train(yaml="{bad}/no_base.yaml"), "no_base.yaml names as its base, does not exist"),
    (train(yaml="{bad}/round.yaml"), "round.yaml name each other as their base"),
    (train(yaml="{bad}/unknown_key.yaml"), "the key learning_rate is not in .*demo.yaml"),
    (train("--fold=9"), r"fold must be a whole number from 1 to 3 \(the corpus has the groups s0, s1, s2\), got 9"),
    (train("--fold=one"), "fold must be a whole number from 1, got 'one'"),
    (train("--seed=-1"), "seed must be a whole number from 0, got -1"),
    (train("--lr=fast"), r"lr must be a number \(in the file it is 0.002\), got 'fast'"),
    (train("--lr=0"), "lr must be a number between 0 and inf, got 0"),
    (train("--batch_size=0"), "batch_size must be a whole number from 1, got 0"),
    (train("--number_of_epochs=1e9"), "number_of_epochs must be a whole number from 1, got"),
    (train("--batch_sise=4"), "--batch_sise is unknown: .* Did you mean --batch_size"),
    (train("batch_size=4"), r"'batch_size=4', which belongs to no option. Did you mean --batch_size=4\?"),
    (train("--validation=some"), "validation must be one of random, group, speaker, none, got 'some'"),
    (train("--emotions=[ang]"), r"emotions must be a list of at least two different labels, got \['ang'\]"),
    (train("--emotions=[ang, joy]"), "no utterance of .*corpus.csv is labelled 'joy'"),
    (train("--augmentations=[echo]"), "augmentation 'echo' is unknown; known are"),
    (train("--encoder_source=absent/folder/x"), "encoder_source absent/folder/x does not exist"),
    (train("--num_layers=99"), "num_layers is 99, but the config has 4 layers: choose 1 to 4"),
    (train("--precision=int8"), "precision must be one of auto, fp32, fp16, bf16, got 'int8'"),
    (train("--device=cuda:99"), "device 'cuda:99' cannot be used"),
    (train("--output_folder={bad}/notes.txt"), "output_folder .*notes.txt cannot be written: it is a file"),
    (train("--output_folder={wavs}/../golden/loso/seed1/fold1"),
     "fold1 holds a run with other settings: validation is group there, random now"),
    (train("--corpus_csv={bad}/one_label.csv"), "emotions must be at least two different labels, got ang"),
    (train("--corpus_csv={bad}/one_speaker.csv"),
     "nothing is left to train on in fold 1: .* needs at least 2 groups, and has 1"),
    (train("--corpus=iemocap", "--corpus_csv=null", "--data_folder={wavs}"),
     "wavs holds no Session.*. Give the folder that holds Session1 to Session5"),
    (train("--test_corpus=[absent.csv]"), "absent.csv is no file. Give the path of a CSV"),
    (train("--test_only"), "holds no finished epoch to test. Run without --test_only"),
    (train("--data_parallel_backend"), "data_parallel_backend is not supported: use torchrun"),
    (["run", "{yaml}", "--corpus_csv={corpus}", "--folds=9", "--results_folder={out}"],
     "fold must be a whole number from 1 to 3"),
    (["run", "{yaml}", "--corpus_csv={corpus}", "--seeds=x", "--results_folder={out}"],
     "--seeds must be whole numbers such as 1-5 or 1,3, got 'x'"),
    (["run", "{yaml}", "--corpus_csv={corpus}", "--jobs=0", "--results_folder={out}"],
     "--jobs must be a whole number from 1, got 0"),
    (["run", "{yaml}", "--corpus_csv={corpus}", "--fold=1", "--results_folder={out}"],
     "--fold=1 is set for each run: use --folds=1"),
    (["run", "{yaml}", "--corpus_csv={corpus}", "--gpus_per_run=1", "--results_folder={out}"],
     "--gpus_per_run is for Ray"),
    (["predikt"], r"'predikt' is no command. Did you mean predict\?"),
    ([], "a COMMAND is missing"),
]  # fmt: skip


def run_bad_inputs(shop: Workshop, seed: int, n_most: int | None = None) -> Outcome:
    """Give all commands, or some that are drawn, and read what they say."""
    outcome = Outcome("bad inputs", "commands that cannot be obeyed, each with its sentence")
    places = make_files(shop)
    chosen = COMMANDS if n_most is None else random.Random(f"bad {seed}").sample(COMMANDS[:31], n_most)
    for words, pattern in chosen:
        given = [re.sub(r"\{(\w+)\}", lambda match: places[match[1]], word) for word in words]
        shutil.rmtree(places["out"], ignore_errors=True)
        ended = children.run(given, shop.log)
        outcome.n += 1
        where = f"{' '.join(words)}: {ended.text[-700:]}"
        if ended.hung or ended.crashed:
            outcome.found("hangs" if ended.hung else "tracebacks", where)
        elif not ended.status or not re.search(pattern, ended.text, re.S):
            outcome.found("silent", f"{where}\n    wanted: {pattern}")
    return outcome.close()
