//! Connections to the Hub, through the proxies that are set, with the certificates that are
//! trusted.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::environment::{BadSetting, Certificates, Proxies};
use crate::weights::error::CheckpointError;

/// One HTTP agent for each route that a request may take.
pub(super) struct Network {
    proxies: Proxies,
    direct: Agent,
    /// An agent for each proxy.
    proxied: Vec<(Proxy, Agent)>,
}

impl Network {
    /// Builds the agents. Errors: a named certificate cannot be read.
    pub(super) fn new(proxies: &Proxies, certificates: &Certificates) -> Result<Network, BadSetting> {
        let trusted = certificates.load()?;
        let roots = match trusted.is_empty() {
            true => RootCerts::WebPki,
            false => {
                let trusted = trusted.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
                RootCerts::Specific(Arc::new(trusted.collect()))
            }
        };
        let set = [&proxies.http, &proxies.https].into_iter().flatten();
        Ok(Network {
            proxies: proxies.clone(),
            direct: agent(&roots, None),
            proxied: set.map(|proxy| (proxy.clone(), agent(&roots, Some(proxy)))).collect(),
        })
    }

    /// The agent for a URL.
    pub(super) fn agent(&self, url: &str) -> &Agent {
        let proxy = url.parse::<Uri>().ok().and_then(|url| self.proxies.for_url(&url).cloned());
        let proxied = proxy.and_then(|proxy| self.proxied.iter().find(|(other, _)| *other == proxy));
        proxied.map_or(&self.direct, |(_, agent)| agent)
    }
}

fn agent(roots: &RootCerts, proxy: Option<&Proxy>) -> Agent {
    Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .user_agent(concat!("alignatt/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy.cloned())
        .tls_config(TlsConfig::builder().root_certs(roots.clone()).build())
        .build()
        .into()
}

/// The error for a request to the Hub about `repo` that failed.
pub(super) fn network_error(repo: &str, what: String) -> CheckpointError {
    CheckpointError::Network {
        repo: repo.to_owned(),
        what,
        remedy: "check the network, HF_ENDPOINT and the proxy; run it again to continue where it stopped, or give a \
                 folder that has the files"
            .into(),
    }
}
