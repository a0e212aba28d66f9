//! Random names and tokens. A server keeps only their digests.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a token. Two are compared in constant time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn of(token: &str) -> Digest {
        Digest(hex(&Sha256::digest(token.as_bytes())))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A new token: the text for the client, and its digest.
pub(super) struct Secret {
    pub text: String,
    pub digest: Digest,
}

impl Secret {
    /// `kind` and 128 random bits.
    pub(super) fn new(kind: &str) -> Secret {
        let text = format!("{kind}_{}", hex(&random::<16>()));
        Secret { digest: Digest::of(&text), text }
    }
}

/// A short code for people to type, of 50 random bits. Lower case, without letters that look like
/// digits or like each other.
pub(super) fn short_code() -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    random::<10>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

/// Random bytes of the system. They are needed for every token, so a system without them cannot run
/// a server.
pub(super) fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!("the system gives no random numbers: {error}");
        std::process::abort();
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
