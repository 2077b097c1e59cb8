//! An allocator for programs that exit soon: memory is handed out in order, and comes back to the
//! kernel when the process ends. Who runs for longer says so with [`reuse_freed`].

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The first arena lies in the program's own zero pages: most runs never ask for another.
const FIRST: usize = 128 * 1024;
/// Later arenas are mapped in this size, or the size of the request if that is larger.
const NEXT: usize = 1024 * 1024;

/// Of every block, as malloc(3) gives it: bytes for the kernel's structures are asked for as bytes
/// (nix's buffers for control messages, cmsg(3)).
const ALIGN: usize = 16;

/// Blocks up to here are as long as they were asked to be, in steps of [`ALIGN`]; of larger ones there
/// are four lengths from one power of two to the next.
const SMALL: usize = 1024;
/// How many small lengths there are.
const SMALL_LENGTHS: usize = SMALL / ALIGN + 1;
/// How many lengths there are.
const LENGTHS: usize = SMALL_LENGTHS + 4 * usize::BITS as usize;

/// Whether what is freed is handed out again.
static REUSES: AtomicBool = AtomicBool::new(false);

/// From now on memory that is freed is handed out again to who asks for as much. Not from the start:
/// to keep a block is to write to it, and in a process that was cloned that is a page to copy.
pub fn reuse_freed() {
    REUSES.store(true, Relaxed);
}

/// The allocator. One thread only: `hull` has no other (invariant 5 of `lib.rs`).
pub struct Bump {
    first: UnsafeCell<[u8; FIRST]>,
    state: UnsafeCell<State>,
}

struct State {
    /// The free range, as addresses: `[at, end)`. Both 0 until the first request.
    at: usize,
    end: usize,
    /// By length: the block that was freed last; in its first bytes is the one before it.
    freed: [usize; LENGTHS],
}

// SAFETY: the runtime has one thread; after clone3 without CLONE_VM the child has its own copy.
unsafe impl Sync for Bump {}

impl Bump {
    /// For a `static`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a Default cannot be const")]
    pub const fn new() -> Self {
        let freed = [0; LENGTHS];
        Self {
            first: UnsafeCell::new([0; FIRST]),
            state: UnsafeCell::new(State { at: 0, end: 0, freed }),
        }
    }
}

/// How long a block for so many bytes is, and its place among the freed ones. `None`: no memory has
/// so many.
fn block_size(size: usize) -> Option<(usize, usize)> {
    if size <= SMALL {
        let size = size.max(1).next_multiple_of(ALIGN);
        return Some((size, size / ALIGN));
    }
    let power = (size - 1).ilog2();
    let step = 1 << (power - 2);
    let size = size.checked_next_multiple_of(step)?;
    // Five to eight steps.
    Some((size, SMALL_LENGTHS + 4 * power as usize + size / step - 5))
}

// SAFETY: each block lies inside an arena that is never unmapped, aligned as asked, and does not
// overlap another live block: `at` only moves past what was handed out, or back over the newest block
// when that is freed, and a block is among the freed ones from its freeing until it is handed out
// again. The caller's layout is the same at both ends, and with it the length and the place.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((size, place)) = block_size(layout.size()) else { return ptr::null_mut() };
        // SAFETY: one thread (see Sync above), and no reference outlives this call.
        let state = unsafe { &mut *self.state.get() };
        if layout.align() <= ALIGN && state.freed[place] != 0 {
            let block = ptr::with_exposed_provenance_mut::<u8>(state.freed[place]);
            // SAFETY: a freed block, of at least ALIGN bytes, begins with the address of the next.
            state.freed[place] = unsafe { block.cast::<usize>().read() };
            return block;
        }
        if state.end == 0 {
            state.at = self.first.get() as usize;
            state.end = state.at + FIRST;
        }
        let align = layout.align().max(ALIGN);
        let start = state.at.checked_next_multiple_of(align);
        let range = start.and_then(|start| Some((start, start.checked_add(size)?)));
        let Some((start, end)) = range else { return ptr::null_mut() };
        if end <= state.end {
            state.at = end;
            return ptr::with_exposed_provenance_mut(start);
        }
        let Some(length) = size.checked_add(align).map(|length| length.max(NEXT)) else {
            return ptr::null_mut();
        };
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing.
        let arena = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if arena == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        let start = (arena as usize).next_multiple_of(align);
        (state.at, state.end) = (start + size, arena as usize + length);
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // The same as when it was handed out.
        let Some((size, place)) = block_size(layout.size()) else { return };
        // SAFETY: as in alloc.
        let state = unsafe { &mut *self.state.get() };
        if block as usize + size == state.at {
            state.at = block as usize;
            return;
        }
        if !REUSES.load(Relaxed) {
            return;
        }
        // SAFETY: nobody else has the block any more, and it has at least ALIGN bytes, so aligned.
        unsafe { block.cast::<usize>().write(state.freed[place]) };
        state.freed[place] = block.expose_provenance();
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is passed on.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // A block may have been freed before, so its bytes need not be zero.
            // SAFETY: `block` has at least `layout.size()` bytes.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some((old, _)), Some((new, _))) = (block_size(layout.size()), block_size(size)) else {
            return ptr::null_mut();
        };
        // SAFETY: as in alloc.
        let state = unsafe { &mut *self.state.get() };
        let is_newest = block as usize + old == state.at;
        let end = (block as usize).checked_add(new);
        if is_newest && end.is_some_and(|end| end <= state.end) {
            state.at = block as usize + new;
            return block;
        }
        if old == new {
            return block;
        }
        // SAFETY: `size` was checked by the caller against the same alignment (GlobalAlloc).
        let layout_of_new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: a layout of the caller's.
        let other = unsafe { self.alloc(layout_of_new) };
        if !other.is_null() {
            // SAFETY: both blocks are live, do not overlap, and have at least the smaller size; the
            // old one is the caller's no more.
            unsafe {
                ptr::copy_nonoverlapping(block, other, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `events` does for as long as its container runs.
    #[test]
    fn the_same_again_and_again_needs_no_more_memory() {
        reuse_freed();
        let bump = Box::new(Bump::new());
        let layouts =
            [10, 100, 1000, 10_000, 50_000].map(|size| Layout::array::<u8>(size).unwrap());
        let mut ends = Vec::new();
        for _ in 0..100 {
            // SAFETY: the layouts are valid, and each block is freed once, with its own.
            unsafe {
                let blocks = layouts.map(|layout| (bump.alloc(layout), layout));
                blocks.into_iter().for_each(|(block, layout)| bump.dealloc(block, layout));
                ends.push((*bump.state.get()).at);
            }
        }
        assert!(ends.iter().all(|end| *end == ends[0]));
    }

    #[test]
    fn blocks_are_aligned_apart_and_keep_their_bytes() {
        reuse_freed();
        let bump = Box::new(Bump::new());
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        // SAFETY: the layouts are valid, and the blocks are used within their sizes.
        unsafe {
            let a = bump.alloc(layout(3, 1));
            let b = bump.alloc(layout(64, 64));
            assert_eq!((a as usize % 16, b as usize % 64), (0, 0));
            assert!(b as usize >= a as usize + 3);
            ptr::write_bytes(b, 7, 64);
            let b = bump.realloc(b, layout(64, 64), 3 * NEXT);
            assert_eq!(*b.add(63), 7);
            let c = bump.alloc_zeroed(layout(10, 8));
            bump.dealloc(c, layout(10, 8));
            assert_eq!(bump.alloc(layout(10, 8)), c);
            bump.dealloc(b, layout(3 * NEXT, 64));
            bump.dealloc(c, layout(10, 8));
            assert_eq!(bump.alloc(layout(3 * NEXT - 1, 8)), b);
            assert_eq!(bump.alloc(layout(16, 1)), c);
            assert!(bump.alloc(layout(isize::MAX as usize - 4096, 1)).is_null());
        }
    }
}
