"""Models from elsewhere and to elsewhere: one module a format, and no framework at run time."""
