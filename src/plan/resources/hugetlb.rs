//! linux.resources.hugepageLimits: config-linux.md, "Huge page limits"; cgroup-v2.rst, "HugeTLB".

use super::{Draft, Missing};
use crate::spec::resources::HugepageLimit;

/// Plans hugetlb.SIZE.max, and what limits the reservation where the kernel counts that (5.7).
pub fn plan(limits: &[HugepageLimit], draft: &mut Draft<'_>) {
    for (index, HugepageLimit { page_size: size, limit }) in limits.iter().enumerate() {
        let place = format!("/hugepageLimits/{index}");
        if !is_size(size) {
            let message = format!("{size:?} is not a size such as \"2MB\"");
            draft.wrong(&format!("{place}/pageSize"), message);
            continue;
        }
        let place = format!("{place}/limit");
        draft.set(&place, format!("hugetlb.{size}.max"), limit);
        draft.set_if_there(&place, format!("hugetlb.{size}.rsvd.max"), limit, Missing::Skip);
    }
}

/// As the kernel names its files: 64KB, 2MB, 1GB.
fn is_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.starts_with('0')
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
