"""Attribution of a single neuron."""
