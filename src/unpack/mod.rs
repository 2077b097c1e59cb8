//! `hull-unpack`: an image becomes a bundle. It knows nothing of the runtime; threads are fine here.
//!
//! In the way of the data: [`owners`] (whose file becomes whose), [`extract`] (tar bytes become files).

pub mod extract;
pub mod owners;
