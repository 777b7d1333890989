//! Tokens, made where the data is: whoever can read the data directory may make one.

use crate::{args::TokenCommand, output, ports};

/// Most tokens listed.
const LIST_MAX: usize = 1_000;

pub(crate) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create {
            name,
            scopes,
            data_dir,
        } => {
            let store = ports::open_data_dir(&data_dir).await?;
            let secret = store.create_token(&name, &scopes, ports::now()).await?;
            store.close().await;
            eprintln!("token `{name}`: keep it, it is not shown again");
            output::print(&secret)
        }
        TokenCommand::List { data_dir } => {
            let store = ports::open_data_dir(&data_dir).await?;
            let tokens = store.list_tokens(None, LIST_MAX).await?;
            store.close().await;
            let rows: Vec<Vec<String>> = tokens
                .iter()
                .map(|token| {
                    let made = output::time(&serde_json::json!(token.created_at.millis()));
                    vec![token.name.clone(), token.scopes.join(","), made]
                })
                .collect();
            output::table(&["NAME", "SCOPES", "CREATED"], &rows)
        }
        TokenCommand::Revoke { name, data_dir } => {
            let store = ports::open_data_dir(&data_dir).await?;
            let known = store.revoke_token(&name).await?;
            store.close().await;
            anyhow::ensure!(
                known,
                "there is no token `{name}`; `mainstay token list` shows all"
            );
            output::print(&format!("token {name} revoked"))
        }
    }
}
