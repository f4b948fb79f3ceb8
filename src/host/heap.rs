//! Owns how the system's allocator keeps memory for later.

/// Lets all threads share two pools of memory, in the place of up to eight for each core: what one
/// thread has given back is there for the others, and a pull needs no more memory than it uses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "glibc's setting is in no safe wrapper; it takes two numbers"
)]
pub fn share_memory_pools() {
    const POOLS: libc::c_int = 2;
    // SAFETY: no memory is passed; called before there are other threads.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, POOLS) };
    if is_set == 0 {
        tracing::debug!("the allocator does not share its pools");
    }
}

/// Nothing: other allocators share by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn share_memory_pools() {}
