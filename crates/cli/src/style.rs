//! Colour, and the width that text takes on a terminal.
//!
//! Guarantees: escapes are written only where standard output is a terminal and `NO_COLOR` is unset or
//! empty; text of others loses its control characters, so that nobody's reason for a change moves the
//! reader's cursor. Example: `Style::PLAIN.bad("fail")` is `fail`.

use std::io::IsTerminal as _;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Never colours.
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// As standard output wants it.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        Self {
            colour: !unwanted && steers_cursor(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// What went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What waits for somebody.
    pub(crate) fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What may be skipped in reading.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What is read first.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A state, an outcome or a verdict, by what it means.
    pub(crate) fn word(self, word: &str) -> String {
        match word {
            "done" | "pass" | "healthy" | "serving" | "ok" | "verified" => self.good(word),
            "rolled-back" | "rolling-back" | "aborted" | "fail" | "FAIL" | "error" | "lying"
            | "unhealthy" | "failed" | "dead" | "ejected" => self.bad(word),
            "paused"
            | "insufficient-evidence"
            | "no data"
            | "unknown"
            | "starting"
            | "draining" => self.warn(word),
            other => other.to_owned(),
        }
    }
}

/// Whether standard output is a terminal whose cursor can be moved.
pub(crate) fn steers_cursor() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// `text` without control characters.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// Characters that are seen: colour takes no room.
pub(crate) fn width(text: &str) -> usize {
    pieces(text).filter(|(_, seen)| *seen).count()
}

/// At most `width` seen characters; what is cut off is marked, and colour ends there.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if self::width(text) <= width {
        return text.to_owned();
    }
    let (mut short, mut room, mut coloured) = (String::new(), width.saturating_sub(1), false);
    for (character, seen) in pieces(text) {
        if seen && room == 0 {
            break;
        }
        room -= usize::from(seen);
        coloured |= !seen;
        short.push(character);
    }
    short.push('…');
    if coloured {
        short.push_str("\x1b[0m");
    }
    short
}

/// Each character, and whether it is seen.
fn pieces(text: &str) -> impl Iterator<Item = (char, bool)> + '_ {
    let mut escaped = false;
    text.chars().map(move |character| {
        let seen = !escaped && character != '\x1b';
        escaped = (escaped || character == '\x1b') && character != 'm';
        (character, seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURED: Style = Style { colour: true };

    #[test]
    fn colour_takes_no_room_and_is_closed_where_text_is_cut() {
        let text = format!("a {} b", COLOURED.bad("fail"));
        assert_eq!(width(&text), 8);
        assert_eq!(cut(&text, 8), text);
        assert_eq!(cut(&text, 5), "a \x1b[31mfa…\x1b[0m");
        assert_eq!(cut("plain text", 6), "plain…");
        assert_eq!(Style::PLAIN.bad("fail"), "fail");
    }

    #[test]
    fn a_reason_cannot_move_the_cursor() {
        assert_eq!(clean("fix\x1b[2J\nnow"), "fix [2J now");
    }
}
