//! linux.resources.rdma: config-linux.md, "RDMA"; cgroup-v2.rst, "RDMA".

use std::collections::BTreeMap;

use super::{Draft, escape};
use crate::spec::resources::Rdma;

/// Plans rdma.max: a line for each device.
pub fn plan(devices: &BTreeMap<String, Rdma>, draft: &mut Draft<'_>) {
    for (name, rdma) in devices {
        let place = format!("/rdma/{}", escape(name));
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
            draft.wrong(&place, "is no name of a device");
            continue;
        }
        let handles = rdma.hca_handles.map(|count| format!(" hca_handle={count}"));
        let objects = rdma.hca_objects.map(|count| format!(" hca_object={count}"));
        let limits: String = handles.into_iter().chain(objects).collect();
        if limits.is_empty() {
            draft.wrong(&place, "needs hcaHandles or hcaObjects");
        } else {
            draft.set(&place, "rdma.max", format!("{name}{limits}"));
        }
    }
}
