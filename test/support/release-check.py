"""Opens a released folder as a stranger would: numpy, pydicom, onnx, and PIL where it is there. Prints one JSON object."""

import csv
import hashlib
import json
import os
import sys

import numpy as np
import onnx
import pydicom

folder = sys.argv[1]
at = lambda *parts: os.path.join(folder, *parts)
rows = list(csv.DictReader(open(at("labels.csv"), newline="", encoding="utf-8")))
data = np.load(at("synthetic.npz"), allow_pickle=False)
images, labels = data["train_images"], data["train_labels"]
found = {
    "rows": len(rows),
    "shape": list(images.shape),
    "dtype": str(images.dtype),
    "labels": list(labels.shape),
    "empty": [len(data[k]) for k in ("val_images", "val_labels", "test_images", "test_labels")],
    "classes": data["classes"].tolist(),
    "agree": 0,
    "digests": 0,
    "marked": 0,
}
for i, row in enumerate(rows):
    body = open(at(row["file"]), "rb").read()
    found["digests"] += hashlib.sha256(body).hexdigest() == row["sha256"]
    if row["file"].endswith(".dcm"):
        d = pydicom.dcmread(at(row["file"]))
        pixels = d.pixel_array
        tags = [d[0x0008, 0x001C].value, d.PatientIdentityRemoved, d.ConversionType, d.ImageType[0]]
        purpose = d.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeMeaning
        found["marked"] += tags == ["YES", "YES", "SYN", "DERIVED"] and purpose == "Synthesizing Equipment"
        found.setdefault("uids", []).append(d.SOPInstanceUID)
        found["patients"] = sorted(set(found.get("patients", [])) | {f"{d.PatientName} {d.PatientID}"})
    else:
        from PIL import Image

        with Image.open(at(row["file"])) as picture:
            pixels = np.asarray(picture)
            found["marked"] += "trainedAlgorithmicMedia" in picture.info.get("XML:com.adobe.xmp", "")
    same = np.array_equal(pixels, images[i]) and int(labels[i, 0]) == int(row["index"])
    found["agree"] += bool(same) and data["classes"][int(row["index"])] == row["label"]
model = onnx.load(at("generator.onnx"))
onnx.checker.check_model(model, full_check=True)
found["inputs"] = [i.name for i in model.graph.input]
croissant = json.load(open(at("croissant.json"), encoding="utf-8"))
found["croissant"] = croissant["conformsTo"]
for item in croissant["distribution"]:
    if item["@type"] == "cr:FileObject":
        body = open(at(item["contentUrl"]), "rb").read()
        assert hashlib.sha256(body).hexdigest() == item["sha256"], item["@id"]
print(json.dumps(found))
