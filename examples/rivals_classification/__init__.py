"""Co-teaching+, DivideMix and ELR+, short and from their papers, to be measured beside SOP."""
