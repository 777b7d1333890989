//! The vocabulary of Mainstay: ids, time, catalog, changes, measurements, guards and ports.
