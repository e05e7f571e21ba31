"""From an instances json and a folder of images to uint8 batches and multi-hot targets."""
