"""From a corrupted picture to a clean one."""
