"""`tunery demo`: the whole path once, from a data set to a sold and deployed adapter, through the public API alone."""
