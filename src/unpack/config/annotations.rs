//! Annotations of config.json from an image (image-spec conversion.md, "Annotation Fields",
//! "Config.ExposedPorts", "Annotations"). A label is the image's word and takes precedence, unless it
//! is one that a runtime takes for an order: who builds images must not give those (CVE-2026-53488).

use std::collections::BTreeMap;

use crate::unpack::image::document::ImageConfig;

/// What runtimes obey; beginnings of names. They are what runc and crun print as
/// `potentiallyUnsafeConfigAnnotations` of `features`, and what engines and virtual machine runtimes
/// read besides.
const ORDERS: [&str; 13] = [
    // Any property of the container's systemd unit.
    "org.systemd.property.",
    // A configuration file of the host for checkpoints, and whatever else crun may read.
    "org.criu.",
    // Hooks, seccomp and the cgroup, by crun.
    "run.oci.",
    // The handler of the container, by crun.
    "module.wasm.image/",
    "krun.",
    // Programs, kernels and their parameters on the host, by Kata Containers.
    "io.katacontainers.",
    "com.github.containers.virtcontainers.",
    // Mounts and the network of the sandbox, by gVisor.
    "dev.gvisor.",
    // Which container of a pod this is, by CRI-O, containerd and crun.
    "io.kubernetes.",
    "io.container.",
    "io.containerd.",
    "io.podman.annotations.",
    // Hooks by their annotations, by podman.
    "io.containers.",
];

/// Obeyed by its whole name: the directory of the bundle, which `runc state` and its callers believe.
const BUNDLE: &str = "bundle";

/// The annotations, and the names of labels that are left out.
pub fn annotations(image: &ImageConfig) -> (BTreeMap<String, String>, Vec<String>) {
    let implicit = [
        ("os", image.os.clone()),
        ("architecture", image.architecture.clone()),
        ("variant", image.variant.clone()),
        ("os.version", image.os_version.clone()),
        ("os.features", image.os_features.join(",")),
        ("author", image.author.clone().unwrap_or_default()),
        ("created", image.created.clone().unwrap_or_default()),
        ("stopSignal", image.config.stop_signal.clone()),
        ("exposedPorts", image.config.exposed_ports.join(",")),
    ];
    let implicit = implicit.into_iter().filter(|(_, value)| !value.is_empty());
    let mut annotations: BTreeMap<String, String> =
        implicit.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value)).collect();
    let mut left_out = Vec::new();
    for (name, value) in &image.config.labels {
        if is_order(name) {
            left_out.push(name.clone());
        } else {
            annotations.insert(name.clone(), value.clone());
        }
    }
    (annotations, left_out)
}

/// The empty name too: config.md, "Annotations", forbids it.
fn is_order(name: &str) -> bool {
    name.is_empty() || name == BUNDLE || ORDERS.iter().any(|order| name.starts_with(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::image::document::parse;

    fn image(execution: &str) -> ImageConfig {
        let text = format!(
            r#"{{"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "6.1",
            "os.features": ["a", "b"], "author": "A", "created": "2020-01-01T00:00:00Z",
            "rootfs": {{"type": "layers", "diff_ids": []}}, "config": {execution}}}"#
        );
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_field_becomes_the_annotation_of_conversion_md() {
        let execution = r#"{"StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}}"#;
        let (annotations, left_out) = annotations(&image(execution));
        let expected = [
            ("architecture", "arm"),
            ("author", "A"),
            ("created", "2020-01-01T00:00:00Z"),
            ("exposedPorts", "53/udp,80/tcp"),
            ("os", "linux"),
            ("os.features", "a,b"),
            ("os.version", "6.1"),
            ("stopSignal", "SIGINT"),
            ("variant", "v7"),
        ];
        let expected = expected
            .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()));
        assert_eq!(annotations, BTreeMap::from(expected));
        assert!(left_out.is_empty());
    }

    #[test]
    fn a_label_takes_precedence() {
        let execution = r#"{"StopSignal": "SIGINT", "Labels": {
            "org.opencontainers.image.stopSignal": "SIGTERM", "maintainer": "M"}}"#;
        let (annotations, _) = annotations(&image(execution));
        assert_eq!(annotations["org.opencontainers.image.stopSignal"], "SIGTERM");
        assert_eq!(annotations["maintainer"], "M");
    }

    #[test]
    fn cve_2026_53488_a_label_gives_no_order_to_a_runtime() {
        let orders = [
            "bundle",
            "run.oci.hooks.stdout",
            "run.oci.delegate-cgroup",
            "org.systemd.property.ExecStopPost",
            "org.criu.config",
            "org.criu.other",
            "io.katacontainers.config.hypervisor.path",
            "com.github.containers.virtcontainers.config.hypervisor.path",
            "dev.gvisor.spec.mount.a.source",
            "io.kubernetes.cri-o.UnifiedCgroup.x",
            "module.wasm.image/variant",
            "",
        ];
        for order in orders {
            let execution = format!(r#"{{"Labels": {{"{order}": "x", "bundled": "y"}}}}"#);
            let (annotations, left_out) = annotations(&image(&execution));
            assert!(!annotations.contains_key(order), "{order}");
            assert_eq!(left_out, [order]);
            assert_eq!(annotations["bundled"], "y");
        }
    }
}
