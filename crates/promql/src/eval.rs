//! Evaluation.
pub(crate) mod civil;
pub(crate) mod kahan;
pub(crate) mod window;
