"""Plugins that are installed beside the hub: found, checked, called at arm's length, and told about.

pluggy holds the hooks; it does not load: its own loader stops at the first broken plugin, lets a second package take a
taken name in silence, and calls all implementations together.
"""
