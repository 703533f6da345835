//! What the processor of this machine can do beyond its architecture.

use std::path::Path;

/// The variants of the own architecture that the processor has besides the plain one, the least first.
pub(crate) fn variants() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        amd64_variants()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Vec::new()
    }
}

/// The levels of the x86-64 psABI.
#[cfg(target_arch = "x86_64")]
fn amd64_variants() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let levels = [
        ("v2", has!("cmpxchg16b") && has!("popcnt") && has!("sse4.2") && has!("ssse3")),
        (
            "v3",
            has!("avx2")
                && has!("bmi1")
                && has!("bmi2")
                && has!("f16c")
                && has!("fma")
                && has!("lzcnt")
                && has!("movbe"),
        ),
        (
            "v4",
            has!("avx512f")
                && has!("avx512bw")
                && has!("avx512cd")
                && has!("avx512dq")
                && has!("avx512vl"),
        ),
    ];
    levels.into_iter().take_while(|(_, there)| *there).map(|(level, _)| level).collect()
}

/// Older architectures whose programs the kernel runs by itself, in the words of images.
pub(crate) fn older() -> Vec<&'static str> {
    let own = std::env::consts::ARCH;
    // Kernels that run 32-bit programs let their programs' view of kernel memory be set, or have a
    // way to run them under the name of an older machine.
    let there = match own {
        "x86_64" => Path::new("/proc/sys/abi/vsyscall32").exists(),
        "aarch64" => has_arm_features(),
        _ => false,
    };
    match own {
        "x86_64" if there => vec!["386"],
        "aarch64" if there => vec!["arm"],
        _ => Vec::new(),
    }
}

/// Whether some processor can switch to 32 bits; kernels that cannot do not have the file.
fn has_arm_features() -> bool {
    Path::new("/proc/sys/abi/cp15_barrier").exists()
}
