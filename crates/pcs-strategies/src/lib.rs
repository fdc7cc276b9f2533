//! Pure selection strategies: one file each, no clock, no IO.
