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

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, Group, MAX_DEPTH, Matching, ValueType,
};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::functions;
use crate::lexer::{Token, lex};
use crate::{Error, Span};

mod check;
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

/// Parses and type-checks a query.
pub fn parse(text: &str) -> Result<Expr, Error> {
    parse_inner(text).map_err(|fault| fault.placed(text))
}

fn parse_inner(text: &str) -> Outcome<Expr> {
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
        let height = 1 + match &kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range { .. } => 0,
            ExprKind::Paren(e) | ExprKind::Negate(e) | ExprKind::Subquery { expr: e, .. } => {
                e.height
            }
            ExprKind::Binary(b) => b.left.height.max(b.right.height),
            ExprKind::Aggregate(a) => a.expr.height.max(a.param.as_ref().map_or(0, |p| p.height)),
            ExprKind::Call { args, .. } => args.iter().map(|a| a.height).max().unwrap_or(0),
        };
        if height > MAX_DEPTH {
            return Self::too_deep(span);
        }
        Ok(Expr { kind, span, height })
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
        if self.is_sign("</") || self.is_sign(">/") {
            return Fault::unsupported(self.span(), "operators that trim histograms");
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

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right` after an operator.
    fn matching(&mut self) -> Outcome<(bool, Matching)> {
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
        let fills = |k: &String| matches!(k.as_str(), "fill" | "fill_left" | "fill_right");
        if self.keyword().as_ref().is_some_and(fills)
            && matches!(self.peek_second(), Token::Sign("("))
        {
            return Fault::unsupported(self.span(), "fill modifiers");
        }
        Ok((return_bool, matching))
    }

    fn label_list(&mut self) -> Outcome<Vec<String>> {
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

    fn operand(&mut self) -> Outcome<Expr> {
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            let sign = self.advance();
            let inner = self.expr(UNARY_BINDING)?;
            check::numeric(&inner, "a sign")?;
            let span = sign.to(inner.span);
            return match inner.kind {
                ExprKind::Number(n) if negative => Self::node(ExprKind::Number(-n), span),
                _ if negative => Self::node(ExprKind::Negate(Box::new(inner)), span),
                kind => Ok(Expr {
                    kind,
                    span,
                    ..inner
                }),
            };
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn primary(&mut self) -> Outcome<Expr> {
        match self.peek().clone() {
            Token::Number(number) => {
                let span = self.advance();
                Self::node(ExprKind::Number(number), span)
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
            Token::Sign("{") => self.selector(None),
            Token::Word(word) => self.word(&word),
            _ => self.expected("an expression"),
        }
    }

    fn word(&mut self, word: &str) -> Outcome<Expr> {
        let lower = word.to_ascii_lowercase();
        if lower == "inf" || lower == "nan" {
            let span = self.advance();
            let number = if lower == "inf" {
                f64::INFINITY
            } else {
                f64::NAN
            };
            return Self::node(ExprKind::Number(number), span);
        }
        let call = matches!(self.peek_second(), Token::Sign("("));
        let grouped = matches!(self.peek_second(), Token::Word(w)
            if w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"));
        if call || grouped {
            if let Some(op) = AggregateOp::from_word(word) {
                return self.aggregate(op);
            }
            if matches!(lower.as_str(), "limitk" | "limit_ratio") {
                return Fault::unsupported(self.span(), format!("the aggregation {lower}"));
            }
        }
        if call {
            return self.call(word);
        }
        if RESERVED.contains(&lower.as_str()) {
            return self.expected("an expression");
        }
        self.selector(Some(word.to_owned()))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Outcome<Expr> {
        let start = self.advance();
        let mut grouping = self.grouping()?;
        let (mut args, mut end) = self.args()?;
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
        let (without, labels) = grouping.unwrap_or_default();
        let aggregate = Aggregate {
            op,
            expr,
            param,
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

    fn args(&mut self) -> Outcome<(Vec<Expr>, Span)> {
        self.want_sign("(")?;
        let mut args = Vec::new();
        if let Some(end) = self.eat_sign(")") {
            return Ok((args, end));
        }
        loop {
            args.push(self.expr(0)?);
            if let Some(end) = self.eat_sign(")") {
                return Ok((args, end));
            }
            if self.eat_sign(",").is_none() {
                return self.expected("\",\" or \")\"");
            }
        }
    }

    fn call(&mut self, word: &str) -> Outcome<Expr> {
        let start = self.advance();
        let Some(function) = functions::find(word) else {
            if functions::is_known_elsewhere(word) {
                return Fault::unsupported(start, format!("the function {word}"));
            }
            return Fault::invalid(start, format!("unknown function {word:?}"));
        };
        let (args, end) = self.args()?;
        let span = start.to(end);
        check::call(function, &args, span)?;
        Self::node(ExprKind::Call { function, args }, span)
    }
}

#[cfg(test)]
mod tests;
