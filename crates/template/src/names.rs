//! What a template names, found without filling it in: functions and variables.

use std::collections::BTreeSet;

use gotmpl::{
    TemplateError,
    parse::{Expr, ListNode, Node, Parser, PipeNode, SmolStr},
};

/// Those of the language itself.
const BUILT_IN: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

#[derive(Default)]
struct Names {
    functions: BTreeSet<SmolStr>,
    variables: BTreeSet<SmolStr>,
    declared: BTreeSet<SmolStr>,
}

/// The first name that `source` uses and that nobody gave: no built-in function and none that is `known`, or a
/// variable that is declared nowhere.
pub fn unknown(
    source: &str,
    known: impl Fn(&str) -> bool,
) -> Result<Option<SmolStr>, TemplateError> {
    let (main, defined) = Parser::new(source, "{{", "}}")?.parse()?;
    let mut names = Names::default();
    for list in [&main].into_iter().chain(defined.iter().map(|it| &it.body)) {
        names.list(list);
    }
    let is_unknown = |name: &&SmolStr| !BUILT_IN.contains(&name.as_str()) && !known(name);
    // `$` alone is what the template was given.
    let is_undeclared = |name: &&SmolStr| name.as_str() != "$" && !names.declared.contains(*name);
    let mut functions = names.functions.iter().filter(is_unknown);
    let mut variables = names.variables.iter().filter(is_undeclared);
    Ok(functions.next().or_else(|| variables.next()).cloned())
}

impl Names {
    fn list(&mut self, list: &ListNode) {
        for node in &list.nodes {
            match node {
                Node::List(list) => self.list(list),
                Node::Action(action) => self.pipe(&action.pipe),
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    self.pipe(&branch.pipe);
                    self.list(&branch.body);
                    branch.else_body.iter().for_each(|it| self.list(it));
                }
                Node::Template(template) => template.pipe.iter().for_each(|it| self.pipe(it)),
                Node::Define(define) => self.list(&define.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    fn pipe(&mut self, pipe: &PipeNode) {
        self.declared.extend(pipe.decl.iter().cloned());
        for arg in pipe.commands.iter().flat_map(|command| &command.args) {
            self.expr(arg);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Identifier(_, name) => {
                self.functions.insert(name.clone());
            }
            Expr::Variable(_, name, _) => {
                self.variables.insert(name.clone());
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            Expr::Dot(_)
            | Expr::Field(..)
            | Expr::String(..)
            | Expr::Number(..)
            | Expr::Bool(..)
            | Expr::Nil(_) => {}
        }
    }
}
