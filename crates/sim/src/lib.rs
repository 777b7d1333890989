//! A simulated world, faults and invariants, for the machines that move production.
