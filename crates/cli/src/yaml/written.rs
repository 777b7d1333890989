//! Where a resource was written: its file, and the lines of its fields.
//!
//! Guarantees: a field that is not written is told by the nearest one around it that is, and a document that cannot
//! be read again by its first line. Never fails: a place is help, not an answer.
//!
//! Example: `written.place("spec.dependencies[1].timeout")` is `site.yaml:31:46`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// One document of a file.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    file: String,
    lines_before: usize,
    text: String,
}

impl Written {
    pub(super) fn new(file: &str, lines_before: usize, text: String) -> Self {
        Self {
            file: file.to_owned(),
            lines_before,
            text,
        }
    }

    /// The document.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `file:line:column`, of a place in the document.
    pub(super) fn at(&self, place: Option<(u64, u64)>) -> String {
        let before = self.lines_before as u64;
        match place {
            Some((line, column)) => format!("{}:{}:{column}", self.file, before + line),
            None => format!("{}:{}", self.file, before + 1),
        }
    }

    /// Where the value of `field` begins.
    pub(crate) fn place(&self, field: &str) -> String {
        let root = serde_saphyr::from_str::<Node>(&self.text).ok();
        self.at(root.map(|root| root.nearest(field)))
    }
}

/// A value and where it begins, by line and column from 1.
struct Node {
    line: u64,
    column: u64,
    below: Below,
}

#[derive(Default)]
enum Below {
    #[default]
    Nothing,
    Fields(BTreeMap<String, Node>),
    Items(Vec<Node>),
}

impl Node {
    /// The place of what `path` leads to, or of the last step of it that is written.
    fn nearest(&self, path: &str) -> (u64, u64) {
        let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
        let mut at = self;
        for step in steps {
            let found = match &at.below {
                Below::Nothing => None,
                Below::Fields(fields) => fields.get(step),
                Below::Items(items) => {
                    let number = step.trim_end_matches(']').parse::<usize>().ok();
                    number.and_then(|number| items.get(number))
                }
            };
            match found {
                Some(found) => at = found,
                None => break,
            }
        }
        (at.line, at.column)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::<Below>::deserialize(deserializer)?;
        Ok(Self {
            line: referenced.line(),
            column: referenced.column(),
            below: value,
        })
    }
}

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Below;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_str<E>(self, _: &str) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_unit<E>(self) -> Result<Below, E> {
                Ok(Below::Nothing)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Below, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, node)) = map.next_entry()? {
                    fields.insert(name, node);
                }
                Ok(Below::Fields(fields))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Below, A::Error> {
                let mut items = Vec::new();
                while let Some(node) = seq.next_element()? {
                    items.push(node);
                }
                Ok(Below::Items(items))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "\
kind: Service
metadata: {name: feed}
spec:
  owner: feed
  tier: 1
  old: null
  dependencies:
    - {service: profile, timeout: 500ms}
    - service: graph
      timeout: 800ms
  instances: {lax: 3}
";

    #[test]
    fn a_field_is_found_by_its_path_and_one_that_is_not_written_by_the_nearest_around_it() {
        let written = Written::new("site.yaml", 10, SERVICE.to_owned());
        for (field, place) in [
            ("spec.owner", "site.yaml:14:10"),
            ("metadata.name", "site.yaml:12:18"),
            ("spec.dependencies[0].timeout", "site.yaml:18:35"),
            ("spec.dependencies[1].timeout", "site.yaml:20:16"),
            ("spec.instances.lax", "site.yaml:21:20"),
            ("spec.instances.iad", "site.yaml:21:14"),
            ("spec.dependencies[7]", "site.yaml:18:5"),
            ("spec.policy", "site.yaml:14:3"),
            ("", "site.yaml:11:1"),
        ] {
            assert_eq!(written.place(field), place, "{field}");
        }
        let broken = Written::new("a.yaml", 3, "kind: [\n".to_owned());
        assert_eq!(broken.place("kind"), "a.yaml:4");
    }
}
