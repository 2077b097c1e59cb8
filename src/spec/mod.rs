//! The documents of the runtime specification: config.json, the state object; and what `events`
//! prints, of which it says nothing. What a document means for a container is decided in `plan`.

pub mod config;
pub mod defaults;
pub mod events;
pub mod json;
pub mod path;
pub mod resources;
pub mod seccomp;
pub mod state;

/// The version of the specification that is implemented.
pub const VERSION: &str = "1.3.0";
