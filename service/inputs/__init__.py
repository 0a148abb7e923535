"""From a request's body to the network's input: the body, its form, the image, its pixels."""
