"""File formats, one module for each: read header and limits, then decode pixels to opaque colours over white."""
