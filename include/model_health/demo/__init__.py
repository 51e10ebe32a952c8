"""A made-up year of nights with planted incidents, written by the library's own writers: something to look at."""
