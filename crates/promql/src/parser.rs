//! Tokens into a tree: Pratt's method for operators, descent for the rest.
//!
//! Guarantees: a tree that comes out is well typed; recursion and tree height are at most
//! [`crate::ast::MAX_DEPTH`]; an error says where, what was expected and what was found.
//!
//! ```
//! use mainstay_promql::parse;
//! assert!(parse("sum by (job) (rate(errors_total[5m]))").is_ok());
//! let error = parse("rate(errors_total[5m]").unwrap_err();
//! assert_eq!(error.to_string(), "1:22: expected \",\" or \")\", found end of query");
//! ```

use crate::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, MAX_DEPTH, ValueType};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::functions;
use crate::lexer::{Token, lex};
use crate::{Error, Span};

mod check;
mod duration;
mod matching;
mod selector;

/// Longest query text; people's queries are under 10 KB.
pub const MAX_QUERY_BYTES: usize = 256 * 1024;

/// Binding of a sign before an operand: like `*`, so `-a^b` is `-(a^b)` and `-a*b` is `(-a)*b`.
const UNARY_BINDING: u8 = 5;

/// Words that cannot be a metric's name without braces.
const RESERVED: [&str; 6] = [
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "atan2",
];

/// What a parser accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParserOptions {
    /// Functions and aggregations that Prometheus has behind a switch, because they may still change.
    pub experimental_functions: bool,
}

impl Default for ParserOptions {
    fn default() -> Self {
        Self {
            experimental_functions: true,
        }
    }
}

/// Parses and type-checks a query.
pub fn parse(text: &str) -> Result<Expr, Error> {
    parse_with(text, ParserOptions::default())
}

/// Like [`parse`], with less or more of the language.
pub fn parse_with(text: &str, options: ParserOptions) -> Result<Expr, Error> {
    parse_inner(text, options, false).map_err(|fault| fault.placed(text))
}

/// Parses the name and labels of one series, which may be all empty.
pub(crate) fn parse_series(text: &str) -> Result<Expr, Error> {
    parse_inner(text, ParserOptions::default(), true).map_err(|fault| fault.placed(text))
}

fn parse_inner(text: &str, options: ParserOptions, any_selector: bool) -> Outcome<Expr> {
    if text.len() > MAX_QUERY_BYTES {
        let kind = ErrorKind::Limit {
            what: "bytes of the query",
            value: text.len() as u64,
            limit: MAX_QUERY_BYTES as u64,
        };
        return Err(Fault::new(kind, Span::default()));
    }
    let mut parser = Parser {
        tokens: lex(text)?,
        at: 0,
        depth: 0,
        options,
        any_selector,
    };
    let expr = parser.expr(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => parser.expected("an operator or the end of the query"),
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    options: ParserOptions,
    /// A selector may match everything here.
    any_selector: bool,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(t, _)| t)
    }

    fn peek_second(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |(t, _)| t)
    }

    fn span(&self) -> Span {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(Span::default(), |(_, span)| *span)
    }

    fn advance(&mut self) -> Span {
        let span = self.span();
        self.at += 1;
        span
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    fn eat_sign(&mut self, sign: &str) -> Option<Span> {
        self.is_sign(sign).then(|| self.advance())
    }

    fn want_sign(&mut self, sign: &str) -> Outcome<Span> {
        match self.eat_sign(sign) {
            Some(span) => Ok(span),
            None => self.expected(&format!("{sign:?}")),
        }
    }

    /// The current word in lower case, for keywords.
    fn keyword(&self) -> Option<String> {
        match self.peek() {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.keyword().is_some_and(|k| k == keyword);
        if found {
            self.at += 1;
        }
        found
    }

    fn expected<T>(&self, expected: &str) -> Outcome<T> {
        let kind = ErrorKind::Syntax {
            expected: expected.into(),
            found: self.peek().describe(),
        };
        Err(Fault::new(kind, self.span()))
    }

    fn too_deep<T>(span: Span) -> Outcome<T> {
        let kind = ErrorKind::Limit {
            what: "nesting depth",
            value: MAX_DEPTH as u64 + 1,
            limit: MAX_DEPTH as u64,
        };
        Err(Fault::new(kind, span))
    }

    fn node(kind: ExprKind, span: Span) -> Outcome<Expr> {
        let mut expr = Expr {
            kind,
            span,
            height: 1,
        };
        expr.height += expr.children().iter().map(|c| c.height).max().unwrap_or(0);
        if expr.height > MAX_DEPTH {
            return Self::too_deep(span);
        }
        Ok(expr)
    }

    /// An expression whose operators all bind tighter than `min`.
    fn expr(&mut self, min: u8) -> Outcome<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Self::too_deep(self.span());
        }
        let mut left = self.operand()?;
        while let Some((op, binding)) = self.operator()
            && binding > min
        {
            let op_span = self.advance();
            let (return_bool, matching) = self.matching()?;
            // `^` is right-associative: its right side may hold another `^`.
            let right_min = if op == BinaryOp::Power {
                binding - 1
            } else {
                binding
            };
            let right = self.expr(right_min)?;
            let span = left.span.to(right.span);
            let binary = Binary {
                op,
                left,
                right,
                return_bool,
                matching,
            };
            check::binary(&binary, op_span)?;
            left = Self::node(ExprKind::Binary(Box::new(binary)), span)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&self) -> Option<(BinaryOp, u8)> {
        match self.peek() {
            Token::Sign(sign) => BinaryOp::from_text(sign),
            Token::Word(word) => BinaryOp::from_text(&word.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn operand(&mut self) -> Outcome<Expr> {
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            let sign = self.advance();
            let inner = self.expr(UNARY_BINDING)?;
            check::numeric(&inner, "a sign")?;
            let span = sign.to(inner.span);
            let kind = match inner.kind {
                ExprKind::Number { value, is_duration } => ExprKind::Number {
                    value: if negative { -value } else { value },
                    is_duration,
                },
                _ if negative => ExprKind::Negate(Box::new(inner)),
                _ => ExprKind::Plus(Box::new(inner)),
            };
            return Self::node(kind, span);
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn primary(&mut self) -> Outcome<Expr> {
        match self.peek().clone() {
            Token::Number { value, is_duration } => {
                let span = self.advance();
                Self::node(ExprKind::Number { value, is_duration }, span)
            }
            Token::Text(text) => {
                let span = self.advance();
                Self::node(ExprKind::String(text), span)
            }
            Token::Sign("(") => {
                let start = self.advance();
                let inner = self.expr(0)?;
                let end = self.want_sign(")")?;
                Self::node(ExprKind::Paren(Box::new(inner)), start.to(end))
            }
            Token::Bytes(_) => Fault::invalid(self.span(), "a string has to be valid UTF-8"),
            Token::Sign("{") => self.selector(None),
            Token::Word(word) => self.word(&word),
            _ => self.expected("an expression"),
        }
    }

    fn word(&mut self, word: &str) -> Outcome<Expr> {
        let lower = word.to_ascii_lowercase();
        if lower == "inf" || lower == "nan" {
            let span = self.advance();
            let number = ExprKind::Number {
                value: if lower == "inf" {
                    f64::INFINITY
                } else {
                    f64::NAN
                },
                is_duration: false,
            };
            return Self::node(number, span);
        }
        let call = matches!(self.peek_second(), Token::Sign("("));
        let grouped = matches!(self.peek_second(), Token::Word(w)
            if w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"));
        if (call || grouped)
            && let Some(op) = AggregateOp::from_word(word)
        {
            self.check_experimental(op.is_experimental(), word)?;
            return self.aggregate(op);
        }
        if call {
            return self.call(word);
        }
        if RESERVED.contains(&lower.as_str()) {
            return self.expected("an expression");
        }
        self.selector(Some(word.to_owned()))
    }

    fn check_experimental(&self, is_experimental: bool, word: &str) -> Outcome<()> {
        if is_experimental && !self.options.experimental_functions {
            let what = format!("{word:?}, because experimental functions are switched off");
            return Fault::unsupported(self.span(), what);
        }
        Ok(())
    }

    fn aggregate(&mut self, op: AggregateOp) -> Outcome<Expr> {
        let start = self.advance();
        let mut grouping = self.grouping()?;
        if op == AggregateOp::CountValues
            && let Token::Bytes(written) = self.peek_second()
        {
            let message = format!("invalid label name {written}");
            return Fault::invalid(self.span(), message);
        }
        let (mut args, mut end) = self.args(false)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            end = self.tokens.get(self.at - 1).map_or(end, |(_, span)| *span);
        }
        let span = start.to(end);
        let wanted = if op.has_param() { 2 } else { 1 };
        if args.len() != wanted {
            let message = format!("expected {wanted} argument(s), found {}", args.len());
            return Fault::invalid(span, message);
        }
        let param = op.has_param().then(|| args.remove(0));
        let expr = args.remove(0);
        if let Some(param) = &param {
            let wanted = match op {
                AggregateOp::CountValues => ValueType::String,
                _ => ValueType::Scalar,
            };
            check::has_type(param, wanted, "the aggregation's argument")?;
        }
        check::has_type(&expr, ValueType::Vector, "an aggregation")?;
        let grouped = grouping.is_some();
        let (without, labels) = grouping.unwrap_or_default();
        let aggregate = Aggregate {
            op,
            expr,
            param,
            grouped,
            without,
            labels,
        };
        Self::node(ExprKind::Aggregate(Box::new(aggregate)), span)
    }

    fn grouping(&mut self) -> Outcome<Option<(bool, Vec<String>)>> {
        let without = self.eat_keyword("without");
        if without || self.eat_keyword("by") {
            return Ok(Some((without, self.label_list()?)));
        }
        Ok(None)
    }

    /// `labels_after`: arguments after the first may be selectors that match everything.
    fn args(&mut self, labels_after: bool) -> Outcome<(Vec<Expr>, Span)> {
        self.want_sign("(")?;
        let mut args = Vec::new();
        if let Some(end) = self.eat_sign(")") {
            return Ok((args, end));
        }
        loop {
            let outer = std::mem::replace(&mut self.any_selector, labels_after && !args.is_empty());
            args.push(self.expr(0)?);
            self.any_selector = outer;
            if let Some(end) = self.eat_sign(")") {
                return Ok((args, end));
            }
            if self.eat_sign(",").is_none() {
                return self.expected("\",\" or \")\"");
            }
        }
    }

    fn call(&mut self, word: &str) -> Outcome<Expr> {
        let Some(function) = functions::find(word) else {
            return Fault::invalid(self.span(), format!("unknown function {word:?}"));
        };
        self.check_experimental(function.is_experimental(), word)?;
        let start = self.advance();
        let selects_labels = function.name == "info";
        let (args, end) = self.args(selects_labels)?;
        let span = start.to(end);
        check::call(function, &args, span)?;
        if let Some(selector) = args.get(1).filter(|_| selects_labels) {
            check::label_selector(selector)?;
        }
        Self::node(ExprKind::Call { function, args }, span)
    }
}

#[cfg(test)]
mod tests;
