"""Train a small model and save it with joblib: python train.py model.joblib

The data is scikit-learn's wine set: 13 measurements of a wine, three growers.
"""

import sys

import joblib
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

features, grower = load_wine(return_X_y=True)
x, held_out, y, truth = train_test_split(features, grower, random_state=0, stratify=grower)
model = RandomForestClassifier(n_estimators=30, random_state=0).fit(x, y)
path = sys.argv[1] if len(sys.argv) > 1 else "model.joblib"
joblib.dump(model, path)
print(f"saved {path}; accuracy on held-out rows {model.score(held_out, truth):.2f}")
