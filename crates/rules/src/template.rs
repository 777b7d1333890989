//! Texts of labels and annotations: Go's template language with Prometheus's functions.
//!
//! Guarantees: a text that cannot be a template is refused when it is read; one that fails while it is filled
//! in gives an error and no half of a text. Never runs a query on its own: `query` asks whom the caller names.

mod functions;

use std::{fmt::Display, sync::Arc};

use gotmpl::{MissingKey, Value};
use mainstay_promql::Labels;
use mainstay_template::{map, text, texts};

use crate::{External, Source};
use functions::functions;

/// What Prometheus puts before every template.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                       {{$externalURL := .ExternalURL}}{{$value := .Value}}";
/// Turns that all loops of one template may take together.
const TURNS_MAX: u64 = 100_000;
/// How a value that is not there is printed.
const ABSENT: &str = "<no value>";

/// A template that cannot be read, or filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{begin}`: {why}")]
pub struct TemplateError {
    begin: String,
    why: String,
}

/// A text with holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    text: Arc<str>,
    has_holes: bool,
}

/// What the holes are filled with.
pub(crate) struct Filling<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) value: f64,
    pub(crate) at_ms: i64,
    pub(crate) external: &'a External,
    pub(crate) source: &'a Arc<dyn Source>,
}

impl Template {
    /// Reads a text; refuses what is no template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Self {
            text: text.into(),
            has_holes: text.contains("{{"),
        };
        if !template.has_holes {
            return Ok(template);
        }
        let ours = functions(None);
        let unknown =
            mainstay_template::unknown(&template.source(), |name| ours.contains_key(name));
        match unknown {
            Ok(None) => Ok(template),
            Ok(Some(name)) => Err(template.wrong(&format!("nothing is named `{name}`"))),
            Err(error) => Err(template.wrong(&error)),
        }
    }

    /// A text that stands as it is.
    pub fn plain(text: &str) -> Self {
        Self {
            text: text.into(),
            has_holes: false,
        }
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, filled in.
    pub(crate) fn fill(&self, filling: &Filling<'_>) -> Result<String, TemplateError> {
        if !self.has_holes {
            return Ok(self.text.to_string());
        }
        let context = (
            Arc::clone(filling.source),
            filling.at_ms,
            filling.external.clone(),
        );
        let filled = gotmpl::Template::new("text")
            .funcs(functions(Some(context)))
            .missing_key(MissingKey::ZeroValue)
            .max_range_iters(TURNS_MAX)
            .parse(&self.source())
            .and_then(|template| template.execute_to_string(&self.data(filling)));
        match filled {
            Ok(text) => Ok(text.replace(ABSENT, "")),
            Err(error) => Err(self.wrong(&error)),
        }
    }

    fn source(&self) -> String {
        format!("{PRELUDE}{}", self.text)
    }

    fn data(&self, filling: &Filling<'_>) -> Value {
        let external = filling.external.labels.iter();
        map([
            ("Labels", self.labels(filling.labels)),
            (
                "ExternalLabels",
                texts(external.map(|(name, value)| (name.as_str(), value.as_str()))),
            ),
            ("ExternalURL", text(&filling.external.url)),
            ("Value", Value::Float(filling.value)),
        ])
    }

    /// In Go a label that is not there is an empty text, also when it is compared. Here it would be nothing at
    /// all, so those that the template names are put there; a template that walks the labels sees the real ones.
    fn labels(&self, labels: &Labels) -> Value {
        let named = self.text.split('.').skip(1).map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            &rest[..end.unwrap_or(rest.len())]
        });
        let missing = named
            .filter(|_| !self.text.contains("range"))
            .filter(|name| !name.is_empty() && labels.get(name).is_none())
            .map(|name| (name, ""));
        texts(labels.iter().chain(missing))
    }

    fn wrong(&self, why: &dyn Display) -> TemplateError {
        TemplateError {
            begin: self.text.chars().take(40).collect(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::tests::Canned;

    fn filled(template: &str, value: f64) -> Result<String, TemplateError> {
        let labels = Labels::from_pairs([("instance", "shop-1:8080"), ("job", "shop")]);
        let external = External {
            labels: [("fabric".to_owned(), "lax".to_owned())].into(),
            url: "http://mainstay.example/".to_owned(),
        };
        let source: Arc<dyn Source> = Arc::new(Canned::of([("up", 2.0), ("down", 7.0)]));
        Template::parse(template)?.fill(&Filling {
            labels: &labels,
            value,
            at_ms: 1_700_000_000_000,
            external: &external,
            source: &source,
        })
    }

    #[test]
    fn holes_are_filled_as_prometheus_fills_them() {
        let cases = [
            ("{{ $labels.job }} at {{ $value }}", 0.5, "shop at 0.5"),
            (
                "{{ .Labels.nobody }}|{{ $externalLabels.fabric }}",
                1.0,
                "|lax",
            ),
            (r#"{{ if eq $labels.nobody "" }}none{{ end }}"#, 1.0, "none"),
            ("{{ humanize $value }}", 1_234_567.0, "1.235M"),
            ("{{ humanize1024 $value }}", 2_048.0, "2ki"),
            ("{{ humanizeDuration $value }}", 3_725.0, "1h 2m 5s"),
            ("{{ humanizePercentage $value }}", 0.123_456, "12.35%"),
            (
                "{{ humanizeTimestamp $value }}",
                1_700_000_000.0,
                "2023-11-14 22:13:20 +0000 UTC",
            ),
            ("{{ $value | printf \"%.2f\" }}", 3.146, "3.15"),
            ("{{ stripPort $labels.instance }}", 0.0, "shop-1"),
            (
                "{{ $labels.job | toUpper | reReplaceAll \"S(.)\" \"${1}S\" }}",
                0.0,
                "HSOP",
            ),
            (
                "{{ range query \"up\" }}{{ .Labels.name }}={{ .Value }} {{ end }}",
                0.0,
                "up=2 ",
            ),
            (
                "{{ with query \"down\" }}{{ . | first | value }}{{ end }}",
                0.0,
                "7",
            ),
            (
                "{{ graphLink \"up > 1\" }}",
                0.0,
                "/graph?g0.expr=up+%3E+1&g0.tab=0",
            ),
            (
                "{{ range $k, $v := $labels }}{{ $k }};{{ end }}",
                0.0,
                "instance;job;",
            ),
            ("{{ externalURL }}", 0.0, "http://mainstay.example/"),
            ("{{ title \"a shop\" }}", 0.0, "A Shop"),
            ("{{ if match \"^s\" $labels.job }}yes{{ end }}", 0.0, "yes"),
            ("{{ parseDuration \"1h30m\" }}", 0.0, "5400"),
        ];
        for (template, value, expected) in cases {
            assert_eq!(
                filled(template, value).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_no_template_is_refused_and_what_fails_says_so() {
        for wrong in ["{{ $labels.job", "{{ nonsense }}", "{{ $undeclared }}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        let error = filled("{{ query \"sum(\" }}", 0.0).unwrap_err().to_string();
        assert!(error.contains("sum("), "{error}");
    }
}
