"""The built-in sample: scenes of drawn shapes, in COCO's layout."""
