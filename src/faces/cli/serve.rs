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
        // Until now there was nothing to finish, and a signal ended the program at once.
        interrupt::set_streaming(true);
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

/// The names in the `Host` header that are served. A page of another site that has its own name
/// resolve to this server does not get past them. Where others can reach the server, tokens do
/// that, too: such a page has none.
fn hosts(network: &NetworkArgs) -> Option<Vec<String>> {
    let any = !network.listen.ip().is_loopback() && network.tokens.is_some() && network.host_names.is_empty();
    (!any).then(|| network.host_names.clone())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::faces::cli::args::{Cli, Command};

    fn hosts_of(arguments: &[&str]) -> Option<Vec<String>> {
        match Cli::parse_from([&["alignatt", "serve"], arguments].concat()).command {
            Command::Serve(args) => hosts(&args.network),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_tokens_make_all_names_good() {
        let (open, none) = (["--listen", "0.0.0.0:8000", "--open"], Some(Vec::new()));
        assert_eq!(hosts_of(&[]), none);
        assert_eq!(hosts_of(&["--tokens", "tokens"]), none, "a proxy's name must be said");
        assert_eq!(hosts_of(&open), none, "a page could have its name resolve to the server");
        assert_eq!(hosts_of(&["--listen", "0.0.0.0:8000", "--tokens", "tokens"]), None);
        let named = Some(vec!["captions.example".to_owned()]);
        assert_eq!(hosts_of(&[&open[..], &["--host-name", "captions.example"]].concat()), named);
    }

    /// The commands of the documentation are valid, and its unit has one setting a line, as systemd
    /// reads it.
    #[test]
    fn the_documentation_can_be_followed() {
        let docs = include_str!("../../../docs/serving.md").replace("\\\n", " ");
        let mut commands = 0;
        for line in docs.lines() {
            let line = line.strip_prefix("ExecStart=/usr/local/bin/").unwrap_or(line);
            if line.starts_with("alignatt serve --") {
                let words = line.split(" #").next().unwrap_or_default().split_whitespace();
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                commands += 1;
            }
        }
        assert_eq!(commands, 4, "two at the beginning, that of the unit, and that behind a proxy");
        let unit = docs.split("```ini\n").nth(1).unwrap().split("```").next().unwrap();
        for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let section = line.starts_with('[') && line.ends_with(']');
            assert!(section || !line.starts_with('[') && line.matches('=').count() == 1, "{line}");
        }
    }
}
