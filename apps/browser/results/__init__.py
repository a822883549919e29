"""What evaluations and experiments wrote: read, put side by side, drawn."""
