"""Multi-label image classification on COCO: training, evaluation and description. Importing this loads nothing heavy."""

__version__ = "0.1.0"
