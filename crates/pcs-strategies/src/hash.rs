//! Hashes that are the same in every process, on every machine, in every version.

/// Hashes a name for [`Members::id_hash`](crate::Members::id_hash) and [`Pick::key`](crate::Pick::key).
///
/// FNV-1a with a finisher that spreads it over all bits: the same in every process, so instances agree. Nothing
/// here withstands somebody who looks for collisions; all that they could win is the same member twice.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// A bijection under which close inputs end far apart (the finisher of `SplitMix64`).
pub(crate) fn mix(mut value: u64) -> u64 {
    value ^= value >> 30;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^= value >> 27;
    value = value.wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change_between_versions() {
        // A change would move every session of every user to another exit.
        assert_eq!(stable_hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(stable_hash(b"proxy-1"), 0x3e5c_5e56_70c3_23a7, "golden");
        assert_eq!(stable_hash(b"proxy-2"), 0x22eb_49de_45fe_f5fa, "golden");
    }
}
