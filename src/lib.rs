//! An OCI container runtime.
