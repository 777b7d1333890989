//! Attributes: a key, and a value of any kind, which becomes a text.
//!
//! Guarantees: a value becomes the same text in either encoding: whole numbers and bools as they are written, doubles
//! as JSON writes them, bytes in base64, lists and maps as JSON, the keys of a map in order. Nesting is bounded.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess},
};
use serde_json::Value;

use super::json::{Double, Signed};

/// A key and its value's text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Attribute<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
}

/// `AnyValue`.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Any<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// In base64.
    Bytes(Cow<'a, str>),
    List(Vec<Any<'a>>),
    Map(Vec<KeyValue<'a>>),
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    pub(super) value: Any<'a>,
}

impl<'a> Any<'a> {
    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(BASE64_STANDARD.encode(bytes).into())
    }

    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Text(text) | Self::Bytes(text) => text,
            Self::Bool(value) => value.to_string().into(),
            Self::Int(value) => value.to_string().into(),
            Self::Double(value) => double(value).into(),
            Self::List(_) | Self::Map(_) => self.json().to_string().into(),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) | Self::Bytes(text) => text.into_owned().into(),
            Self::Bool(value) => value.into(),
            Self::Int(value) => value.into(),
            Self::Double(value) => value.into(),
            Self::List(values) => values.into_iter().map(Self::json).collect(),
            Self::Map(pairs) => {
                let pairs = pairs.into_iter();
                let pairs: BTreeMap<String, Value> = pairs
                    .map(|pair| (pair.key.into_owned(), pair.value.json()))
                    .collect();
                Value::Object(pairs.into_iter().collect())
            }
        }
    }
}

/// As JSON writers put it: without an exponent unless it is very large or small.
fn double(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

impl<'a> From<KeyValue<'a>> for Attribute<'a> {
    fn from(pair: KeyValue<'a>) -> Self {
        Self {
            key: pair.key,
            value: pair.value.text(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Attribute<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        KeyValue::deserialize(from).map(Self::from)
    }
}

/// A text, borrowed where it stands unescaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Values<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Any<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Any<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value such as {\"stringValue\": \"a\"}")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Any<'de>, M::Error> {
                let mut any = Any::Empty;
                while let Some(kind) = map.next_key::<Text<'de>>()? {
                    any = match &*kind.0 {
                        "stringValue" => Any::Text(map.next_value::<Text<'de>>()?.0),
                        "boolValue" => Any::Bool(map.next_value()?),
                        "intValue" => Any::Int(map.next_value::<Signed>()?.0),
                        "doubleValue" => Any::Double(map.next_value::<Double>()?.0),
                        "bytesValue" => Any::Bytes(map.next_value::<Text<'de>>()?.0),
                        "arrayValue" => Any::List(map.next_value::<Values<Any<'de>>>()?.values),
                        "kvlistValue" => {
                            Any::Map(map.next_value::<Values<KeyValue<'de>>>()?.values)
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            any
                        }
                    };
                }
                Ok(any)
            }
        }
        from.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_kind_becomes_the_text_of_it() {
        for (json, text) in [
            (r#"{"stringValue": "a\nb"}"#, "a\nb"),
            (r#"{"boolValue": true}"#, "true"),
            (r#"{"intValue": "-9007199254740993"}"#, "-9007199254740993"),
            (r#"{"intValue": 5}"#, "5"),
            (r#"{"doubleValue": 0.5}"#, "0.5"),
            (r#"{"doubleValue": 5.0}"#, "5"),
            (r#"{"doubleValue": 1e30}"#, "1e+30"),
            (r#"{"doubleValue": 1e-9}"#, "1e-9"),
            (r#"{"doubleValue": "NaN"}"#, "NaN"),
            (r#"{"bytesValue": "AAE="}"#, "AAE="),
            (
                r#"{"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "b"}]}}"#,
                r#"[1,"b"]"#,
            ),
            (
                r#"{"kvlistValue": {"values": [{"key": "z", "value": {}}, {"key": "a", "value": {"boolValue": false}}]}}"#,
                r#"{"a":false,"z":null}"#,
            ),
            (r#"{"arrayValue": {}}"#, "[]"),
            (r#"{"laterValue": [1]}"#, ""),
            ("{}", ""),
        ] {
            let any: Any<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(any.text(), text, "{json}");
        }
        assert_eq!(Any::bytes(&[0, 1]).text(), "AAE=");
    }
}
