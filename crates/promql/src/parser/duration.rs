//! Durations: `[5m]`, `offset -1h`, and expressions of them such as `[step() * 2 + 1m]`.

use super::{Parser, UNARY_BINDING};
use crate::Span;
use crate::ast::{Duration, DurationExpr, DurationKind, DurationOp, MAX_DEPTH, MAX_DURATION_MS};
use crate::error::{Fault, Outcome};
use crate::lexer::Token;

impl Parser {
    /// In brackets: a whole expression, greater than zero.
    pub(super) fn bracket_duration(&mut self, what: &str) -> Outcome<Duration> {
        let expr = self.duration_expr(0)?;
        let span = expr.span;
        match fixed(expr, span)? {
            Duration::Fixed(ms) if ms <= 0 => {
                Fault::invalid(span, format!("{what} must be greater than zero"))
            }
            duration => Ok(duration),
        }
    }

    /// After `offset`: one operand with its sign. An expression needs parentheses there.
    pub(super) fn offset_duration(&mut self) -> Outcome<Duration> {
        let expr = self.duration_operand(true)?;
        let span = expr.span;
        fixed(expr, span)
    }

    fn duration_expr(&mut self, min: u8) -> Outcome<DurationExpr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Self::too_deep(self.span());
        }
        let mut left = self.duration_operand(false)?;
        while let Some((op, binding)) = self.duration_operator()
            && binding > min
        {
            self.at += 1;
            // `^` is right-associative.
            let right_min = binding - u8::from(op == DurationOp::Power);
            let right = self.duration_expr(right_min)?;
            let span = left.span.to(right.span);
            left = duration_node(binary(op, left, right), span)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn duration_operator(&self) -> Option<(DurationOp, u8)> {
        let Token::Sign(sign) = self.peek() else {
            return None;
        };
        Some(match *sign {
            "+" => (DurationOp::Add, 4),
            "-" => (DurationOp::Subtract, 4),
            "*" => (DurationOp::Multiply, 5),
            "/" => (DurationOp::Divide, 5),
            "%" => (DurationOp::Modulo, 5),
            "^" => (DurationOp::Power, 6),
            _ => return None,
        })
    }

    /// `alone`: a sign binds to the operand only, because no operator can follow.
    fn duration_operand(&mut self, alone: bool) -> Outcome<DurationExpr> {
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            let start = self.advance();
            let inner = if alone {
                self.duration_primary()?
            } else {
                self.duration_expr(UNARY_BINDING)?
            };
            let span = start.to(inner.span);
            let kind = match inner.kind {
                DurationKind::Seconds { value, is_duration } => DurationKind::Seconds {
                    value: if negative { -value } else { value },
                    is_duration,
                },
                _ if negative => DurationKind::Negate(Box::new(inner)),
                _ => DurationKind::Plus(Box::new(inner)),
            };
            return duration_node(kind, span);
        }
        self.duration_primary()
    }

    fn duration_primary(&mut self) -> Outcome<DurationExpr> {
        match self.peek().clone() {
            Token::Number { value, is_duration } => {
                let span = self.advance();
                duration_node(DurationKind::Seconds { value, is_duration }, span)
            }
            Token::Sign("(") => {
                let start = self.advance();
                let inner = self.duration_expr(0)?;
                let end = self.want_sign(")")?;
                duration_node(DurationKind::Paren(Box::new(inner)), start.to(end))
            }
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "step" => self.duration_constant(DurationKind::Step),
                "range" => self.duration_constant(DurationKind::Range),
                "min_of" => self.duration_choice(DurationOp::MinOf),
                "max_of" => self.duration_choice(DurationOp::MaxOf),
                _ => self.expected("a duration or a number of seconds"),
            },
            _ => self.expected("a duration or a number of seconds"),
        }
    }

    fn duration_constant(&mut self, kind: DurationKind) -> Outcome<DurationExpr> {
        let start = self.advance();
        self.want_sign("(")?;
        let end = self.want_sign(")")?;
        duration_node(kind, start.to(end))
    }

    fn duration_choice(&mut self, op: DurationOp) -> Outcome<DurationExpr> {
        let start = self.advance();
        self.want_sign("(")?;
        let left = self.duration_expr(0)?;
        self.want_sign(",")?;
        let right = self.duration_expr(0)?;
        let end = self.want_sign(")")?;
        duration_node(binary(op, left, right), start.to(end))
    }
}

fn binary(op: DurationOp, left: DurationExpr, right: DurationExpr) -> DurationKind {
    DurationKind::Binary {
        op,
        left: Box::new(left),
        right: Box::new(right),
    }
}

fn duration_node(kind: DurationKind, span: Span) -> Outcome<DurationExpr> {
    let height = 1 + match &kind {
        DurationKind::Seconds { .. } | DurationKind::Step | DurationKind::Range => 0,
        DurationKind::Negate(inner) | DurationKind::Plus(inner) | DurationKind::Paren(inner) => {
            inner.height
        }
        DurationKind::Binary { left, right, .. } => left.height.max(right.height),
    };
    if height > MAX_DEPTH {
        return Parser::too_deep(span);
    }
    Ok(DurationExpr { kind, span, height })
}

/// A literal needs no evaluation.
fn fixed(expr: DurationExpr, span: Span) -> Outcome<Duration> {
    let DurationKind::Seconds { value, .. } = expr.kind else {
        return Ok(Duration::Computed(Box::new(expr)));
    };
    let ms = (value * 1_000.0).round();
    if ms.abs() < MAX_DURATION_MS {
        Ok(Duration::Fixed(ms as i64))
    } else {
        Fault::invalid(span, "the duration is out of range")
    }
}
