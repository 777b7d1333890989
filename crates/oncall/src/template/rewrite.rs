//! A template's tree, in which fields are asked for by a function and everything that is printed passes one.
//!
//! Guarantees: the same text where the values are plain; a name after a dot may be a method, with arguments.

use gotmpl::parse::{
    ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr,
};

use super::Kind;

/// Asks a value for a field or a method.
pub(super) const FIELD: &str = "_field";
/// Prints as Go prints.
pub(super) const PRINT: &str = "_print";
/// The same, escaped for markup.
pub(super) const ESCAPE: &str = "_escape";
/// Functions whose text is markup already.
const SAFE: [&str; 2] = ["safeHtml", "safeUrl"];

pub(super) fn rewritten(list: &ListNode, kind: Kind) -> ListNode {
    ListNode {
        pos: list.pos,
        nodes: list.nodes.iter().map(|it| node(it, kind)).collect(),
    }
}

fn node(it: &Node, kind: Kind) -> Node {
    match it {
        Node::List(list) => Node::List(rewritten(list, kind)),
        Node::Action(action) => Node::Action(printed(action, kind)),
        Node::If(it) => Node::If(branch(it, kind)),
        Node::Range(it) => Node::Range(branch(it, kind)),
        Node::With(it) => Node::With(branch(it, kind)),
        Node::Template(it) => {
            let mut it = it.clone();
            it.pipe = it.pipe.as_ref().map(pipe);
            Node::Template(it)
        }
        Node::Define(it) => {
            let mut it = it.clone();
            it.body = rewritten(&it.body, kind);
            Node::Define(it)
        }
        Node::Text(_) | Node::Break(_) | Node::Continue(_) => it.clone(),
    }
}

fn branch(it: &BranchNode, kind: Kind) -> BranchNode {
    BranchNode {
        pos: it.pos,
        pipe: pipe(&it.pipe),
        body: rewritten(&it.body, kind),
        else_body: it.else_body.as_ref().map(|list| rewritten(list, kind)),
    }
}

/// What declares a variable prints nothing.
fn printed(action: &ActionNode, kind: Kind) -> ActionNode {
    let mut printed = ActionNode {
        pos: action.pos,
        pipe: pipe(&action.pipe),
    };
    if action.pipe.decl.is_empty() {
        let last = action.pipe.commands.last().and_then(|it| it.args.first());
        let is_safe =
            matches!(last, Some(Expr::Identifier(_, name)) if SAFE.contains(&name.as_str()));
        let how = if kind == Kind::Markup && !is_safe {
            ESCAPE
        } else {
            PRINT
        };
        printed.pipe.commands.push(CommandNode {
            pos: action.pos,
            args: vec![Expr::Identifier(action.pos, how.into())],
        });
    }
    printed
}

fn pipe(it: &PipeNode) -> PipeNode {
    let mut it = it.clone();
    for command in &mut it.commands {
        command.args = arguments(&command.args);
    }
    it
}

/// A field that comes first takes the arguments after it.
fn arguments(args: &[Expr]) -> Vec<Expr> {
    let mut rest = args.iter();
    let Some(first) = rest.next() else {
        return Vec::new();
    };
    let mut all = match chain(first) {
        Some((pos, base, names)) => asked(pos, base, &names),
        None => vec![expr(first)],
    };
    all.extend(rest.map(expr));
    all
}

/// Where an expression asks for fields: of what, and which.
fn chain(it: &Expr) -> Option<(Pos, Expr, Vec<SmolStr>)> {
    let (pos, base, names) = match it {
        Expr::Field(pos, names) => (*pos, Expr::Dot(*pos), names),
        Expr::Variable(pos, name, names) => {
            (*pos, Expr::Variable(*pos, name.clone(), Vec::new()), names)
        }
        Expr::Chain(pos, inner, names) => (*pos, expr(inner), names),
        Expr::Dot(_)
        | Expr::Identifier(..)
        | Expr::String(..)
        | Expr::Number(..)
        | Expr::Bool(..)
        | Expr::Nil(_)
        | Expr::Pipe(..) => return None,
    };
    (!names.is_empty()).then(|| (pos, base, names.clone()))
}

/// The call that asks for the last name, of calls that ask for those before it.
fn asked(pos: Pos, base: Expr, names: &[SmolStr]) -> Vec<Expr> {
    let mut call = vec![base];
    for name in names {
        let of = if call.len() == 1 {
            call.remove(0)
        } else {
            nested(pos, call)
        };
        call = vec![
            Expr::Identifier(pos, FIELD.into()),
            of,
            Expr::String(pos, name.as_str().into()),
        ];
    }
    call
}

fn nested(pos: Pos, args: Vec<Expr>) -> Expr {
    let commands = vec![CommandNode { pos, args }];
    Expr::Pipe(
        pos,
        PipeNode {
            pos,
            decl: Vec::new(),
            commands,
            is_assign: false,
        },
    )
}

fn expr(it: &Expr) -> Expr {
    if let Some((pos, base, names)) = chain(it) {
        return nested(pos, asked(pos, base, &names));
    }
    match it {
        Expr::Pipe(pos, inner) => Expr::Pipe(*pos, pipe(inner)),
        Expr::Dot(_)
        | Expr::Field(..)
        | Expr::Variable(..)
        | Expr::Chain(..)
        | Expr::Identifier(..)
        | Expr::String(..)
        | Expr::Number(..)
        | Expr::Bool(..)
        | Expr::Nil(_) => it.clone(),
    }
}
