//! The newer syntax: names of any letters, in quotes where they hold reserved ones.
//!
//! Guarantees: an error says the column and what was expected. Never takes a value that ends within its quotes.

use super::{Matcher, MatcherError, Operator};

/// What ends a word that is not in quotes.
pub(super) fn is_reserved(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(
            letter,
            '{' | '}' | '!' | '=' | '~' | ',' | '\\' | '"' | '\'' | '`'
        )
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// Reads matchers with or without braces.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let mut reader = Reader { text, at: 0 };
    let mut matchers = Vec::new();
    let in_braces = reader.takes("{");
    loop {
        if reader.rest().is_empty() || reader.rest().starts_with('}') {
            break;
        }
        matchers.push(reader.matcher()?);
        if !reader.takes(",") {
            break;
        }
    }
    if in_braces && !reader.takes("}") {
        return Err(reader.wrong("expected a comma or a closing brace"));
    }
    if !reader.rest().is_empty() {
        return Err(reader.wrong("expected a comma or the end"));
    }
    Ok(matchers)
}

impl<'a> Reader<'a> {
    /// What follows, after spaces.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.at += sign.len();
        }
        is_next
    }

    fn wrong(&mut self, expected: &str) -> MatcherError {
        let met = match self.rest().chars().next() {
            Some(letter) => format!("unexpected `{letter}`"),
            None => "unexpected end of input".to_owned(),
        };
        MatcherError::Syntax {
            column: self.text[..self.at].chars().count() + 1,
            what: format!("{met}: {expected}"),
        }
    }

    fn matcher(&mut self) -> Result<Matcher, MatcherError> {
        let name = self.word("expected label name")?;
        if name.is_empty() {
            return Err(self.wrong("a label name is not empty"));
        }
        let signs = [
            ("=~", Operator::Matches),
            ("!~", Operator::NotMatches),
            ("!=", Operator::NotEqual),
            ("=", Operator::Equal),
        ];
        let found = signs.into_iter().find(|(sign, _)| self.takes(sign));
        let Some((_, operator)) = found else {
            return Err(self.wrong("expected an operator such as '=', '!=', '=~' or '!~'"));
        };
        let value = self.word("expected label value")?;
        Matcher::new(name, operator, value)
    }

    fn word(&mut self, expected: &str) -> Result<String, MatcherError> {
        let rest = self.rest();
        if rest.starts_with('"') {
            return self.quoted();
        }
        let end = rest.find(is_reserved).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong(expected));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn quoted(&mut self) -> Result<String, MatcherError> {
        let (from, rest) = (self.at, self.rest());
        let mut value = String::new();
        let mut letters = rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += at + 1;
                    return Ok(value);
                }
                '\\' => {
                    let escape = letters.next().map(|(_, letter)| letter);
                    let Some(letter) = escape.and_then(|it| escaped(it, &mut letters)) else {
                        self.at = from + at;
                        return Err(self.wrong("no escape that is known"));
                    };
                    value.push(letter);
                }
                other => value.push(other),
            }
        }
        self.at = self.text.len();
        Err(self.wrong("missing end `\"`"))
    }
}

fn escaped(letter: char, more: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let digits = match letter {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'a' => return Some('\u{7}'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        'v' => return Some('\u{b}'),
        '"' | '\\' => return Some(letter),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let hex: String = more.by_ref().take(digits).map(|(_, it)| it).collect();
    let is_whole = hex.len() == digits;
    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| is_whole)?;
    char::from_u32(code)
}
