//! All that two threads share: publication, hand-off rings, counter banks.
#![forbid(unsafe_code)]
