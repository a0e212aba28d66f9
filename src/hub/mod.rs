//! Where a model comes from: a folder, or a repository of the Hub, kept in the Hub's own cache.
//! Native only.
//!
//! | file | what it is |
//! |---|---|
//! | `source` | a model as the user names it |
//! | `cache` | fetching into the cache with resume and hash checks; listing; removing |
//! | `environment`, `network` | settings from the environment; proxies and certificates |
//! | `model_files` | which files of a repository belong to a model |

pub mod cache;
mod environment;
mod model_files;
mod network;
pub mod source;

pub use cache::Hub;
pub use source::ModelSource;
