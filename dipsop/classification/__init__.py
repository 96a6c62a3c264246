"""Classification through wrong labels: data → trainer → epochs → a model and a list of suspect labels."""
