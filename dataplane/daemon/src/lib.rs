//! The process that moves packets: wiring of workers, slow path and management.
#![forbid(unsafe_code)]
