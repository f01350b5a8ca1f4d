//! Windows over packet numbers that were seen.
