//! `mainstay serve`: the server.

use crate::{args::Serve, config::Config, ending, platform, ports};

pub(crate) async fn serve(args: Serve) -> anyhow::Result<()> {
    super::log_to_stderr("info");
    let mut config = args
        .config
        .as_deref()
        .map(Config::read)
        .transpose()?
        .unwrap_or_default();
    let read = config.clone();
    if let Some(asked) = args.otlp_listen {
        config.server.otlp_listen = Some(asked.0);
    }
    let store = match &config.store.url {
        Some(url) => ports::open_postgres(url).await?,
        None => ports::open_data_dir(&args.data_dir).await?,
    };
    let listen = args.listen.unwrap_or(config.server.listen);
    let running =
        platform::start(store, &args.data_dir, listen, (config, (args.config, read))).await?;
    tracing::info!("listening on http://{}", running.address);
    running.until(ending::told(args.leash)).await
}
