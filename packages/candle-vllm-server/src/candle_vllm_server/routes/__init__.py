"""The routes, one file for each noun; each makes a router from a `Context`."""
