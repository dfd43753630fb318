"""All that touches the autograd graph: rules, rectifiers, and one forward pass that answers."""
