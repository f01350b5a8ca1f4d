//! Network namespaces joined by veth, made and removed by whoever needs a network to try things on.
#![forbid(unsafe_code)]
