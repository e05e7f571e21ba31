"""Networks with their input normalisation, initialisation, weights files, freezing and cost figures."""
