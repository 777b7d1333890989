//! The metric engine: an in-memory head with columnar selection.
