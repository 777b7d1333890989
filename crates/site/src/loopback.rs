//! Base URLs that stay on this machine.
//!
//! Guarantees: a parsed base is `http`, names a loopback address and a port, and has no path.
//! Never resolves a name: `localhost` means 127.0.0.1.
//! Example: `"http://127.0.0.1:7001".parse::<Base>()`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, ensure};
use http::Uri;

/// The address of a server on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base(SocketAddr);

impl Base {
    /// The full address of a path, which starts with a slash.
    pub(crate) fn join(self, path: &str) -> anyhow::Result<Uri> {
        Ok(format!("http://{}{path}", self.0).parse()?)
    }
}

impl FromStr for Base {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let uri: Uri = text
            .parse()
            .with_context(|| format!("{text:?} is not a URL"))?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "{text:?} is not an http URL"
        );
        ensure!(
            matches!(uri.path(), "" | "/") && uri.query().is_none(),
            "{text:?} has a path: give the base URL only"
        );
        let host = uri.host().unwrap_or_default();
        let address = if host == "localhost" {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            host.trim_matches(['[', ']'])
                .parse()
                .with_context(|| format!("{host:?} is not a loopback address"))?
        };
        ensure!(
            address.is_loopback(),
            "{address} is not a loopback address: the example site never calls another machine"
        );
        Ok(Self(SocketAddr::new(address, uri.port_u16().unwrap_or(80))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_bases_are_accepted() {
        for good in [
            "http://127.0.0.1:80",
            "http://localhost:9/",
            "http://[::1]:8",
        ] {
            assert!(good.parse::<Base>().is_ok(), "{good} was refused");
        }
        for bad in [
            "http://10.0.0.1:80",
            "http://example.com",
            "https://127.0.0.1:80",
            "http://127.0.0.1:80/x",
            "http://0.0.0.0:80",
            "127.0.0.1:80",
            "",
        ] {
            assert!(bad.parse::<Base>().is_err(), "{bad} was accepted");
        }
    }
}
