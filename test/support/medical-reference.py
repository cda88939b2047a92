"""Stored values and display values of DICOM and NIfTI files by pydicom, gdcm and nibabel, as digests, for comparison.

usage: medical-reference.py FILE...   prints one JSON object a line: null for a file that the decoder does not read.
"""
import hashlib
import json
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")


def digest(a):
    return hashlib.sha256(np.ascontiguousarray(a).astype("<f8").tobytes()).hexdigest()[:16]


def dicom(path):
    import pydicom
    from pydicom.pixel_data_handlers.util import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

    d = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in d.file_meta:
        d.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    raw = d.pixel_array
    stored = raw
    integer = raw.dtype.kind in "iu"
    if integer and d.BitsStored < d.BitsAllocated and d.BitsAllocated in (8, 16, 32):
        # pydicom keeps what lies above the stored bits; the standard does not.
        bits = int(d.BitsStored)
        x = (raw.astype("i8") >> (int(d.HighBit) + 1 - bits)) & (2**bits - 1)
        stored = np.where((x >> (bits - 1)) & 1, x - 2**bits, x) if d.PixelRepresentation else x
    out = {"stored": digest(stored), "shape": list(raw.shape)}
    if d.get("NumberOfFrames", 1) == 1:
        if d.PhotometricInterpretation == "PALETTE COLOR":
            out["colour"] = digest(apply_color_lut(raw, d))
        elif d.PhotometricInterpretation == "YBR_FULL":
            out["colour"] = digest(convert_color_space(raw, "YBR_FULL", "RGB"))
        elif integer and d.SamplesPerPixel == 1:
            values = apply_modality_lut(stored, d)
            out["modality"] = digest(values)
            if "WindowCenter" in d or "VOILUTSequence" in d:
                shown = apply_voi_lut(values if "VOILUTSequence" not in d else stored, d, index=0).astype("f8")
                out["shown"] = ((shown - shown.min()) / (shown.max() - shown.min() or 1)).ravel()[:: 997].tolist()
                out["range"] = [float(shown.min()), float(shown.max())]
    return out


def nifti(path):
    import nibabel as nib

    i = nib.load(path)
    data = np.asarray(nib.as_closest_canonical(i).dataobj).astype("f8")
    t = data[..., 0] if data.ndim == 4 else data
    # Right, front and head grow along the canonical axes; slices hang with right on the left, front and head on top.
    axial = t[::-1, ::-1, :].transpose(2, 1, 0)
    coronal = t[::-1, :, ::-1].transpose(1, 2, 0)
    sagittal = t[:, ::-1, ::-1].transpose(0, 2, 1)
    return {k: digest(v) for k, v in (("axial", axial), ("coronal", coronal), ("sagittal", sagittal))}


for path in sys.argv[1:]:
    try:
        found = nifti(path) if ".nii" in path else dicom(path)
    except Exception:
        found = None
    print(json.dumps(found), flush=True)
