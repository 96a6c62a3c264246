"""What `dipsop` can be told to do: a module for each command, and what they share."""
