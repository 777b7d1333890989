use clap::{CommandFactory as _, Parser as _};

use super::*;

/// Words of a shell line whose only quotes are single ones; what follows ` # ` is a comment.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" # ").next().unwrap();
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(n, part)| {
            if n % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    help.unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("  mainstay "))
        .map(str::to_owned)
        .collect()
}

fn check(command: &clap::Command, path: &str) {
    let found = examples(command);
    assert!(!found.is_empty(), "`{path}` teaches nothing");
    for example in found {
        let line = [vec!["mainstay".to_owned()], words(&example)].concat();
        match Cli::try_parse_from(&line) {
            Ok(_) => {}
            Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {}
            Err(error) => panic!("`{path}` teaches `{example}`: {error}"),
        }
    }
    for inner in command.get_subcommands() {
        if inner.get_name() != "help" {
            check(inner, &format!("{path} {}", inner.get_name()));
        }
    }
}

#[test]
fn every_command_teaches_by_examples_that_it_would_take() {
    check(&Cli::command(), "mainstay");
}

fn refused(line: &str) -> String {
    let line = [vec!["mainstay".to_owned()], words(line)].concat();
    Cli::try_parse_from(line).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_meant_is_refused_before_it_is_sent() {
    assert!(refused("shed feed 120%").contains("from 0 to 100"));
    assert!(refused("rollout start feed v2 --batch half").contains("from 0 to 100"));
    assert!(refused("rollout start feed v2 --emergency security").contains("--reason"));
    assert!(refused("restart feed --stated-demand 400 --reason r").contains("--emergency"));
    let stated = "drain feed --emergency blind --reason r --stated-capacity";
    assert!(refused(&format!("{stated} inf")).contains("a number from 0 on"));
    assert!(refused("rollout start feed v2 --dry-run --watch").contains("cannot be used with"));
    assert!(refused("get pods").contains("instances and rollouts"));
    assert!(refused("query up --step 15s").contains("--range"));
}
