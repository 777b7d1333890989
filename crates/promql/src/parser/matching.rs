//! What may stand between an operator and its right operand: `bool`, `on`, `group_left`, `fill` and their kin.

use super::Parser;
use crate::ast::{Group, Matching};
use crate::error::{Fault, Outcome};
use crate::lexer::Token;

impl Parser {
    /// Whether `bool` was written, and how series find each other.
    pub(super) fn matching(&mut self) -> Outcome<(bool, Matching)> {
        let return_bool = self.eat_keyword("bool");
        let mut matching = Matching::default();
        let on = self.eat_keyword("on");
        if on || self.eat_keyword("ignoring") {
            matching.explicit = true;
            matching.on = on;
            matching.labels = self.label_list()?;
        }
        let left = self.eat_keyword("group_left");
        if left || self.eat_keyword("group_right") {
            if !matching.explicit {
                return self.expected("\"on\" or \"ignoring\" before the grouping");
            }
            matching.group = if left { Group::Left } else { Group::Right };
            if self.is_sign("(") {
                matching.include = self.label_list()?;
            }
        }
        while let Some(word) = self.fill_keyword() {
            let span = self.advance();
            let value = self.fill_value()?;
            let (left, right) = (word != "fill_right", word != "fill_left");
            if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
                return Fault::invalid(span, "a side is filled twice");
            }
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        Ok((return_bool, matching))
    }

    /// The words are names of metrics too, where no parenthesis follows.
    fn fill_keyword(&self) -> Option<String> {
        let opens = matches!(self.peek_second(), Token::Sign("("));
        let is_fill = |k: &String| matches!(k.as_str(), "fill" | "fill_left" | "fill_right");
        self.keyword().filter(|k| opens && is_fill(k))
    }

    fn fill_value(&mut self) -> Outcome<f64> {
        self.want_sign("(")?;
        let negative = self.eat_sign("-").is_some();
        if !negative {
            self.eat_sign("+");
        }
        let value = match self.peek() {
            Token::Number { value, .. } => *value,
            Token::Word(word) if word.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Word(word) if word.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return self.expected("a number to fill with"),
        };
        self.at += 1;
        self.want_sign(")")?;
        Ok(if negative { -value } else { value })
    }

    pub(super) fn label_list(&mut self) -> Outcome<Vec<String>> {
        self.want_sign("(")?;
        let mut labels = Vec::new();
        while self.eat_sign(")").is_none() {
            match self.peek() {
                Token::Word(label) if !label.contains(':') => labels.push(label.clone()),
                Token::Text(label) if !label.is_empty() => labels.push(label.clone()),
                _ => return self.expected("a label name or \")\""),
            }
            self.at += 1;
            if self.eat_sign(",").is_none() && !self.is_sign(")") {
                return self.expected("\",\" or \")\"");
            }
        }
        Ok(labels)
    }
}
