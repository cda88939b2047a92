"""Checks ONNX models with the onnx package: reads paths, prints "ok IR OPSET" or the error for each."""

import sys

import onnx

for path in sys.argv[1:]:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        print("ok", model.ir_version, model.opset_import[0].version)
    except Exception as error:  # the test reads the words
        print("error", repr(error)[:500])
