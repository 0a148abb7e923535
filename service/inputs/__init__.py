"""Request bodies: content encoding, content type, parameters, and the image file for `imaging`."""
