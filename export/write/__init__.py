"""Writing of graph files, sample images, and the draft of the manifest."""
