"""What computes a trained network: PyTorch, ONNX Runtime, OpenVINO; and graphs of it to hand over."""
