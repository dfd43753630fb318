"""The attribution classes, laid out as in ``captum.attr``."""
