"""Tables, figures and files. Nothing here knows what a result means."""
