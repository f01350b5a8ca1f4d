//! Open and seal bursts of packets of many keys.
