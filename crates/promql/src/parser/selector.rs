//! Selectors and what may follow them: ranges, subqueries, `offset`, `@`.

use super::Parser;
use crate::ast::{
    At, Duration, Edges, Expr, ExprKind, MAX_DURATION_MS, Modifiers, Selector, ValueType,
};
use crate::error::{Fault, Outcome};
use crate::lexer::Token;
use crate::storage::METRIC_NAME;
use crate::{MatchOp, Matcher, Span};

impl Parser {
    pub(super) fn selector(&mut self, name: Option<String>) -> Outcome<Expr> {
        let start = self.span();
        let mut end = start;
        let mut matchers = Vec::new();
        let mut named = name.is_some();
        if let Some(name) = name {
            self.at += 1;
            matchers.push(matcher(METRIC_NAME, MatchOp::Equal, &name, start)?);
        }
        if self.eat_sign("{").is_some() {
            loop {
                if let Some(span) = self.eat_sign("}") {
                    end = span;
                    break;
                }
                self.condition(&mut matchers, &mut named)?;
                if self.eat_sign(",").is_none() && !self.is_sign("}") {
                    return self.expected("\",\" or \"}\"");
                }
            }
        }
        let span = start.to(end);
        if !self.any_selector && matchers.iter().all(|m| m.matches("")) {
            return Fault::invalid(
                span,
                "a selector needs a matcher that does not match the empty string",
            );
        }
        let selector = Selector {
            matchers,
            modifiers: Modifiers::default(),
            edges: Edges::Plain,
        };
        Self::node(ExprKind::Selector(selector), span)
    }

    /// One `label op "value"`, or a quoted metric name.
    fn condition(&mut self, matchers: &mut Vec<Matcher>, named: &mut bool) -> Outcome<()> {
        let span = self.span();
        let (label, quoted) = match self.peek() {
            Token::Word(label) if !label.contains(':') => (label.clone(), false),
            Token::Text(label) => (label.clone(), true),
            _ => return self.expected("a label name or \"}\""),
        };
        self.at += 1;
        let op = match self.peek() {
            Token::Sign("=") => MatchOp::Equal,
            Token::Sign("!=") => MatchOp::NotEqual,
            Token::Sign("=~") => MatchOp::Regex,
            Token::Sign("!~") => MatchOp::NotRegex,
            _ if quoted => {
                if *named {
                    return Fault::invalid(span, "the metric name is given twice");
                }
                *named = true;
                matchers.push(matcher(METRIC_NAME, MatchOp::Equal, &label, span)?);
                return Ok(());
            }
            _ => return self.expected("\"=\", \"!=\", \"=~\" or \"!~\""),
        };
        self.at += 1;
        let Token::Text(value) = self.peek().clone() else {
            return self.expected("a string");
        };
        let value_span = self.advance();
        if label.is_empty() {
            return Fault::invalid(span, "a label name cannot be empty");
        }
        if label == METRIC_NAME && *named {
            return Fault::invalid(span, "the metric name is given twice");
        }
        matchers.push(matcher(&label, op, &value, value_span)?);
        Ok(())
    }

    pub(super) fn postfix(&mut self, mut expr: Expr) -> Outcome<Expr> {
        let (mut has_offset, mut has_at) = (false, false);
        loop {
            if self.is_sign("[") {
                (has_offset, has_at) = (false, false);
                expr = self.brackets(expr)?;
            } else if self.is_sign("@") {
                let start = self.advance();
                let at = self.at_time()?;
                let span = start.to(self.previous());
                let modifiers = modifiers(&mut expr, start)?;
                if std::mem::replace(&mut has_at, true) || modifiers.at.is_some() {
                    return Fault::invalid(span, "@ is given twice");
                }
                modifiers.at = Some(at);
                expr.span = expr.span.to(span);
            } else {
                match self.keyword().as_deref() {
                    Some("offset") => {
                        let start = self.advance();
                        let offset = self.offset_duration()?;
                        let span = start.to(self.previous());
                        let modifiers = modifiers(&mut expr, start)?;
                        let given = modifiers.offset != Duration::default();
                        if std::mem::replace(&mut has_offset, true) || given {
                            return Fault::invalid(span, "offset is given twice");
                        }
                        modifiers.offset = offset;
                        expr.span = expr.span.to(span);
                    }
                    Some("anchored") => self.edges(&mut expr, Edges::Anchored)?,
                    Some("smoothed") => self.edges(&mut expr, Edges::Smoothed)?,
                    _ => return Ok(expr),
                }
            }
        }
    }

    fn edges(&mut self, expr: &mut Expr, edges: Edges) -> Outcome<()> {
        let span = self.advance();
        let (ExprKind::Selector(selector) | ExprKind::Range { selector, .. }) = &mut expr.kind
        else {
            return Fault::invalid(span, "anchored and smoothed need a selector before them");
        };
        if selector.edges != Edges::Plain {
            return Fault::invalid(span, "a selector is either anchored or smoothed, once");
        }
        selector.edges = edges;
        expr.span = expr.span.to(span);
        Ok(())
    }

    fn previous(&self) -> Span {
        self.tokens
            .get(self.at.wrapping_sub(1))
            .map_or(Span::default(), |(_, span)| *span)
    }

    /// `[range]` or `[range:step]`.
    fn brackets(&mut self, expr: Expr) -> Outcome<Expr> {
        let open = self.advance();
        let range = self.bracket_duration("the range")?;
        if self.eat_sign(":").is_some() {
            let step = if self.is_sign("]") {
                None
            } else {
                Some(self.bracket_duration("the step")?)
            };
            let close = self.want_sign("]")?;
            if expr.value_type() != ValueType::Vector {
                let found = expr.value_type().name();
                let message = format!("a subquery needs an instant vector, found a {found}");
                return Fault::invalid(expr.span, message);
            }
            let span = expr.span.to(close);
            let subquery = ExprKind::Subquery {
                expr: Box::new(expr),
                range,
                step,
                modifiers: Modifiers::default(),
            };
            return Self::node(subquery, span);
        }
        let close = self.want_sign("]")?;
        let span = expr.span.to(close);
        match expr.kind {
            ExprKind::Selector(selector)
                if selector.modifiers == Modifiers::default() && selector.edges == Edges::Plain =>
            {
                Self::node(ExprKind::Range { selector, range }, span)
            }
            ExprKind::Selector(_) => {
                Fault::invalid(open, "the range goes before all modifiers, not after")
            }
            _ => Fault::invalid(
                open,
                "a range needs a selector; for an expression write [range:step]",
            ),
        }
    }

    fn at_time(&mut self) -> Outcome<At> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.eat_keyword(word) {
                self.want_sign("(")?;
                self.want_sign(")")?;
                return Ok(at);
            }
        }
        Ok(At::Time(self.signed_ms()?))
    }

    /// The time after `@`.
    fn signed_ms(&mut self) -> Outcome<i64> {
        let start = self.span();
        let negative = self.eat_sign("-").is_some();
        if !negative {
            self.eat_sign("+");
        }
        let seconds = match self.peek() {
            Token::Number { value, .. } => *value,
            Token::Word(word) if matches!(word.to_ascii_lowercase().as_str(), "inf" | "nan") => {
                return Fault::invalid(self.span(), "the time after @ is out of range");
            }
            _ => return self.expected("a number of seconds, start() or end() after @"),
        };
        let span = start.to(self.advance());
        let ms = (seconds * 1000.0).round() * if negative { -1.0 } else { 1.0 };
        if ms.abs() < MAX_DURATION_MS {
            Ok(ms as i64)
        } else {
            Fault::invalid(span, "the time after @ is out of range")
        }
    }
}

fn matcher(label: &str, op: MatchOp, value: &str, span: Span) -> Outcome<Matcher> {
    Matcher::new(label, op, value)
        .or_else(|error| Fault::invalid(span, format!("regular expression of {label:?}: {error}")))
}

fn modifiers(expr: &mut Expr, at: Span) -> Outcome<&mut Modifiers> {
    match &mut expr.kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            Ok(&mut selector.modifiers)
        }
        ExprKind::Subquery { modifiers, .. } => Ok(modifiers),
        _ => Fault::invalid(at, "offset and @ need a selector or a subquery before them"),
    }
}
