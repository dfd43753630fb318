"""The metrics, laid out as in ``captum.metrics``."""
