//! A bump allocator for programs that exit at once: memory is handed out in order and comes
//! back when the process ends. Freeing only the newest block is worth a comparison, because
//! a growing `Vec` or `String` is nearly always that block.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;

/// The first arena lies in the program's own zero pages: most runs never ask for another.
const FIRST: usize = 128 * 1024;
/// Later arenas are mapped in this size, or the size of the request if that is larger.
const NEXT: usize = 1024 * 1024;

/// Of every block, as malloc(3) gives it: bytes for the kernel's structures are asked for as bytes
/// (nix's buffers for control messages, cmsg(3)).
const ALIGN: usize = 16;

/// The allocator. One thread only: `hull` has no other (invariant 5 of `lib.rs`).
pub struct Bump {
    first: UnsafeCell<[u8; FIRST]>,
    /// The free range, as addresses: `[at, end)`. Both 0 until the first request.
    range: UnsafeCell<(usize, usize)>,
}

// SAFETY: the runtime has one thread; after clone3 without CLONE_VM the child has its own copy.
unsafe impl Sync for Bump {}

impl Bump {
    /// For a `static`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a Default cannot be const")]
    pub const fn new() -> Self {
        Self { first: UnsafeCell::new([0; FIRST]), range: UnsafeCell::new((0, 0)) }
    }
}

// SAFETY: each block lies inside an arena that is never unmapped, aligned as asked, and does not
// overlap another live block, because `at` only moves past what was handed out, or back over
// the newest block when that is freed or shrunk.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread (see Sync above), and no reference outlives this call.
        let range = unsafe { &mut *self.range.get() };
        if range.1 == 0 {
            let start = self.first.get() as usize;
            *range = (start, start + FIRST);
        }
        let align = layout.align().max(ALIGN);
        let Some(start) = range.0.checked_next_multiple_of(align) else {
            return ptr::null_mut();
        };
        let Some(end) = start.checked_add(layout.size()) else {
            return ptr::null_mut();
        };
        if end <= range.1 {
            range.0 = end;
            return ptr::with_exposed_provenance_mut(start);
        }
        let Some(size) = layout.size().checked_add(align).map(|size| size.max(NEXT)) else {
            return ptr::null_mut();
        };
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing.
        let arena = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
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
        *range = (start + layout.size(), arena as usize + size);
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in alloc.
        let range = unsafe { &mut *self.range.get() };
        if block as usize + layout.size() == range.0 {
            range.0 = block as usize;
        }
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
        // SAFETY: as in alloc.
        let range = unsafe { &mut *self.range.get() };
        let is_newest = block as usize + layout.size() == range.0;
        if is_newest && (block as usize).checked_add(size).is_some_and(|end| end <= range.1) {
            range.0 = block as usize + size;
            return block;
        }
        // SAFETY: `size` was checked by the caller against the same alignment (GlobalAlloc).
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks are live, do not overlap, and have at least the smaller size.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(size)) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_apart_and_keep_their_bytes() {
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
            assert!(bump.alloc(layout(isize::MAX as usize - 4096, 1)).is_null());
        }
    }
}
