"""Qdrant's local mode, as mem0 uses it unless told otherwise. Run in a virtual environment of its own.

Reads questions as JSON, one a line, and answers each with what it found and the seconds that it took.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient, models

warnings.filterwarnings("ignore", message="Local mode is not recommended")
folder = Path(sys.argv[1])
vectors = np.load(folder / "vectors.npy")
tenants = {path.stem: np.load(path) for path in folder.glob("tenant_of_*.npy")}
client = QdrantClient(":memory:")
distance = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
client.create_collection("memories", vectors_config=distance)
payload = [{name: int(owners[row]) for name, owners in tenants.items()} for row in range(len(vectors))]
client.upload_collection("memories", vectors=vectors, payload=payload, ids=range(len(vectors)), batch_size=5000)
print(json.dumps({"rows": client.count("memories").count}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    own = models.FieldCondition(key=asked["key"], match=models.MatchValue(value=asked["tenant"]))
    began = time.perf_counter()
    found = client.query_points(
        "memories", query=asked["vector"], query_filter=models.Filter(must=[own]), limit=asked["limit"]
    )
    seconds = time.perf_counter() - began
    print(json.dumps({"found": [point.id for point in found.points], "seconds": seconds}), flush=True)
