"""Parts of the backend `tensorrt`: the cache of engines, opening, running."""
