"""File formats, a module each: header and limits first, then pixels in plain colours over white."""
