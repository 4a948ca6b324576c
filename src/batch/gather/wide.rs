//! The same code compiled for wider vectors, chosen when it runs.

/// Defines a function whose body is compiled three times: for the processors every build must run on, for those with
/// AVX2 and for those with AVX-512; a call runs the widest this machine has. What the body calls is compiled along with it as
/// far as it is inlined into it: mark it `#[inline(always)]`.
macro_rules! wide {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident
        ($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$attribute])*
        #[inline]
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2")]
                fn with_avx512($($argument: $type),*) $(-> $output)? {
                    portable($($argument),*)
                }

                #[target_feature(enable = "avx2,bmi2")]
                fn with_avx2($($argument: $type),*) $(-> $output)? {
                    portable($($argument),*)
                }

                match $crate::batch::gather::wide::width() {
                    // SAFETY: `width` found these features on this machine.
                    $crate::batch::gather::wide::Width::Avx512 => return unsafe { with_avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::batch::gather::wide::Width::Avx2 => return unsafe { with_avx2($($argument),*) },
                    $crate::batch::gather::wide::Width::Portable => {}
                }
            }
            portable($($argument),*)
        }
    };
}

pub(crate) use wide;

/// The vectors of this machine.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) enum Width {
    Portable,
    Avx2,
    Avx512,
}

/// The widest vectors this machine has.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn width() -> Width {
    if !is_x86_feature_detected!("bmi2") || !is_x86_feature_detected!("avx2") {
        Width::Portable
    } else if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        Width::Avx512
    } else {
        Width::Avx2
    }
}
