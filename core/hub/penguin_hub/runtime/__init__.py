"""Running a hub on one machine: its processes, in order, watched and repaired."""
