"""From a trained network to an artifact: bake, trace, rewrite, check, write."""
