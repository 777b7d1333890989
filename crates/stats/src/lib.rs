//! Sequential tests, intervals and power that may be looked at every second.
