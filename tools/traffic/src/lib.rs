//! Traffic generator and sink: valid cjdns frames, sequence numbers and time stamps, exact accounting.
#![forbid(unsafe_code)]
