//! What a rule's texts may say of the whole server.

use std::collections::BTreeMap;

/// The labels that the server adds to whatever leaves it, and where it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// Labels added to every alert that leaves.
    pub labels: BTreeMap<String, String>,
    /// Where people reach the server, such as `https://mainstay.example`.
    pub url: String,
}
