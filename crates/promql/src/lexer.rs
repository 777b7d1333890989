//! Text into tokens with spans.
//!
//! Guarantees: every byte of the query belongs to a token, to white space or to a comment. It never decides
//! what a word means: keywords are the parser's.

use crate::Span;
use crate::error::{ErrorKind, Fault, Outcome};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name, a keyword, an aggregation, a function.
    Word(String),
    /// A number, or a duration in seconds.
    Number {
        value: f64,
        is_duration: bool,
    },
    Text(String),
    /// A string whose escapes are not UTF-8, as written.
    Bytes(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

impl Token {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Number { value, .. } => format!("number {value}"),
            Self::Text(text) => format!("string {text:?}"),
            Self::Bytes(written) => format!("string {written}, which is not UTF-8"),
            Self::Sign(sign) => format!("{sign:?}"),
            Self::End => "end of query".into(),
        }
    }
}

/// Longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 26] = [
    "==", "!=", "<=", ">=", "=~", "!~", "</", ">/", "+", "-", "*", "/", "%", "^", "<", ">", "=",
    "(", ")", "{", "}", "[", "]", ",", ":", "@",
];

pub(crate) fn lex(text: &str) -> Outcome<Vec<(Token, Span)>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    // A colon inside brackets separates a subquery's step; elsewhere it belongs to a name.
    let mut brackets = 0_usize;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if c == '#' {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let token = if c.is_ascii_digit() || (c == '.' && next_is_digit(text, at)) {
            let len = number_len(&text[at..]);
            at += len;
            number(&text[start..at], Span { start, end: at })?
        } else if c.is_ascii_alphabetic() || c == '_' || (c == ':' && brackets == 0) {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            at += text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at);
            Token::Word(text[start..at].into())
        } else if matches!(c, '"' | '\'' | '`') {
            let (value, len) = string(text, at, c)?;
            at += len;
            match String::from_utf8(value) {
                Ok(value) => Token::Text(value),
                Err(_) => Token::Bytes(text[start..at].into()),
            }
        } else if let Some(sign) = SIGNS.iter().find(|s| text[at..].starts_with(**s)) {
            match *sign {
                "[" => brackets += 1,
                "]" => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            at += sign.len();
            Token::Sign(sign)
        } else {
            let span = Span {
                start,
                end: start + c.len_utf8(),
            };
            let kind = ErrorKind::Syntax {
                expected: "an expression or an operator".into(),
                found: format!("character {c:?}"),
            };
            return Err(Fault::new(kind, span));
        };
        tokens.push((token, Span { start, end: at }));
    }
    let end = text.len();
    tokens.push((Token::End, Span { start: end, end }));
    Ok(tokens)
}

fn next_is_digit(text: &str, at: usize) -> bool {
    text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// How many bytes look like one number or duration.
fn number_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hex = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x');
    let mut len = 0;
    while let Some(b) = bytes.get(len) {
        let exponent_sign = matches!(b, b'+' | b'-')
            && !hex
            && matches!(bytes.get(len.wrapping_sub(1)), Some(b'e' | b'E'));
        if !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_') || exponent_sign) {
            break;
        }
        len += 1;
    }
    len
}

fn number(text: &str, span: Span) -> Outcome<Token> {
    let plain = text.replace('_', "");
    let underscores_ok = !text.ends_with('_') && !text.contains("__");
    let mut is_duration = false;
    let hex = plain.strip_prefix("0x").or(plain.strip_prefix("0X"));
    let value = match hex {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|v| v as f64),
        None if plain.len() > 1
            && plain.starts_with('0')
            && plain.bytes().all(|b| matches!(b, b'0'..=b'7')) =>
        {
            u64::from_str_radix(&plain, 8).ok().map(|v| v as f64)
        }
        None if plain
            .bytes()
            .any(|b| b.is_ascii_alphabetic() && b != b'e' && b != b'E') =>
        {
            is_duration = true;
            duration_ms(text).map(|ms| ms as f64 / 1000.0)
        }
        None => plain.parse().ok(),
    };
    match value {
        Some(value) if underscores_ok => Ok(Token::Number { value, is_duration }),
        _ => Err(Fault::new(
            ErrorKind::Syntax {
                expected: "a number or a duration such as 1h30m".into(),
                found: format!("{text:?}"),
            },
            span,
        )),
    }
}

/// Units of durations and their milliseconds, from the longest.
pub(crate) const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds of a duration such as `1h30m`: units descend, none repeats.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut from = 0;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let at = UNITS
            .iter()
            .position(|(unit, _)| *unit == &rest[..unit_len])?;
        if at < from {
            return None;
        }
        from = at + 1;
        rest = &rest[unit_len..];
        total = total.checked_add(count.checked_mul(UNITS[at].1)?)?;
    }
    (from > 0).then_some(total)
}

/// The bytes of the string literal at `at`, and its length with both quotes.
fn string(text: &str, at: usize, quote: char) -> Outcome<(Vec<u8>, usize)> {
    let body = &text[at + 1..];
    let unended = || {
        let span = Span {
            start: at,
            end: text.len(),
        };
        let kind = ErrorKind::Syntax {
            expected: format!("a closing {quote}"),
            found: "end of query".into(),
        };
        Fault::new(kind, span)
    };
    if quote == '`' {
        let end = body.find('`').ok_or_else(unended)?;
        return Ok((body.as_bytes()[..end].to_vec(), end + 2));
    }
    let mut bytes = Vec::new();
    let mut chars = body.char_indices();
    while let Some((offset, c)) = chars.next() {
        let span = Span {
            start: at + 1 + offset,
            end: at + 1 + offset + c.len_utf8(),
        };
        match c {
            _ if c == quote => return Ok((bytes, offset + 2)),
            '\n' => return Err(unended()),
            '\\' => escape(&mut chars, quote, &mut bytes, span)?,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(unended())
}

fn escape(
    chars: &mut std::str::CharIndices<'_>,
    quote: char,
    bytes: &mut Vec<u8>,
    span: Span,
) -> Outcome<()> {
    let bad = || {
        let kind = ErrorKind::Invalid("unknown escape sequence".into());
        Fault::new(kind, span)
    };
    let (_, c) = chars.next().ok_or_else(bad)?;
    let mut digits = |count: usize, radix: u32, first: u32| {
        let mut value = first;
        for _ in 0..count {
            let (_, digit) = chars.next()?;
            value = value * radix + digit.to_digit(radix)?;
        }
        Some(value)
    };
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        _ if c == quote => c as u8,
        'x' => digits(2, 16, 0).ok_or_else(bad)? as u8,
        '0'..='3' => digits(2, 8, c as u32 - '0' as u32).ok_or_else(bad)? as u8,
        'u' | 'U' => {
            let code = digits(if c == 'u' { 4 } else { 8 }, 16, 0);
            let c = code.and_then(char::from_u32).ok_or_else(bad)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        _ => return Err(bad()),
    };
    bytes.push(simple);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_descending_units() {
        assert_eq!(duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(duration_ms("1ms"), Some(1));
        assert_eq!(duration_ms("30m1h"), None);
        assert_eq!(duration_ms("1h1h"), None);
        assert_eq!(duration_ms(""), None);
    }

    #[test]
    fn escapes_become_bytes_and_must_be_utf8() {
        let (token, _) = lex(r#""\x41\101\u00e9\n\"""#).unwrap().remove(0);
        assert_eq!(token, Token::Text("AA\u{e9}\n\"".into()));
        let (token, _) = lex(r#""\xff""#).unwrap().remove(0);
        assert_eq!(token, Token::Bytes(r#""\xff""#.into()));
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_octal_or_durations() {
        for (text, wanted) in [
            ("0x1F", 31.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("2.", 2.0),
            ("1_000", 1000.0),
            ("017", 15.0),
            ("1h", 3600.0),
        ] {
            let Token::Number { value, is_duration } = lex(text).unwrap()[0].0 else {
                panic!("{text} is not a number")
            };
            assert_eq!((value, is_duration), (wanted, text == "1h"), "{text}");
        }
        assert!(lex("1__0").is_err() && lex("0b1").is_err());
    }
}
