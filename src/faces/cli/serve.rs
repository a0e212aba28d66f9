//! `alignatt serve`.

use std::net::SocketAddr;
use std::time::Duration;

use super::args::{NetworkArgs, ServeArgs};
use super::error::CliError;
use super::progress::LoadingBar;
use super::terminal::eprint_line;
use super::{engines, interrupt};
use crate::faces::server::{self, Config};
use crate::text::Millis;

/// The names by which this computer calls itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

pub(super) async fn serve(args: ServeArgs) -> Result<(), CliError> {
    let network = args.network;
    check(&network)?;
    let (context, terms) = engines::context_texts(&args.context)?;
    let scheme = if network.tls_cert.is_some() { "https" } else { "http" };
    let config = Config {
        set: engines::model_set(&args.speech, args.mt.as_deref()).await?,
        device: args.speech.device.device,
        listen: network.listen,
        hosts: hosts(&network),
        tokens: network.tokens,
        origins: network.origins,
        sockets: network.sockets,
        proxies: network.proxies,
        tls: network.tls_cert.zip(network.tls_key),
        state: args.state,
        sessions: args.sessions,
        load: args.load,
        max_upload: args.max_upload.saturating_mul(1 << 20),
        max_length: Millis(args.max_hours.saturating_mul(3_600_000)),
        linger: Duration::from_secs(args.linger),
        grace: Duration::from_secs(args.grace),
        from: args.from,
        to: args.to,
        policy: args.policy,
        context,
        terms,
        page: args.page,
        public_url: network.public_url,
        mt_port: args.mt_port,
        most_words: args.max_utterance_words,
    };
    interrupt::set_serving();
    let mut bar = LoadingBar::new();
    let report = move |what: &str, done: u64, total: u64| bar.report(what, done, total);
    let mt_scheme = scheme.replace("http", "ws");
    let started = move |address, mt_address: Option<SocketAddr>| {
        if let Some(address) = mt_address {
            eprint_line(format_args!("the MT protocol is at {mt_scheme}://{address}/"));
        }
        eprint_line(format_args!("serving at {scheme}://{address}/"));
    };
    Ok(server::run(config, report, started)?)
}

/// An address that others can reach is served only to those who have a token, or if the user says
/// that everybody may use it.
fn check(network: &NetworkArgs) -> Result<(), CliError> {
    if network.listen.ip().is_loopback() || network.tokens.is_some() || network.open {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "other computers can reach {}: give --tokens FILE, or --open to let everybody use the server",
        network.listen
    )))
}

/// The names in the `Host` header that are served. A page of another site that resolves its own
/// name to this computer does not get past them. Where others can reach the server, tokens do that.
fn hosts(network: &NetworkArgs) -> Vec<String> {
    let mut hosts = network.host_names.clone();
    if network.listen.ip().is_loopback() || !hosts.is_empty() {
        hosts.extend(LOOPBACK.map(str::to_owned));
    }
    hosts
}
