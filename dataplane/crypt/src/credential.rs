//! What a neighbour logs in with.
