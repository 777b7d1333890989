//! Rollouts walked by hand.
