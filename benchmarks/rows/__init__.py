"""What is measured, a module per family of rows."""
