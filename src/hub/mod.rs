//! Where a model comes from: a folder, or a repository of the Hub, kept in the Hub's own cache.
//! Native only.
//!
//! | file | what it is |
//! |---|---|
//! | `source` | a model as the user names it |
//! | `cache` | fetching into the cache, with resume and hashes; listing; removing |

pub mod cache;
pub mod source;

pub use cache::Hub;
pub use source::ModelSource;
