//! Relabeling: rules that change, keep or drop a label set, in Prometheus's own terms.
//!
//! Guarantees: rules hold in their order; an expression matches a whole text; what a rule may not say for its action
//! is refused when it is read, not when it is used. A set that one rule drops is dropped.
//!
//! ```
//! use mainstay_ekg::relabel::{self, Rule, Section};
//! let section: Section = serde_json::from_str(
//!     r#"{"source_labels": ["pod"], "regex": "shop-(.*)", "target_label": "shop"}"#)?;
//! let rules = [Rule::try_from(section)?];
//! let set = relabel::Set::from([("pod".to_owned(), "shop-7".to_owned())]);
//! assert_eq!(relabel::apply(&rules, set).unwrap()["shop"], "7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Compiled size of a regular expression.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// Labels by name; one with an empty value is not there.
pub type Set = BTreeMap<String, String>;

/// A rule as a configuration says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// The label that is set.
    pub target_label: String,
    /// What the joined values must match.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// What is set; `$1` is the first group.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is Prometheus's own word")]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// Why a rule cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a regular expression.
    #[error("regex `{pattern}`: {why}")]
    Regex {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// The action needs it.
    #[error("action {action:?} needs `{field}`")]
    Needs {
        /// The action.
        action: Action,
        /// What it needs.
        field: &'static str,
    },
}

/// A rule that can be used.
#[derive(Clone, Debug)]
pub struct Rule {
    section: Section,
    regex: Regex,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.section == other.section
    }
}

impl TryFrom<Section> for Rule {
    type Error = RuleError;

    fn try_from(section: Section) -> Result<Self, RuleError> {
        let action = section.action;
        let needs = |field| Err(RuleError::Needs { action, field });
        match action {
            Action::HashMod if section.modulus == 0 => return needs("modulus"),
            Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
                if section.target_label.is_empty() =>
            {
                return needs("target_label");
            }
            Action::Replace
            | Action::Keep
            | Action::Drop
            | Action::KeepEqual
            | Action::DropEqual
            | Action::HashMod
            | Action::LabelMap
            | Action::LabelDrop
            | Action::LabelKeep
            | Action::Lowercase
            | Action::Uppercase => {}
        }
        // Compiled alone first, so that a stray parenthesis cannot escape the anchors.
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(REGEX_BYTES_MAX)
                .build()
        };
        let regex = build(&section.regex)
            .and_then(|_| build(&format!("^(?s:{})$", section.regex)))
            .map_err(|error| RuleError::Regex {
                pattern: section.regex.clone(),
                why: error.to_string(),
            })?;
        Ok(Self { section, regex })
    }
}

/// All rules, one after another; none if one of them drops the set.
pub fn apply(rules: &[Rule], mut set: Set) -> Option<Set> {
    for rule in rules {
        if !rule.holds(&mut set) {
            return None;
        }
    }
    Some(set)
}

/// What each rule made of the set, in order: the rule, the labels after it, and whether they are kept. Nothing is
/// left of a set once a rule drops it.
pub fn steps(rules: &[Rule], set: Set) -> Vec<(&Section, Option<Set>)> {
    let mut left = Some(set);
    let step = |rule| {
        left = left
            .take()
            .and_then(|mut set| Rule::holds(rule, &mut set).then_some(set));
        (&rule.section, left.clone())
    };
    rules.iter().map(step).collect()
}

impl Rule {
    /// Changes the set; false if it is dropped.
    fn holds(&self, set: &mut Set) -> bool {
        let it = &self.section;
        let value = |name: &String| set.get(name).map_or("", String::as_str);
        let values: Vec<&str> = it.source_labels.iter().map(value).collect();
        let joined = values.join(&it.separator);
        let target = value(&it.target_label);
        match it.action {
            Action::Keep => return self.regex.is_match(&joined),
            Action::Drop => return !self.regex.is_match(&joined),
            Action::KeepEqual => return target == joined,
            Action::DropEqual => return target != joined,
            Action::Replace => {
                if let Some(found) = self.regex.captures(&joined) {
                    let name = expanded(&found, &it.target_label);
                    put(set, name, expanded(&found, &it.replacement));
                }
            }
            Action::HashMod => {
                let rest = hash(&joined) % it.modulus;
                put(set, it.target_label.clone(), rest.to_string());
            }
            Action::Lowercase => put(set, it.target_label.clone(), joined.to_lowercase()),
            Action::Uppercase => put(set, it.target_label.clone(), joined.to_uppercase()),
            Action::LabelMap => {
                let map = |(name, value): (&String, &String)| {
                    let found = self.regex.captures(name)?;
                    Some((expanded(&found, &it.replacement), value.clone()))
                };
                let mapped: Vec<_> = set.iter().filter_map(map).collect();
                for (name, value) in mapped {
                    put(set, name, value);
                }
            }
            Action::LabelDrop => set.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => set.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }
}

fn expanded(found: &Captures<'_>, template: &str) -> String {
    let mut text = String::new();
    found.expand(template, &mut text);
    text
}

/// Sets a label; an empty value removes it, and an empty name is none.
fn put(set: &mut Set, name: String, value: String) {
    if name.is_empty() {
        return;
    }
    if value.is_empty() {
        set.remove(&name);
    } else {
        set.insert(name, value);
    }
}

/// The second half of MD5, as Prometheus shards by it.
fn hash(text: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    digest
        .last_chunk()
        .map_or(0, |half| u64::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<Rule, RuleError> {
        Rule::try_from(serde_json::from_str::<Section>(json).unwrap())
    }

    fn set(pairs: &[(&str, &str)]) -> Set {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    /// What a rule makes of `a="foo", b="bar", c="baz"`, as `name=value` in order, or nothing.
    fn made(json: &str) -> Option<String> {
        let before = set(&[("a", "foo"), ("b", "bar"), ("c", "baz")]);
        let after = apply(&[rule(json).unwrap()], before)?;
        let pairs: Vec<String> = after.iter().map(|(n, v)| format!("{n}={v}")).collect();
        Some(pairs.join(" "))
    }

    #[test]
    fn every_action_does_what_its_name_says() {
        for (json, expected) in [
            (
                r#"{"source_labels":["a"],"regex":"f(.*)","target_label":"d","replacement":"ch${1}-ch${1}"}"#,
                Some("a=foo b=bar c=baz d=choo-choo"),
            ),
            (
                r#"{"source_labels":["a","b"],"regex":"f(.*);(.*)r","target_label":"a","replacement":"b${1}${2}m"}"#,
                Some("a=boobam b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"regex":"f","target_label":"d"}"#,
                Some("a=foo b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"regex":"(f).*","target_label":"${1}x"}"#,
                Some("a=foo b=bar c=baz fx=f"),
            ),
            (
                r#"{"target_label":"a","replacement":""}"#,
                Some("b=bar c=baz"),
            ),
            (
                r#"{"target_label":"d","replacement":"static","regex":".*"}"#,
                Some("a=foo b=bar c=baz d=static"),
            ),
            (
                r#"{"source_labels":["a"],"regex":"foo|x","action":"keep"}"#,
                Some("a=foo b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"regex":"o","action":"keep"}"#,
                None,
            ),
            (
                r#"{"source_labels":["a"],"regex":".*o.*","action":"drop"}"#,
                None,
            ),
            (
                r#"{"source_labels":["nothing"],"regex":"","action":"drop"}"#,
                None,
            ),
            (
                r#"{"source_labels":["a"],"target_label":"a","action":"keepequal"}"#,
                Some("a=foo b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"target_label":"b","action":"keepequal"}"#,
                None,
            ),
            (
                r#"{"source_labels":["a"],"target_label":"a","action":"dropequal"}"#,
                None,
            ),
            (
                r#"{"source_labels":["c"],"target_label":"d","action":"hashmod","modulus":1000}"#,
                Some("a=foo b=bar c=baz d=976"),
            ),
            (
                r#"{"regex":"(b|c)","replacement":"x_${1}","action":"labelmap"}"#,
                Some("a=foo b=bar c=baz x_b=bar x_c=baz"),
            ),
            (r#"{"regex":"b|c","action":"labeldrop"}"#, Some("a=foo")),
            (
                r#"{"regex":"b|c","action":"labelkeep"}"#,
                Some("b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"target_label":"a","action":"uppercase"}"#,
                Some("a=FOO b=bar c=baz"),
            ),
            (
                r#"{"source_labels":["a"],"target_label":"a","action":"lowercase"}"#,
                Some("a=foo b=bar c=baz"),
            ),
        ] {
            assert_eq!(made(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn what_an_action_needs_is_asked_for_and_anchors_cannot_be_escaped() {
        for (json, error) in [
            (
                r#"{"action":"replace"}"#,
                "action Replace needs `target_label`",
            ),
            (
                r#"{"action":"hashmod","target_label":"a"}"#,
                "action HashMod needs `modulus`",
            ),
        ] {
            assert_eq!(rule(json).unwrap_err().to_string(), error);
        }
        assert!(matches!(
            rule(r#"{"regex":"a)|(b","action":"labeldrop"}"#),
            Err(RuleError::Regex { .. })
        ));
    }
}
