//! One file a family of commands.

mod actions;
mod agent;
pub(crate) mod alertmanager;
mod changes;
mod demo;
mod import;
mod incidents;
pub(crate) mod init;
mod instances;
mod ledger;
mod listing;
mod metrics;
mod monitors;
mod oncall;
mod promql;
mod query;
mod resources;
mod rollout;
mod router;
mod rules;
mod schedule;
mod serve;
mod token;
mod top;
pub(crate) mod up;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{
    args::{ChangeCommand, Cli, Command, ConfigCommand, TopCommand},
    client::Client,
    config::Config,
    output,
};

/// Reads the command line and runs it.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse_from(alertmanager::with_two_dashes(std::env::args_os()));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error)),
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(2)
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(serve) => Box::pin(serve::serve(serve)).await?,
        Command::Agent(args) => agent::run(&global, args).await?,
        Command::Alertmanager(args) => alertmanager::run(*args).await?,
        Command::Router(args) => router::run(&global, args).await?,
        Command::Demo(options) => return demo::demo(&global, &options).await,
        Command::Init(args) => init::init(&global, &args).await?,
        Command::Up(args) => up::up(args).await?,
        Command::Apply {
            files,
            reason,
            dry_run,
        } => resources::apply(&global, &files, reason, dry_run).await?,
        Command::Diff { files } => return resources::diff(&global, &files).await,
        Command::Get { what } => listing::get(&global, &what).await?,
        Command::Describe { what } => listing::describe(&global, &what).await?,
        Command::Delete { what, reason } => resources::delete(&global, &what, &reason).await?,
        Command::Explain { kind } => output::print(&serde_json::to_string_pretty(
            &mainstay_server::schema(kind),
        )?)?,
        Command::Status => actions::status(&global).await?,
        Command::Rollout(command) => return rollout::run(&global, command).await,
        Command::Restart(act) => return actions::act(&global, "restart", &act).await,
        Command::Drain(act) => return actions::act(&global, "drain", &act).await,
        Command::Kill(act) => return actions::act(&global, "kill", &act).await,
        Command::Shed(shed) => return actions::shed(&global, &shed).await,
        Command::LimitTest(test) => return actions::limit_test(&global, &test).await,
        Command::Query {
            expr,
            time,
            range,
            step,
            plan,
        } => {
            let question = query::Question {
                expr,
                time,
                range,
                step,
                plan,
            };
            query::query(&global, &question).await?;
        }
        Command::Metrics(command) => metrics::run(&global, command).await?,
        Command::Import(args) => import::run(&global, args).await?,
        Command::Alerts => rules::alerts(&global).await?,
        Command::Monitors { names } => return monitors::run(&global, &names).await,
        Command::Oncall(asked) => return oncall::run(&global, &asked).await,
        Command::Schedule(command) => return schedule::run(&global, command).await,
        Command::Rules(command) => return rules::run(&global, command).await,
        Command::Promql(command) => return promql::run(command),
        Command::Page(page) => incidents::page(&global, &page).await?,
        Command::Ack { incident } => incidents::ack(&global, &incident).await?,
        Command::Escalate(why) => incidents::with_reason(&global, "escalate", &why).await?,
        Command::Resolve(why) => incidents::with_reason(&global, "resolve", &why).await?,
        Command::Incident(command) => incidents::run(&global, command).await?,
        Command::Changes {
            kind,
            state,
            service,
            limit,
        } => {
            changes::list(
                &global,
                &changes::Filter {
                    kind,
                    state,
                    service,
                    limit,
                },
            )
            .await?;
        }
        Command::Change(ChangeCommand::Record {
            title,
            reason,
            services,
        }) => {
            changes::record(&Client::new(&global)?, title, reason, services).await?;
        }
        Command::Top(TopCommand::Series { by, limit }) => top::series(&global, by, limit).await?,
        Command::Why { change } => changes::why(&global, &change).await?,
        Command::Ledger(command) => return ledger::run(&global, command).await,
        Command::Token(command) => token::run(command).await?,
        Command::Config(ConfigCommand::Check { file }) => {
            let config = Config::read(&file)?;
            for how in &config.otherwise {
                output::print(&format!("{}: {how}", file.display()))?;
            }
            output::print(&format!("{}: ok", file.display()))?;
        }
        Command::Completion { shell } => {
            // Into memory first: a reader that goes away, as `head` does, must not end in a panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mainstay", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Diagnostics of a long-running command go to standard error; `level` unless `MAINSTAY_LOG` says otherwise. Where
/// nobody reads them any more they are lost, and the command goes on.
fn log_to_stderr(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{level},sqlx=warn")));
    // An error only means that a subscriber is installed already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // Otherwise it tells of a failed write on the same standard error, and panics.
        .log_internal_errors(false)
        .try_init();
}
