"""What of an image is shown, and how: views, their pixels and levels, and albumentations behind them."""
