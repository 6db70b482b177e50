"""The training script, as SageMaker runs it: bins for images of digits.

The channel `train` has rows of a label and 64 pixels. The channel `recent`, where there is one, has what the endpoint
was asked lately, merged with the labels that came since: a retraining brings it, and says from when on it counts.
"""

import json
import os
from pathlib import Path

import joblib
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

ENOUGH = 200
"""Recent rows, to learn from them alone: older ones teach what was right before."""


def old_rows():
    return np.loadtxt(Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.csv", delimiter=",", dtype=int)


def recent_rows():
    since, until = os.environ["KEDGE_RETRAIN_FROM"], os.environ["KEDGE_RETRAIN_UNTIL"]
    rows = []
    for file in sorted(Path(os.environ["SM_CHANNEL_RECENT"]).rglob("*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if since <= record["eventMetadata"]["inferenceTime"] < until:
                label = record["groundTruthData"]["data"]
                pixels = record["captureData"]["endpointInput"]["data"]
                rows.append([int(each) for each in f"{label},{pixels}".split(",")])
    return np.array(rows)


def fitted(rows):
    return SVC(gamma=0.001, C=10).fit(rows[:, 1:], rows[:, 0])


rows = old_rows()
if "SM_CHANNEL_RECENT" in os.environ:
    recent = recent_rows()
    rows = recent if len(recent) >= ENOUGH else np.concatenate([rows, recent])
kept, held_out = train_test_split(rows, test_size=0.3, random_state=0)
# The line that the job's MetricDefinitions find: a retrained model has to be this good to be deployed.
print(f"rows={len(rows)} accuracy={fitted(kept).score(held_out[:, 1:], held_out[:, 0]):.3f}")
joblib.dump(fitted(rows), Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")
