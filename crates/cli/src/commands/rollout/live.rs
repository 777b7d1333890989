//! Where watching is shown: a block that is redrawn, or a line for each transition.
//!
//! Guarantees: the cursor is moved only on a terminal; where JSON is wanted standard output is left to
//! it and lines go to standard error. Never writes a line wider than the terminal, whose wrapping would
//! make the next redraw miscount.

use std::io::Write as _;

use anyhow::Context as _;
use mainstay_core::Time;

use super::{
    progress::{self, Rollout},
    seen::Seen,
    watch::stands_still,
};
use crate::{
    args::Format,
    output,
    style::{self, Style},
};

/// Columns of a line where nobody says how wide the terminal is.
const WIDTH: usize = 100;

enum Shown {
    /// A block of so many lines, drawn over each time.
    Block(usize),
    /// Lines on standard output.
    Lines(Seen),
    /// Lines on standard error.
    Aside(Seen),
}

/// See the module.
pub(super) struct Screen {
    shown: Shown,
    away_since: Option<Time>,
}

impl Screen {
    pub(super) fn new(format: Format) -> Self {
        let shown = match format {
            Format::Table if style::steers_cursor() => Shown::Block(0),
            Format::Table => Shown::Lines(Seen::default()),
            Format::Json | Format::Yaml => Shown::Aside(Seen::default()),
        };
        Self {
            shown,
            away_since: None,
        }
    }

    /// The server answered.
    pub(super) fn show(&mut self, rollout: &Rollout, now: Time) -> anyhow::Result<()> {
        if let Some(since) = self.away_since.take() {
            self.say(&format!(
                "{}  server is back after {}",
                output::to_second(now),
                output::short(now.since(since))
            ))?;
        }
        match &mut self.shown {
            Shown::Block(_) => self.draw(rollout, now, None),
            Shown::Lines(seen) => {
                let lines = seen.lines(rollout, now);
                lines.iter().try_for_each(|line| output::print(line))
            }
            Shown::Aside(seen) => {
                for line in seen.lines(rollout, now) {
                    eprintln!("{line}");
                }
                Ok(())
            }
        }
    }

    /// The server did not answer; `last` is what it said before.
    pub(super) fn away(&mut self, last: &Rollout, now: Time) -> anyhow::Result<()> {
        let since = *self.away_since.get_or_insert(now);
        let note = format!(
            "server away since {}; what is below is what it said last, and this waits for it",
            output::to_second(since)
        );
        if let Shown::Block(_) = self.shown {
            return self.draw(last, now, Some(&note));
        }
        if since == now {
            let since = output::to_second(since);
            self.say(&format!(
                "{since}  server away since {since}; waiting for it"
            ))?;
        }
        Ok(())
    }

    /// One line beside the transitions; a block shows the same by itself.
    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        match self.shown {
            Shown::Block(_) => Ok(()),
            Shown::Lines(_) => output::print(line),
            Shown::Aside(_) => {
                eprintln!("{line}");
                Ok(())
            }
        }
    }

    fn draw(&mut self, rollout: &Rollout, now: Time, note: Option<&str>) -> anyhow::Result<()> {
        let Shown::Block(drawn) = &mut self.shown else {
            return Ok(());
        };
        let size = terminal_size::terminal_size();
        let (width, height) = match size {
            // Nothing is drawn over the last block: it may be as wide and as high as it needs.
            _ if stands_still(rollout.state) => (usize::MAX, usize::MAX),
            Some((width, height)) => (usize::from(width.0), usize::from(height.0)),
            None => (WIDTH, usize::MAX),
        };
        let style = Style::of_stdout();
        let mut lines: Vec<String> = note
            .map(|note| style::cut(&style.warn(note), width))
            .into_iter()
            .collect();
        lines.extend(progress::block(rollout, now, style, width));
        // The cursor cannot go above the first row of the terminal.
        lines.truncate(height.saturating_sub(1).max(1));
        let text = frame(*drawn, &lines);
        *drawn = lines.len();
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write to standard output")
    }
}

/// What replaces `drawn` lines above the cursor by `lines`.
fn frame(drawn: usize, lines: &[String]) -> String {
    let mut text = match drawn {
        0 => String::new(),
        drawn => format!("\x1b[{drawn}A\r\x1b[J"),
    };
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redraw_goes_back_over_exactly_what_was_drawn() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(frame(0, &lines), "a\nb\n");
        assert_eq!(frame(2, &lines[..1]), "\x1b[2A\r\x1b[Ja\n");
    }
}
