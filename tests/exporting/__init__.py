"""Models as graphs: exported programs, and ONNX."""
