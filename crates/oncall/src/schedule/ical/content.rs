//! Content lines: `NAME;PARAM=VALUE:VALUE`, folded.

use super::IcalError;

/// Largest calendar that is read, in bytes.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// Longest content line, unfolded.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// One property, and the line of the file that it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) line: usize,
    /// In capitals.
    pub(super) name: String,
    params: Vec<(String, String)>,
    pub(super) value: String,
}

impl Content {
    /// A parameter, by its name in capitals.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value as a text: what was escaped is not.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.value.len());
        let mut rest = self.value.chars();
        while let Some(next) = rest.next() {
            match next {
                '\\' => match rest.next() {
                    Some('n' | 'N') => text.push('\n'),
                    Some(other) => text.push(other),
                    None => {}
                },
                other => text.push(other),
            }
        }
        text
    }

    pub(super) fn wrong(&self, what: impl Into<String>, remedy: &'static str) -> IcalError {
        IcalError::new(self.line, what, remedy)
    }
}

/// The properties of a text, in order.
pub(super) fn lines(text: &str) -> Result<Vec<Content>, IcalError> {
    if text.len() > BYTES_MAX {
        let what = format!("it has {} bytes; at most {BYTES_MAX} are read", text.len());
        return Err(IcalError::new(1, what, "divide it, or leave the past out"));
    }
    let mut unfolded: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix([' ', '\t']), unfolded.last_mut()) {
            (Some(more), Some((first, begun))) => {
                begun.push_str(more);
                if begun.len() > LINE_BYTES_MAX {
                    let what = format!("it goes on for more than {LINE_BYTES_MAX} bytes");
                    return Err(IcalError::new(*first, what, "shorten it"));
                }
            }
            (Some(_), None) => {
                let what = "it goes on a line that was not begun";
                return Err(IcalError::new(at + 1, what, "begin with BEGIN:VCALENDAR"));
            }
            (None, _) if line.trim().is_empty() => {}
            (None, _) => unfolded.push((at + 1, line.to_owned())),
        }
    }
    unfolded
        .into_iter()
        .map(|(line, text)| content(line, &text))
        .collect()
}

fn content(line: usize, text: &str) -> Result<Content, IcalError> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        let what = format!("`{shown}` is no property");
        IcalError::new(line, what, "write NAME:VALUE, as RFC 5545 says")
    };
    let (head, value) = split_unquoted(text, ':').ok_or_else(wrong)?;
    let mut parts = Vec::new();
    let mut rest = head;
    while let Some((part, more)) = split_unquoted(rest, ';') {
        parts.push(part);
        rest = more;
    }
    parts.push(rest);
    let mut parts = parts.into_iter();
    let name = parts
        .next()
        .unwrap_or_default()
        .trim_start_matches('\u{feff}');
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'-');
    if !is_name {
        return Err(wrong());
    }
    let params = parts.map(|part| {
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let value = value.trim_matches('"').to_owned();
        Ok((name.to_ascii_uppercase(), value))
    });
    Ok(Content {
        line,
        name: name.to_ascii_uppercase(),
        params: params.collect::<Result<_, _>>()?,
        value: value.to_owned(),
    })
}

/// Both sides of the first `mark` that is not within quotes.
fn split_unquoted(text: &str, mark: char) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let place = text.char_indices().find(|(_, it)| {
        is_quoted ^= *it == '"';
        *it == mark && !is_quoted
    });
    let (place, _) = place?;
    let (before, after) = text.split_at(place);
    Some((before, after.get(mark.len_utf8()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_line_is_one_and_keeps_the_line_it_begins_on() {
        let text = "BEGIN:VEVENT\r\nSUMMARY;X=\"a:b;c\":on\r\n  call\\, now\r\n\r\nEND:VEVENT\r\n";
        let all = lines(text).unwrap();
        assert_eq!((all[1].line, all[1].name.as_str()), (2, "SUMMARY"));
        assert_eq!(all[1].text(), "on call, now");
        assert_eq!(all[1].param("X"), Some("a:b;c"));
        assert_eq!(all[2].line, 5);
    }

    #[test]
    fn what_is_no_property_is_refused_with_its_line() {
        for (text, line) in [
            ("BEGIN:A\nnothing\n", 2),
            (" x\n", 1),
            ("A;B:C\n", 1),
            (":x\n", 1),
        ] {
            assert_eq!(lines(text).unwrap_err().line, line, "{text}");
        }
        let long = format!("A:x\n{}", " yyyyyyyyyyyyyyyy\n".repeat(2_000));
        assert_eq!(lines(&long).unwrap_err().line, 1);
    }
}
