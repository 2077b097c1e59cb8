//! How long a test waits for what it cannot be told.

use std::time::{Duration, Instant};

/// How long one call may take: what is longer hangs, on a busy machine too.
pub fn limit() -> Duration {
    Duration::from_secs(20) * slowness().max(3)
}

/// How many times slower than usual this machine is said to be.
pub fn slowness() -> u32 {
    std::env::var("HULL_TEST_SLOW").ok().and_then(|slow| slow.parse().ok()).unwrap_or(1)
}

/// Looks again and again, within the time limit, whether this is so: for what the kernel tells nobody.
pub fn comes_true(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit();
    while !is_so() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}
