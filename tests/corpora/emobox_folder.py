"""A folder of EmoBox's, as its repository holds it, for tests."""

import json

# Two actors of EmoDB; a line an utterance: name, label, its part in each of two folds.
UTTERANCES = (
    ("03a01Wa", "anger", "train", "test"),
    ("03a01Nc", "neutral", "test", "train"),
    ("08a01Wc", "anger", "test", "train"),
    ("08a01Na", "neutral", "train", "test"),
    ("08a02Na", "neutral", "train", "train"),
)
LABEL_MAP = {"anger": "Angry", "Neutral": "Neutral"}  # as in EmoBox, a label has another spelling


def record(name, label, dataset="emodb", **others):
    """Make a line of the JSON Lines."""
    return {
        "key": f"{dataset}-{name}", "dataset": dataset, "wav": f"downloads/{dataset}/wav/{name}.wav", "type": "raw",
        "sample_rate": 16000, "num_frame": 8000.0, "task": "category", "length": 0.5, "emo": label, "channel": 1,
        **others,
    }  # fmt: skip


def write_lines(path, records):
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def write_emobox(folder, utterances=UTTERANCES, label_map=LABEL_MAP):
    """Write a corpus's folder: its list, its folds and its label map; returns it."""
    name = folder.name
    write_lines(folder / f"{name}.jsonl", [record(utt, label, name) for utt, label, *_ in utterances])
    for k in range(len(utterances[0]) - 2):
        for part in sorted({parts[k] for _, _, *parts in utterances} - {""}):
            rows = [record(utt, label, name) for utt, label, *parts in utterances if parts[k] == part]
            write_lines(folder / f"fold_{k + 1}" / f"{name}_{part}_fold_{k + 1}.jsonl", rows)
    (folder / "label_map.json").write_text(json.dumps(label_map))
    return folder
