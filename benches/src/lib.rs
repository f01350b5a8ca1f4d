//! Measurements: the switch step, the pipeline, the whole box.
#![forbid(unsafe_code)]
