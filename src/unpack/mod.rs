//! `hull-unpack`: an image becomes a bundle. It knows nothing of the runtime; threads are fine here.
//!
//! In the way of the data: [`image`] (what is in it), [`owners`] (whose file becomes whose),
//! [`extract`] (tar bytes become files).

pub mod extract;
pub mod image;
pub mod owners;
