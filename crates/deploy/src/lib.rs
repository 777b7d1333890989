//! Rollouts: plans, the machine that walks them, the canary judge.
