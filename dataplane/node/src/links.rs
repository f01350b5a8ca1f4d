//! Links: who may log in, who is dialled, who is still there.
