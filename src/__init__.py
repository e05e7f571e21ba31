"""Multi-label image classification on COCO. Importing this package loads nothing heavy."""

__version__ = "0.1.0"
