//! Where a model comes from: a folder, or a repository of the Hub, kept in the Hub's own cache.
//! Native only.
//!
//! | file | what it is |
//! |---|---|
//! | `source` | a model as the user names it |
//! | `cache` | the layout of the cache; what is in it; removing |
//! | `fetch` | fetching into the cache, with resume, retries and hash checks |
//! | `listing` | the Hub's listing of a revision, and the files of it that a model needs |
//! | `environment`, `network` | settings from the environment; proxies and certificates |
//! | `model_files` | which files of a repository belong to a model |

pub mod cache;
mod environment;
pub mod fetch;
mod listing;
mod model_files;
mod network;
pub mod source;

#[cfg(test)]
mod tests;

pub use cache::Hub;
pub use source::ModelSource;
