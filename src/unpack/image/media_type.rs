//! Media types: media-types.md, and Docker's of image manifest version 2, schema 2. Pure.

/// What a blob is, as its descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list of manifests.
    Index,
    /// What an image consists of.
    Manifest,
    /// What an image says of itself.
    Config,
    /// A tar, perhaps compressed.
    Layer,
    /// A layer that nobody can read without a key.
    Encrypted,
    /// No part of an image.
    Other,
}

/// What a media type stands for.
#[must_use]
pub fn kind(media_type: &str) -> Kind {
    match media_type {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index,
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json" => Kind::Manifest,
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => Kind::Config,
        other => layer(other),
    }
}

/// A layer's type says how it is compressed too, which its content says better.
fn layer(media_type: &str) -> Kind {
    const TARS: [&str; 5] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        // What `docker save` of a containerd image store calls a layer.
        "application/vnd.docker.image.rootfs.diff",
    ];
    let rest = TARS.iter().find_map(|tar| media_type.strip_prefix(tar));
    match rest {
        Some("" | "+gzip" | "+zstd" | ".gzip" | ".zstd") => Kind::Layer,
        Some(rest) if rest.ends_with("+encrypted") => Kind::Encrypted,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_both_worlds_are_known() {
        for (media_type, expected) in [
            ("application/vnd.oci.image.layer.v1.tar", Kind::Layer),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Kind::Layer),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Kind::Layer),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Kind::Layer),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Kind::Layer),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", Kind::Encrypted),
            ("application/vnd.oci.image.layer.v1.tarball", Kind::Other),
            ("application/vnd.in-toto+json", Kind::Other),
            ("", Kind::Other),
            ("application/vnd.oci.image.index.v1+json", Kind::Index),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", Kind::Other),
        ] {
            assert_eq!(kind(media_type), expected, "{media_type}");
        }
    }
}
