//! Where monitoring touches the world: what scrapes, what writes, and what calls a value measured.

mod backend;
mod batch;
mod credentials;
mod discovery;
pub(crate) mod feed;
mod fetch;
mod intake;
mod known;
mod pools;
mod received;
mod remote;
mod ruler;
mod scrape;
mod signals;
mod target;
mod tls;
mod upkeep;
mod watch;
mod writer;

pub use backend::{Cluster, seconds};
pub use batch::{SampleLimits, SampleRules};
pub use credentials::{Credentials, CredentialsError, Held, Secret};
pub use discovery::{Discovery, ListServer};
pub use fetch::{Asking, Format};
pub use intake::Intake;
pub use known::Known;
pub use pools::Pools;
pub use received::{Received, Way};
pub use remote::{RemoteStartError, Remotes, Sending, Sources};
pub use ruler::{AlertSink, NamedFile, RuleCounts, Ruler, RulerConfig, Rules, Told};
pub use scrape::{ScrapeConfig, Scraper};
pub use target::{Target, TargetError};
pub use tls::{Tls, TlsError};
pub use upkeep::{Upkeep, UpkeepError, selected};
pub use watch::{Catalog, Declared, MonitorCounts, Monitors, Watch};
pub use writer::{NewSample, WriteError, Writer};
