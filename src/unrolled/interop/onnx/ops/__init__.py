"""ONNX's operators in numpy, by kind; `table.py` names them all."""
