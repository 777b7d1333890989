//! Texts of notifications: Go's template language with the original's data, functions and named texts.
//!
//! Guarantees: a text that cannot be a template is refused when it is read; one that fails while it is filled in gives
//! an error and no half of a text; what is filled into markup is escaped. Never reads a file or a clock.
//!
//! Go asks values for methods and fields; here every `.A.B` becomes a call of a function that knows what the original's
//! types have ([`methods`]).

mod data;
mod functions;
mod goes;
mod methods;
mod rewrite;

use gotmpl::{
    MissingKey, Value,
    parse::{ListNode, Parser},
};
use jiff::Timestamp;

pub use data::{Group, data};

/// Turns that all loops of one template may take together.
const TURNS_MAX: u64 = 1_000_000;
/// The texts that are there unless somebody defines others.
const DEFAULTS: &str = include_str!("template/defaults.tmpl");
/// What a text that is filled in is called among the named ones.
const MAIN: &str = "\u{0}main";

/// A template that cannot be read, or filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {name}: {why}")]
pub struct TemplateError {
    /// Which: a file, or the beginning of a text.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Whether what is filled in is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain text.
    Text,
    /// HTML.
    Markup,
}

/// All named texts.
#[derive(Debug)]
pub struct Templates {
    /// In the order in which they were defined: the last of a name counts.
    named: Vec<(String, ListNode)>,
}

impl Templates {
    /// The original's, and those of files: their names and texts.
    pub fn new<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TemplateError> {
        let mut named = Vec::new();
        for (name, text) in [("defaults", DEFAULTS)].into_iter().chain(files) {
            let (_, defined) = parsed(name, text)?;
            named.extend(defined);
        }
        Ok(Self { named })
    }

    /// Whether a text can be a template.
    pub fn check(text: &str) -> Result<(), TemplateError> {
        parsed(&beginning(text), text).map(drop)
    }

    /// A text, filled in as of `now`.
    pub fn fill(
        &self,
        text: &str,
        kind: Kind,
        data: &Value,
        now: Timestamp,
    ) -> Result<String, TemplateError> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let name = beginning(text);
        let (main, defined) = parsed(&name, text)?;
        let mut template = gotmpl::Template::new(MAIN)
            .funcs(functions::functions(now))
            .missing_key(MissingKey::ZeroValue)
            .max_range_iters(TURNS_MAX);
        let all = self.named.iter().chain(&defined);
        for (name, list) in all {
            template = template.add_parse_tree(name, rewrite::rewritten(list, kind));
        }
        template = template.add_parse_tree(MAIN, rewrite::rewritten(&main, kind));
        let filled = template.execute_template_to_string(MAIN, data);
        filled.map_err(|error| TemplateError {
            name,
            why: error.to_string(),
        })
    }
}

type Parsed = (ListNode, Vec<(String, ListNode)>);

fn parsed(name: &str, text: &str) -> Result<Parsed, TemplateError> {
    let wrong = |why: String| TemplateError {
        name: name.to_owned(),
        why,
    };
    let known = functions::functions(Timestamp::UNIX_EPOCH);
    let unknown = mainstay_template::unknown(text, |name| known.contains_key(name));
    match unknown {
        Ok(None) => {}
        Ok(Some(name)) => return Err(wrong(format!("nothing is named `{name}`"))),
        Err(error) => return Err(wrong(error.to_string())),
    }
    let read = Parser::new(text, "{{", "}}").and_then(Parser::parse);
    let (main, defined) = read.map_err(|error| wrong(error.to_string()))?;
    let defined = defined.into_iter().map(|it| (it.name.to_string(), it.body));
    Ok((main, defined.collect()))
}

fn beginning(text: &str) -> String {
    let begin: String = text.chars().take(40).collect();
    format!("`{begin}`")
}

#[cfg(test)]
mod tests;
